"""What is recorded of T5X: our model keeps it, another commit is told, and the real T5X has it."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shammie.errors import UserError
from workflows import t5x_contract, t5x_errors

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent


def run_beside_stand_ins(code: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path[:0] = [{str(HERE)!r}, {str(ROOT)!r}]\nimport stand_in; stand_in.install()\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)


def test_our_model_keeps_the_contract() -> None:
    code = """
import inspect
from workflows import t5x_contract
from workflows.t5x_adapter import LanguageModel
from models.lm import LMConfig
for name, asked in inspect.getmembers(t5x_contract.ModelContract, inspect.isfunction):
    if name.startswith('_') : continue
    ours = inspect.signature(getattr(LanguageModel, name)).parameters
    wanted = inspect.signature(asked).parameters
    assert list(ours)[:len(wanted)] == list(wanted), name
    print(name)
model = LanguageModel(LMConfig(vocab_size=9, width=8, layers=1, heads=1, head_width=4, mlp_width=8))
print(type(model.optimizer_def).__name__, model.FEATURE_CONVERTER_CLS.__name__)
"""
    done = run_beside_stand_ins(code)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [
        *("eval_fn", "get_initial_variables", "loss_fn", "predict_batch_with_aux", "score_batch"),
        *("OptaxOptimizer", "LMFeatureConverter"),
    ]


def test_another_t5x_is_told_in_one_line() -> None:
    def partitioner(num_partitions: int) -> None: ...

    old = SimpleNamespace(PjitPartitioner=partitioner, standard_logical_axis_rules=lambda *a, **k: ())
    words = r"^T5X .* has a t5x.partitioning.PjitPartitioner without model_parallel_submesh; use the commit that was te"
    with pytest.raises(UserError, match=words):
        t5x_contract.check({"t5x.partitioning": old})  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"has no t5x\.trainer\.Trainer"):
        t5x_contract.check({"t5x.trainer": SimpleNamespace()})  # type: ignore[dict-item]


def test_without_t5x_the_adapter_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['t5x'] = None; from workflows import t5x_adapter"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(r"UserError: T5X .*pip install .*requirements-t5x.txt", last), last


def test_the_requirements_name_the_tested_commits() -> None:
    text = (ROOT / "requirements-t5x.txt").read_text()
    found = dict(re.findall(r"^(\w+) @ git\+https://\S+@([0-9a-f]{40})$", text, re.MULTILINE))
    assert found == t5x_contract.TESTED
    extra = re.search(r"^t5x = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert extra
    assert sorted(re.findall(r'"([\w-]+)"', extra[1])) == sorted(t5x_contract.FROM_PYPI.values())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("No Task or Mixture found with name 'x_v001'."), "SeqIO knows no task 'x_v001'"),
        (UserError("a is 1", "give 2"), "a is 1; give 2"),
        (ValueError("No configurable matching 'train_script.train'."), "nothing is called train_script.train"),
        (
            ValueError('For parameter "k" in "/a/b", the given initializer is expected to generate shape (2, 3), but '
                       "the existing parameter it received has shape (4, 3)."),
            r"the checkpoint is another model's: its a/b/k is (4, 3), not (2, 3); give the gin files",
        ),
    ],
)  # fmt: skip
def test_known_errors_are_explained(error: Exception, words: str) -> None:
    told = t5x_errors.explained(error)
    assert told is not None
    assert words in str(told)
    outer = RuntimeError("around it")
    outer.__cause__ = error
    assert str(t5x_errors.explained(outer)) == str(told)


def test_unknown_errors_keep_their_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    assert t5x_errors.explained(ZeroDivisionError("division by zero")) is None
    handler = t5x_errors.OneLine()
    assert handler.wants(UserError("a", "b"))
    monkeypatch.setenv(t5x_errors.DEBUG, "1")
    assert not handler.wants(UserError("a", "b"))


@pytest.mark.t5x
@pytest.mark.usefixtures("t5x")
def test_the_real_t5x_is_as_recorded() -> None:
    import importlib

    modules: dict[str, Any] = t5x_contract.modules_of()
    modules |= {name: importlib.import_module(name) for name in t5x_contract.SCRIPTS}
    t5x_contract.check(modules)
    from t5x import models  # pyright: ignore[reportMissingImports]

    for name, asked in inspect.getmembers(t5x_contract.ModelContract, inspect.isfunction):
        if not name.startswith("_"):
            theirs = inspect.signature(getattr(models.BaseModel, name)).parameters
            assert list(theirs) == list(inspect.signature(asked).parameters), name
