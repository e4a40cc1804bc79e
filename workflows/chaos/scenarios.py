"""All scenarios by name, in the order of the table."""

from collections.abc import Callable
from functools import partial

from workflows.chaos import damage, disks, kills, others
from workflows.chaos.row import FAILED, Row
from workflows.chaos.stage import Stage

Scenario = Callable[[Stage], Row]


def all_scenarios() -> dict[str, Scenario]:
    """Name to scenario."""
    found: dict[str, Scenario] = {}
    for job, points in kills.DRIVER.items():
        for point in range(len(points)):
            found[f"driver/{job}/{point}"] = partial(kills.driver, job=job, point=point)
    for after in (0, 12):
        found[f"worker/{after}"] = partial(kills.worker, after=after)
    found["task_manager"] = kills.task_manager
    for job, points in disks.FULL.items():
        for point in range(len(points)):
            found[f"full_disk/{job}/{point}"] = partial(disks.full, job=job, point=point)
    for job, points in disks.READS.items():
        for point in range(len(points)):
            found[f"read_error/{job}/{point}"] = partial(disks.unreadable, job=job, point=point)
    for name, scenario in (
        ("two_drivers", others.two_drivers),
        ("clock", others.jumping_clock),
        ("stale", others.debris),
    ):
        for job in others.MIDDLE:
            found[f"{name}/{job}"] = partial(scenario, job=job)
    for number, how in enumerate(damage.TORN):
        found[f"torn/{number}"] = partial(damage.step_json, how=how)
    for number in range(len(damage.CHECKPOINT)):
        found[f"checkpoint/{number}"] = partial(damage.checkpoint, number=number)
    found["preempted"] = kills.preempted
    return found


def played(name: str, scenario: Scenario, stage: Stage) -> Row:
    """A scenario's row; one that breaks down has failed."""
    try:
        return scenario(stage)
    except Exception as error:
        return Row(name, "", "", verdict=FAILED, why=f"{type(error).__name__}: {error}")
