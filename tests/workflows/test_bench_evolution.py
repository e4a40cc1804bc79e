import argparse
import sys

import pytest

from shammie.errors import UserError
from workflows.bench import evolution


def test_ratios_and_targets() -> None:
    rates = {"call": 4e8, "loop": 6e8, "bare": 8e8, "bare unrolled": 9e8, "both": 5e8, "python loop": 1e6}
    found = evolution.table({200: {**rates, "reference": 2e6}, 300: rates})
    assert found.rows == [
        [200, 400, 600, 800, 900, 500, 1, 2, 200, 0.75, 1.2],
        [300, 400, 600, 800, 900, 500, 1, None, 400, 0.75, 1.2],
    ]
    assert [(one.what.split(": ")[1], one.measured, one.reached) for one in found.targets] == [
        ("ours, a call / reference", 200, True),
        ("ours, a loop / bare dynamics", 0.75, True),
        ("ours, a call / python loop", 400, True),
        ("ours, a loop / bare dynamics", 0.75, True),
    ]


def test_a_reference_that_does_not_run_is_told_in_one_line() -> None:
    for python in (sys.executable, "/no/such/python"):
        with pytest.raises(UserError, match="the reference does not run under") as caught:
            evolution.reference_seconds(python, 4, 1)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_every_way_makes_its_windows() -> None:
    table = evolution.run(argparse.Namespace(particles=[4000], turns=1, unroll=1, reference=None))
    assert all(rate > 0 for rate in table.rows[0][1:7])
    assert table.rows[0][7] is None
