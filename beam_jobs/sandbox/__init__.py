"""Programs that a model wrote, run where they can do no harm, and judged where they can forge nothing.

    run_python("def f(x): return x + 1", ["assert f(1) == 2"])    # Verdict(passed=True, reason="")
    run_stdin("print(int(input()) + 1)", [("1", "2")])

How a verdict comes about. A fork server (`zygote`), a small Python that never runs foreign code, lives in namespaces of
its own. For each run it forks two processes: one executes the sample, the other the tests (`sample_process`,
`tests_process`). The program's functions are proxies in the tests' process; arguments and results cross as plain data
whose types are kept exactly (`protocol`). The tests' process says what came of them to the fork server, on a pipe
that the sample's process never had. The tests' source never enters the sample's process, whose memory is a copy of the
fork server's from before either was read.

Threat model. A sample may do whatever Python and machine code can do: it must not pass without computing what the tests
ask, nor reach the network, files outside its directory, other processes, other runs (before, beside or after it), nor
hold the machine up for longer than its time, memory, output and process limits. Each is kept by at least one layer
that the kernel enforces, most by two (`layers`); if one does not work here, nothing runs until it is waived by name.
Tests are trusted to test, not with the machine: they run behind the same layers. Not defended against: bugs of the
kernel, what can be learnt from timing and other side channels, and tests that a wrong answer satisfies. Time is
processor time (`timing`), so that a loaded machine delays right programs but does not fail them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_jobs.sandbox.limits import LAYERS, Layer, Limits
    from beam_jobs.sandbox.pool import Sandbox, layers, run_python, run_stdin
    from beam_jobs.sandbox.verdict import Verdict

# On first use (PEP 562): the fork server imports this package too, and wants none of what its caller needs.
_HOME = {
    "LAYERS": "limits",
    "Layer": "limits",
    "Limits": "limits",
    "Sandbox": "pool",
    "Verdict": "verdict",
    "layers": "pool",
    "run_python": "pool",
    "run_stdin": "pool",
}
__all__ = ["LAYERS", "Layer", "Limits", "Sandbox", "Verdict", "layers", "run_python", "run_stdin"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"beam_jobs.sandbox.{_HOME[name]}"), name)
    raise AttributeError(f"module 'beam_jobs.sandbox' has no attribute {name!r}; it has {', '.join(__all__)}")
