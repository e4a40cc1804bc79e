"""What gin files choose of `in_context`: learners, how they are meta-trained, the grids, and what judges them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from beam_jobs.in_context.cells import Judged, baseline_config, meta_training_config
from models.in_context.baselines import BASELINES
from models.in_context.judging import SCORED_AT_ONCE, Evaluation
from models.in_context.learner_config import LearnerConfig
from models.in_context.meta_training import MetaTraining
from models.in_context.tasks import Mixture, TaskDistribution
from models.training import OptimizerConfig
from seqio_tasks.base_sets import RANDOM, TABLE
from seqio_tasks.synthetic_tables import CLASSES as SYNTHETIC_CLASSES
from shammie.errors import UserError, unknown

ROLES = ("phase", "state", "plateau")
SEEN, SEEN_IMAGES, UNSEEN, ORTHOGONAL, SHUFFLED = "seen", "seen_images", "unseen", "orthogonal", "shuffled"


@dataclass(frozen=True)
class Recipe:
    """How a learner is meta-trained.

    Attributes:
        name: one word.
        learning_rate: the largest, after the warm-up and before half a cosine.
        batch: contexts of a step: the meta-batch.
        warmup_steps: of the learning rate.
        biased_share: share of contexts with one fixed permutation of the labels.
        two_class_share: share of contexts with two classes instead of all: a mixed distribution.
        any_class_share: share of contexts with 2 to all classes.
        table_share: share of contexts over synthetic tables (`seqio_tasks.synthetic_tables`), of 2 to all classes.
        tables: how many synthetic tables there are.
        curriculum_from: tasks at first, twice as many after each curriculum_draws contexts; 0 for all at once.
        curriculum_draws: see there.
        scale: of projections, as `TaskDistribution.scale`.
    """

    name: str = "plain"
    learning_rate: float = 1e-3
    batch: int = 32
    warmup_steps: int = 100
    biased_share: float = 0.0
    two_class_share: float = 0.0
    any_class_share: float = 0.0
    table_share: float = 0.0
    tables: int = 24
    curriculum_from: int = 0
    curriculum_draws: int = 5_000
    scale: str = "variance"

    def __post_init__(self) -> None:
        rest = 1 - self.two_class_share - self.any_class_share - self.table_share
        if min(self.two_class_share, self.any_class_share, self.table_share) < 0 or rest <= 0:
            raise UserError(
                f"shares of recipe {self.name} are {self.two_class_share}, {self.any_class_share}, {self.table_share}",
                "give shares of 0 or more that leave some for contexts of all classes",
            )
        if self.tables < 1:
            raise UserError(f"Recipe.tables is {self.tables}", "give 1 or more")

    def mixture(self, data: str, tasks: int) -> Mixture:
        """What it trains on, of so many tasks over a data set."""
        all_classes = TaskDistribution(
            data,
            tasks,
            scale=self.scale,  # pyright: ignore[reportArgumentType]
            biased_share=self.biased_share,
            curriculum_from=self.curriculum_from,
            curriculum_draws=self.curriculum_draws,
        )
        # of the same tasks: their number is that of different projections
        of_classes = lambda fewest, most: replace(all_classes, fewest_classes=fewest, classes=most)  # noqa: E731
        parts = [
            (all_classes, 1 - self.two_class_share - self.any_class_share - self.table_share),
            (of_classes(2, 2), self.two_class_share),
            (of_classes(2, SYNTHETIC_CLASSES), self.any_class_share),
        ]
        for number in range(self.tables if self.table_share else 0):
            table = replace(of_classes(2, SYNTHETIC_CLASSES), data=f"{TABLE}{number}")
            parts.append((table, self.table_share / self.tables))
        kept = [(one, share) for one, share in parts if share > 0]
        return Mixture([one for one, _ in kept], [share for _, share in kept])

    def optimizer(self) -> OptimizerConfig:
        """Adam with a warm-up and half a cosine."""
        return OptimizerConfig("adam", self.learning_rate, warmup_steps=self.warmup_steps)


@dataclass(frozen=True)
class Grid:
    """Meta-trainings to compare: every learner with every number of tasks, recipe and seed.

    Attributes:
        name: one word.
        role: "phase" (who generalises), "state" (which learner, of what state) or "plateau" (how soon).
        learners: their sizes.
        tasks: numbers of tasks; 0 for no end.
        recipes: how they are trained.
        seeds: of first parameters and rows.
        steps: of meta-training.
        points: at which they are scored.
        transfer: of a "state" grid, data sets that its learners never saw and are scored by too.
    """

    name: str = "phase"
    role: str = "phase"
    learners: Sequence[LearnerConfig] = (LearnerConfig(),)
    tasks: Sequence[int] = (1, 64, 4096)
    recipes: Sequence[Recipe] = (Recipe(),)
    seeds: Sequence[int] = (0,)
    steps: int = 1000
    points: int = 5
    transfer: Sequence[str] = (RANDOM,)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise unknown("role", self.role, ROLES)
        for name in ("learners", "tasks", "recipes", "seeds"):
            if not getattr(self, name):
                raise UserError(f"Grid.{name} of {self.name} is empty", "give at least one")
        names = [one.name for one in self.recipes]
        if len({*names}) < len(names):
            raise UserError(f"recipes of {self.name} are {', '.join(names)}", "name each once")


@dataclass(frozen=True)
class Settings:
    """What gin files choose.

    Attributes:
        data: the data set that learners are meta-trained on (`seqio_tasks.base_sets`).
        transfer: data sets that it never saw and judge `learner` and the baselines.
        grids: meta-trainings on the sweep engine.
        learner: one more, meta-trained by the bundled trainer and kept as learner.bin; None for none.
        tasks: its number of tasks.
        recipe: how it is trained.
        steps: of its training.
        seed: of its training.
        baselines: some of `models.in_context.baselines.BASELINES`.
        contexts: how many judge each learner, of each kind.
        max_bad_share: the share of cells that may fail.
    """

    data: str = "digits"
    transfer: Sequence[str] = (RANDOM,)
    grids: Sequence[Grid] = (Grid(),)
    learner: LearnerConfig | None = field(default_factory=LearnerConfig)
    tasks: int = 0
    recipe: Recipe = field(default_factory=Recipe)
    steps: int = 1000
    seed: int = 0
    baselines: Sequence[str] = ("nearest_neighbour",)
    contexts: int = 256
    max_bad_share: float = 0.0

    def __post_init__(self) -> None:
        names = [grid.name for grid in self.grids]
        if len({*names}) < len(names):
            raise UserError(f"grids are {', '.join(names)}", "name each once")
        for name in self.baselines:
            if name not in BASELINES:
                raise unknown("baseline", name, BASELINES)
        if self.contexts < 1 or self.contexts % min(self.contexts, SCORED_AT_ONCE):
            raise UserError(f"Settings.contexts is {self.contexts}", f"give a multiple of {SCORED_AT_ONCE}")
        for where, transfer in (
            ("Settings.transfer", self.transfer),
            *((f"Grid.transfer of {grid.name}", grid.transfer) for grid in self.grids),
            ("transfer of the settings and of their grids", self._judged_transfer()),
        ):
            names = [SEEN, SEEN_IMAGES, UNSEEN, ORTHOGONAL, SHUFFLED, *map(word_of, transfer)]
            if len({*names}) < len(names):
                raise UserError(
                    f"{where} is {', '.join(transfer)}: judged as {', '.join(names)}",
                    "name each data set once, in folders of different names",
                )

    def _judged_transfer(self) -> tuple[str, ...]:
        """What judges any learner, and so baselines too."""
        of_grids = [name for grid in self.grids if grid.role == "state" for name in grid.transfer]
        return tuple(dict.fromkeys([*self.transfer, *of_grids]))

    def evaluations(
        self,
        tasks: int,
        *,
        everything: bool,
        scale: str = "variance",
        met: bool = True,
        transfer: Sequence[str] | None = None,
    ) -> list[Evaluation]:
        """What judges a learner that was trained on so many tasks.

        - seen: tasks that it met, with held-out images; seen_images: with the images of its training.
        - unseen: other tasks, held-out images; orthogonal: the same with rotations instead of Gaussian projections.
        - shuffled: labels that say nothing, where nothing above chance is right.
        - each data set that it never saw, by name.

        Args:
            tasks: of the training.
            everything: whether to look beyond the first three.
            scale: of the training's projections (`Recipe.scale`).
            met: whether seen tasks are those that the training met; else they are spread over all that it could meet,
                which of endlessly many says nothing.
            transfer: data sets beyond; None for the settings' own.
        """
        plain = TaskDistribution(self.data, scale=scale)  # pyright: ignore[reportArgumentType]
        trained = replace(plain, tasks=tasks)
        found = [
            Evaluation(SEEN, trained, seen=not met, met=met),
            Evaluation(SEEN_IMAGES, trained, seen=not met, met=met, split="train"),
            Evaluation(UNSEEN, plain),
        ]
        if not everything:
            return found
        found += [
            Evaluation(ORTHOGONAL, replace(plain, projection="orthogonal")),
            Evaluation(SHUFFLED, replace(plain, label_noise=1.0)),
        ]
        return found + [
            Evaluation(word_of(name), replace(plain, data=name, repeat=name == RANDOM))
            for name in (self.transfer if transfer is None else transfer)
        ]

    def trainings(self, grid: Grid) -> list[MetaTraining]:
        """A grid's meta-trainings, learners outermost, seeds innermost."""
        return [
            MetaTraining(
                learner,
                recipe.mixture(self.data, tasks),
                recipe.optimizer(),
                recipe.batch,
                grid.steps,
                seed,
                grid.points,
                self.evaluations(
                    tasks,
                    everything=grid.role == "state",
                    scale=recipe.scale,
                    met=bool(tasks) or grid.role == "phase",  # elsewhere it is unseen tasks that count
                    transfer=grid.transfer,
                ),
                self.contexts,
            )
            for learner in grid.learners
            for tasks in grid.tasks
            for recipe in grid.recipes
            for seed in grid.seeds
        ]

    def configs(self, grid: Grid) -> list[dict[str, Any]]:
        """A grid's cells."""
        return [meta_training_config(training) for training in self.trainings(grid)]

    def judged(self) -> list[Judged]:
        """Each baseline on each evaluation, of each length of context that some learner has."""
        learners = [learner for grid in self.grids for learner in grid.learners]
        learners += [self.learner] if self.learner else []
        shapes = sorted({(one.features, one.classes, one.examples) for one in learners})
        return [
            Judged(baseline, evaluation, *shape, self.contexts)
            for shape in shapes
            for baseline in self.baselines
            for evaluation in self.evaluations(0, everything=True, transfer=self._judged_transfer())[2:]
        ]

    def baseline_configs(self) -> list[dict[str, Any]]:
        """The cells of the baselines."""
        return [baseline_config(one) for one in self.judged()]


def word_of(data: str) -> str:
    """A data set's name as a key: its last part, without what is no letter, digit or "_"; table:7 is "table_7"."""
    last = data if data.startswith(TABLE) else data.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return "".join(letter if letter.isalnum() else "_" for letter in last).lower()
