"""The floors of the house: who may import whom, and what must stay light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {"shammie": 0, "models": 1, "seqio_tasks": 2, "beam_jobs": 3, "workflows": 4}
FILES = sorted(path for name in FLOORS for path in (ROOT / name).rglob("*.py"))
NOT_IN_MODELS = {"apache_beam", "tensorflow", "seqio", "gin", "t5x"}
BRINGS_TENSORFLOW = {"tensorflow", "seqio", "tensorflow_text", "tensorflow_datasets"}
BRINGS_TENSORFLOW_TOO = {"clu.metric_writers", "clu.periodic_actions"}
# what other floors may import of seqio_tasks: modules without TensorFlow; test_jobs_do_not_import_tensorflow watches it
LIGHT_TASKS = tuple(f"seqio_tasks.{name}" for name in (
    "array_records", "base_sets", "composition_images", "image_data", "image_files", "layout", "mat_files", "metrics",
    "npz_files", "pair_rows", "pairs", "synthetic_tables", "token_files", "windows"))  # fmt: skip
LIGHT_FILES = {"seqio_tasks/__init__.py", *(f"{name.replace('.', '/')}.py" for name in LIGHT_TASKS)}
T5X_ADAPTER = "workflows/t5x_adapter.py"
PUBLIC_FACE = "shammie/__init__.py"  # its lazy names lead upwards, and it alone may name them


def imports(tree: ast.AST, *, top_level: bool = False) -> set[str]:
    """Dotted names that a module imports; only those that run when it is imported, if top_level."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        if top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if top_level and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        waiting.extend(ast.iter_child_nodes(node))
    return found


def broken_floors(path: str, text: str) -> set[str]:
    """What a file imports although its floor may not."""
    package, names = path.split("/")[0], imports(ast.parse(text))
    tops = {name.split(".")[0] for name in names}
    wrong = {top for top in tops & set(FLOORS) if FLOORS[top] > FLOORS[package]}
    if package == "models":
        wrong |= tops & NOT_IN_MODELS
    if path != T5X_ADAPTER:
        wrong |= tops & {"t5x"}
    return set() if path == PUBLIC_FACE else wrong


def eager_tensorflow(path: str, text: str) -> set[str]:
    """What a file outside seqio_tasks imports at its top level although that loads TensorFlow."""
    names = imports(ast.parse(text), top_level=True)
    tops = {name.split(".")[0] for name in names}
    if (path.startswith("seqio_tasks/") and path not in LIGHT_FILES) or path == T5X_ADAPTER:  # T5X imports it anyway
        return set()
    heavy = {name for name in names if name.startswith("seqio_tasks.") and not name.startswith(LIGHT_TASKS)}
    return (tops & BRINGS_TENSORFLOW) | (names & BRINGS_TENSORFLOW_TOO) | heavy


@pytest.mark.parametrize("path", [path.relative_to(ROOT).as_posix() for path in FILES])
def test_floors(path: str) -> None:
    text = (ROOT / path).read_text()
    assert broken_floors(path, text) == set()
    assert eager_tensorflow(path, text) == set()
    assert len(text.splitlines()) <= 400


def test_the_walk_finds_what_it_looks_for() -> None:
    assert broken_floors("models/a.py", "def f():\n    from workflows import dag") == {"workflows"}
    assert broken_floors("models/a.py", "import apache_beam.io") == {"apache_beam"}
    assert broken_floors("shammie/files.py", "import models") == {"models"}
    assert broken_floors("workflows/a.py", "import models, beam_jobs.equal_info") == set()
    assert broken_floors("beam_jobs/a.py", "from t5x import models") == {"t5x"}
    assert eager_tensorflow("workflows/a.py", "try:\n    import tensorflow as tf\nfinally: pass") == {"tensorflow"}
    assert eager_tensorflow("workflows/a.py", "from clu import metric_writers") == {"clu.metric_writers"}
    assert eager_tensorflow("workflows/a.py", "def f():\n    import seqio") == set()
    assert eager_tensorflow("seqio_tasks/a.py", "import seqio") == set()
    assert eager_tensorflow("beam_jobs/a.py", "from seqio_tasks import equal_info") == {"seqio_tasks.equal_info"}
    assert eager_tensorflow("beam_jobs/a.py", "from seqio_tasks.layout import COMPLETED") == set()
    assert eager_tensorflow("beam_jobs/a.py", "from seqio_tasks import layout") == set()
    assert eager_tensorflow("seqio_tasks/layout.py", "import seqio") == {"seqio"}
    assert eager_tensorflow("beam_jobs/a.py", "from seqio_tasks import layout") == set()
    assert eager_tensorflow("beam_jobs/a.py", "from seqio_tasks.equal_info import add_task") != set()


def test_every_package_is_listed_for_the_wheel() -> None:
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in FILES}
    assert there <= listed


def test_constraints_are_sorted_pins_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    names = [line.partition("==")[0].lower() for line in lines]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    assert names == sorted(set(names))
    assert "tensorflow-cpu" not in names


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["list"], ["bench", "--help"]])
def test_the_command_starts_light(arguments: list[str]) -> None:
    code = (
        "import sys; from workflows.cli import main; main(sys.argv[1:]); "
        "print([m for m in ('numpy', 'jax', 'tensorflow', 'apache_beam', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(done.stdout.splitlines()) > 3
