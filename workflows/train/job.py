"""What one kind of training gives to the loop, which knows none: an objective, which is compiled, and a job around it.

A row is what the host makes of a step's data for each member of the batch: tokens, or no more than the numbers that an
example is made from on the device. B = batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from models.training import Batch, Metrics, Params
from workflows.train.run_config import RunConfig

if TYPE_CHECKING:
    from models.parameterization.scaling import Scales

Rows = Any  # an array, or a pytree of arrays, whose first axis counts rows
Evaluate = Callable[[Any], Mapping[str, float]]


class Objective(ABC):
    """What is trained, as far as it is compiled.

    Make it a frozen dataclass: equal ones share their compiled code, as those of a sweep over seeds do. Arrays do not
    belong into it, but among the job's `resident` ones.
    """

    @property
    @abstractmethod
    def row(self) -> Any:
        """The shape and type of one row, a `jax.ShapeDtypeStruct` or a pytree of them; without the batch's axis."""

    @abstractmethod
    def init(self, key: jax.Array) -> Mapping[str, Any]:
        """The first variables: "params", and where they lie, "params_axes", as Flax's `param_with_axes` has it.

        Without "params_axes" every parameter lies whole on every device.
        """

    @abstractmethod
    def loss(self, params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        """The mean loss of a batch, and metrics as `models.training.average` makes them, "loss" among them."""

    def batch_of(self, rows: Rows, resident: Any) -> Batch:
        """The batch of some rows, made on the device as part of the step: arrays whose first axis is the batch's.

        Args:
            rows: as the job gives them, [B, …].
            resident: the job's resident arrays.
        """
        return rows

    def scales(self) -> "Scales | None":
        """What scales each parameter's learning rate and epsilon; None for nothing."""
        return None

    def weights_of(self, params: Params) -> Any:
        """The parameters as whoever evaluates or keeps the network takes them."""
        return params

    def params_of(self, weights: Any) -> Params:
        """The parameters of such weights."""
        return weights

    def measure(self, params_0: Params, params: Params, batch: Batch) -> dict[str, jax.Array]:
        """What a job with `measure_every` logs: numbers by name, of the parameters before step 0 and of those now."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Job:
    """An objective at work: its run, its data, and how it is measured.

    Attributes:
        config: the run.
        objective: what is trained.
        load: (first step, steps) to this process's rows of these steps, arrays on the host: [rows, …], or
            [steps, rows, …] for several steps. Called on a thread, ahead of the steps; a function of the step alone,
            so that a run resumes anywhere (`rows_by_formula` makes one).
        unit: what a step's work is counted in, in the plural: the log's names are UNIT and UNIT_per_s.
        units_per_step: how many a step has, on all hosts together.
        flops_per_unit: of training; None where it is not known, and the log has no "flops".
        hashes: of what the run reads, by name: parts of the checkpoint's identity, beside the config's.
        resident: arrays on the host, any pytree, that every step reads: put once on every device, whole.
        validation: this process's rows of each validation batch.
        validated: the metrics of these that are logged, behind "validation_"; None for all.
        evaluate: weights to what is logged every config.eval_every steps, instead of a loss on `validation`. The next
            step takes the weights' memory: what is to be kept must be copied.
        start: shapes of the parameters (`jax.ShapeDtypeStruct`) to the weights that a new run begins with, arrays on
            the host; None where it begins with the objective's first ones.
        measure_every: steps between measurements (`Objective.measure`) on the run's first batch; 0 for none.
    """

    config: RunConfig
    objective: Objective
    load: Callable[[int, int], Rows]
    unit: str
    units_per_step: int
    flops_per_unit: float | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    resident: Any = ()
    validation: Sequence[Rows] = ()
    validated: Sequence[str] | None = None
    evaluate: Evaluate | None = None
    start: Callable[[Any], Any] | None = None
    measure_every: int = 0


def rows_by_formula(make: Callable[[int, int], Rows], batch_size: int) -> Callable[[int, int], Rows]:
    """A job's `load` for rows that are made by their number, of which step s has batch_size from s * batch_size on.

    Args:
        make: (first, count) to the rows `first` to first + count - 1 of an endless sequence, [count, …].
        batch_size: of all hosts together; each process keeps every hosts-th row, from row `host` on.
    """

    def load(first: int, steps: int) -> Rows:
        def own(rows: Any) -> np.ndarray:
            batches = np.asarray(rows).reshape(steps, batch_size, *np.shape(rows)[1:])
            kept = batches[:, jax.process_index() :: jax.process_count()]
            return kept[0] if steps == 1 else kept

        return jax.tree.map(own, make(first * batch_size, steps * batch_size))

    return load
