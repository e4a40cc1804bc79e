from pathlib import Path

import pytest

from beam_jobs.sandbox import LAYERS, Limits, Sandbox, Verdict, limits, run_python
from shammie.errors import UserError

ADD, TESTS, LONG_S = "def f(x): return x + 1", ["assert f(1) == 2"], 30.0
NAMESPACES = ("user", "mount", "pid", "net", "ipc", "uts")


def test_every_layer_works_here_or_is_waived_by_name(sandbox: Sandbox) -> None:
    found = sandbox.layers()
    assert [layer.name for layer in found] == list(LAYERS)
    assert [layer for layer in found if layer.state == "missing"] == []


@pytest.mark.parametrize("layer", LAYERS)
def test_a_missing_layer_is_named_and_nothing_runs(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(limits.WAIVE, raising=False)
    with Sandbox(1, absent=[layer]) as sandbox:
        assert layer in [one.name for one in sandbox.layers() if one.state == "missing"]
        with pytest.raises(UserError, match=f"lacks on this machine: .*{layer} .*{limits.WAIVE}=.*{layer}"):
            sandbox.run_python(ADD, TESTS, LONG_S)
        with pytest.raises(UserError, match=layer):
            sandbox.run_stdin("print(1)", [("", "1")], LONG_S)


def test_a_waived_layer_may_be_missing_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.WAIVE, "uts, ipc")
    with Sandbox(1, Limits(waive=("net",)), absent=["uts", "ipc", "net"]) as sandbox:
        assert {one.name for one in sandbox.layers() if one.state == "waived"} == {"uts", "ipc", "net"}
        assert sandbox.run_python(ADD, TESTS, LONG_S) == Verdict(True, "")
    with Sandbox(1, absent=["uts", "net"]) as sandbox, pytest.raises(UserError, match=r"machine: net \(not tried\);"):
        sandbox.run_python(ADD, TESTS, LONG_S)


def test_waiving_hides_no_layer_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(limits.WAIVE, ",".join(LAYERS))
    with Sandbox(1) as sandbox:
        program = "import os, socket\ndef f(): return os.getpid(), os.path.exists('/etc/passwd')"
        assert sandbox.run_python(program, ["assert f() == (1, False)"], LONG_S) == Verdict(True, "")


def test_without_namespaces_the_other_layers_still_hold() -> None:
    outside = "def f():\n    try: return len(open('/etc/passwd').read())\n    except OSError: return 'refused'"
    settings = [Path(f"/proc/sys/{name}") for name in ("user/max_user_namespaces", "kernel/hostname")]
    before = [path.read_text() for path in settings]
    with Sandbox(1, Limits(waive=NAMESPACES), absent=NAMESPACES) as sandbox:
        assert {one.name for one in sandbox.layers() if one.state != "works"} == set(NAMESPACES)
        assert sandbox.run_python(ADD, TESTS, LONG_S) == Verdict(True, "")
        assert sandbox.run_python(outside, ["assert f() == 'refused'"], LONG_S) == Verdict(True, "")
        assert sandbox.run_python("while True: pass", TESTS, 1.0) == Verdict(False, "timeout")
        assert sandbox.run_python("import os\nos.fork()", TESTS, LONG_S) == Verdict(False, "error: PermissionError")
        assert sandbox.run_stdin("open('a', 'w').write('b')\nprint(open('a').read())", [("", "b")], LONG_S).passed
        assert sandbox.run_stdin("import os\nprint(os.listdir('.'))", [("", "[]")], LONG_S).passed
    assert [path.read_text() for path in settings] == before  # what is set in namespaces is not set for the machine


def test_names_of_layers_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown sandbox layer 'landlok'; did you mean landlock"):
        Limits(waive=("landlok",))
    monkeypatch.setenv(limits.WAIVE, "nets")
    with pytest.raises(UserError, match="unknown sandbox layer 'nets'"):
        Sandbox(1)


def test_what_the_kernel_said_is_told() -> None:
    layers = limits.judge({"net": "unshare: Operation not permitted"}, frozenset())
    with pytest.raises(UserError, match=r"machine: net \(unshare: Operation not permitted\); run where"):
        limits.refuse(layers)
    limits.refuse(limits.judge({"net": "unshare"}, frozenset({"net"})))
    assert run_python(ADD, TESTS, LONG_S).passed
