"""No code comes from outside: what turns data into objects or programs is in none of our modules, but where it must."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("shammie", "models", "seqio_tasks", "beam_jobs", "workflows")
# a module that unpickles, or runs what it is given
MODULES = {
    "pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle", "pandas",
    "torch", "yaml", "ruamel", "h5py", "xmlrpc", "code", "codeop",
}  # fmt: skip
NAMES = {"eval", "exec", "compile", "__import__", "execfile"}
CALLS = {"loads_pickle", "read_pickle", "load_module", "exec_module", "run_path", "run_module", "loadmat", "extractall"}
IMPORTERS = {"import_module", "__import__", "find_spec"}
NUMPY = {"numpy", "np", "jnp"}

# where, what, and why it may
ALLOWED = {
    (
        "beam_jobs/sandbox/sample_process.py",
        "exec",
    ): "runs a model's program: in a jail, which is what the sandbox is for",
    ("beam_jobs/sandbox/sample_process.py", "compile"): "the same program",
    ("beam_jobs/sandbox/tests_process.py", "exec"): "runs a data set's tests, in the jail beside the program",
    ("beam_jobs/sandbox/tests_process.py", "compile"): "the same tests",
    ("workflows/chaos/faults.py", "run_module"): "starts a command of ours, by its name in the suite's own table",
    ("workflows/bench/_torch_twin.py", "torch"): "a peer in a benchmark, built here; nothing is loaded by it",
}


def found_in(text: str) -> Iterator[tuple[str, int]]:
    """What a module has of these, and its lines."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((one.name, node.lineno) for one in node.names if one.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in MODULES:
                yield node.module or "", node.lineno
        elif isinstance(node, ast.Call):
            yield from ((name, node.lineno) for name in _call(node))


def _call(node: ast.Call) -> Iterator[str]:
    words = {word.arg: word.value for word in node.keywords}
    if "allow_pickle" in words and not _is(words["allow_pickle"], False):
        yield "allow_pickle"
    if isinstance(node.func, ast.Name):
        if node.func.id in NAMES:
            yield node.func.id
    named = node.args[0] if node.args else None
    if (
        isinstance(named, ast.Constant)
        and str(named.value).partition(".")[0] in MODULES
        and _last(node.func) in IMPORTERS
    ):
        yield str(named.value)
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        if node.func.attr in CALLS or (owner == "builtins" and node.func.attr in NAMES):
            yield node.func.attr
        if node.func.attr == "load" and owner in NUMPY and not _is(words.get("allow_pickle"), False):
            yield "numpy.load"


def _last(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def modules() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_no_module_of_ours_runs_what_it_reads() -> None:
    found = {(path, what): line for path in modules() for what, line in found_in((ROOT / path).read_text())}
    assert {f"{path}:{line} {what}" for (path, what), line in found.items() if (path, what) not in ALLOWED} == set()
    assert set(ALLOWED) <= set(found), "an exception that nothing needs any more"
    assert len(modules()) > 300


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import pickle", "pickle"),
        ("def f():\n    from pickle import loads", "pickle"),
        ("import joblib", "joblib"),
        ("import torch.nn", "torch.nn"),
        ("import yaml", "yaml"),
        ("import shelve, json", "shelve"),
        ("eval(text)", "eval"),
        ("x = [exec(t) for t in y]", "exec"),
        ("builtins.eval(t)", "eval"),
        ("__import__(name)", "__import__"),
        ("importlib.import_module('pickle')", "pickle"),
        ("np.load(path)", "numpy.load"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("numpy.lib.format.read_array(f, allow_pickle=told)", "allow_pickle"),
        ("scipy.io.loadmat(path)", "loadmat"),
        ("tar.extractall()", "extractall"),
    ],
)
def test_each_of_them_is_seen(text: str, what: str) -> None:
    assert what in {name for name, _ in found_in(text)}


@pytest.mark.parametrize(
    "text",
    [
        "np.load(f, allow_pickle=False)",
        "model.eval()",
        "re.compile(x)",
        "json.loads(x)",
        "ast.literal_eval(x)",
        "files.load(x)",
    ],
)
def test_what_only_looks_like_one_is_not(text: str) -> None:
    assert list(found_in(text)) == []
