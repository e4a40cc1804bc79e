# Every target does its own set-up: Python 3.11 to 3.13 and make are all it needs.

PACKAGES := shammie models seqio_tasks beam_jobs workflows tests
READY := .venv/.ready
BIN := .venv/bin

.PHONY: main test test-all chaos flink-test fuzz t5x-test lint setup clean

main: $(READY)
	$(BIN)/shammie run equal_info

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow and not gpu and not t5x"

test-all: lint
	$(BIN)/python -m pytest -n 2 -m "not gpu and not t5x"

# faults on purpose, resumed and compared with undisturbed runs: a table, chaos.json, and an error if a row has failed
chaos: $(READY)
	$(BIN)/python -m workflows.chaos --json chaos.json --overhead

# every job on a Flink cluster of this machine; needs Java 11 and Maven, and says what it lacks
flink-test: $(READY)
	$(BIN)/python -m pytest -m flink

# Parsers of outside bytes, each group for FUZZ_SECONDS; findings go to out/fuzz. Another FUZZ_SEED gives other inputs
FUZZ_SECONDS := 600
FUZZ_SEED := $(shell date +%Y%m%d)

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED)

# T5X itself, where it is not importable already (a checkout on PYTHONPATH does), comes from git: see requirements-t5x.txt
t5x-test: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,t5x]'
	$(BIN)/python -c 'import t5x.version, airio, jestimator' 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-t5x.txt
	$(BIN)/python -m pytest -n 2 -m t5x

lint: $(READY)
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/pyright --warnings

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@python=; for p in python3 python3.13 python3.12 python3.11; do \
	  if $$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	  then python=$$p; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "shammie: no Python 3.11, 3.12 or 3.13 with venv found; install one (Debian: apt-get install python3-venv)" >&2; \
	  exit 1; fi; \
	echo "set-up into .venv with $$($$python --version): some minutes, once"; \
	$$python -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

clean:
	rm -rf .venv build dist out *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
