"""The `star` system: the noisy quadratic's theory of stable learned optimizers, and STAR in a suite (arXiv:2209.11208).

    theory ───────────────────────────────────────────┐
    meta_train_NAME ── suite_NAME (each optimizer) ────┤
    baselines (Adam and others over learning rates) ───┴── report

Sizes are in gin/star. The theory is in `star_theory`, the benchmark in `optimizer_suite`, meta-training in
`meta_training`, the page in `star_report`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from shammie.errors import UserError
from workflows import optimizer_suite, star_report, star_theory
from workflows.dag import Step
from workflows.optimizer_suite import Learned, Suite, checked_learned, decades
from workflows.star_theory import Theory

__all__ = ["Learned", "Settings", "Suite", "Theory", "decades", "steps"]

PAGES = (
    "workflows.report",
    "workflows.star_report",
    "workflows.optimizer_suite_report",
    "workflows.star_pictures",
    "workflows.optimizer_suite_measures",
    "workflows.optimizer_suite_pictures",
)
THEORY_CODE = ("workflows.star_theory", "models.star", "models.learned_optimizers")


@dataclass(frozen=True)
class Settings:
    """What gin files choose.

    Attributes:
        theory: sizes of the theory's pictures; None leaves it out.
        suite: the benchmark.
        learned: the learned optimizers in it.
    """

    theory: Theory | None = field(default_factory=Theory)
    suite: Suite = field(default_factory=Suite)
    learned: Sequence[Learned] = ()

    def __post_init__(self) -> None:
        checked_learned(self.learned, self.suite)


def steps(settings: Settings | None = None, input: Sequence[str] = (), beam_flags: Sequence[str] = ()) -> list[Step]:
    """The DAG; its last step is the report.

    Args:
        settings: numbers and choices.
        input: refused: tasks are drawn.
        beam_flags: go to Beam as they are.
    """
    if input:
        raise UserError(f"star reads no --input (got {input[0]})", "leave it out: its tasks are drawn at random")
    settings = settings or Settings()
    inputs = optimizer_suite.report_inputs(settings.suite, settings.learned, beam_flags)
    theory = settings.theory
    if theory is not None:
        inputs["theory"] = Step(
            "theory", lambda running: star_theory.run(running, theory), config=asdict(theory), code=THEORY_CODE,
            lasts="1 minute",
        )  # fmt: skip
    told = {"suite": asdict(settings.suite), "learned": [one.name for one in settings.learned]}
    return [
        Step("report", lambda running: star_report.write(running, settings), config=told, inputs=inputs, code=PAGES)
    ]
