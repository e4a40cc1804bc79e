import sys
import threading

import pytest
from apache_beam.runners.worker import log_handler, sdk_worker

from beam_jobs.quiet import _Hook, quiet_workers
from shammie import logs


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setitem(logs._state, "quiet", True)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back at the end


@pytest.mark.usefixtures("quiet")
def test_workers_print_only_for_debug(capsys, monkeypatch):
    with quiet_workers(own_processes=False):
        pass
    for module in (sdk_worker, log_handler):
        module.__dict__["print"]("a stack trace", file=sys.stderr)
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(logs._state, "quiet", False)
    sdk_worker.__dict__["print"]("a stack trace", file=sys.stderr)
    assert capsys.readouterr().err == "a stack trace\n"


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("module", "shown"), [("apache_beam.runners.worker.data_plane", 0), ("ours", 1)])
def test_threads_of_beam_die_in_silence(monkeypatch, module, shown):
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    for _ in range(2):
        with quiet_workers(own_processes=False):
            pass
    assert isinstance(threading.excepthook, _Hook)
    there = {"__name__": module}
    exec("def die():\n    raise ValueError('cancelled')", there)
    thread = threading.Thread(target=there["die"])
    thread.start()
    thread.join()
    assert len(told) == shown
