"""What the kinds of steps cost that several systems have: language models, samples, text, sweeps."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.lm import LMConfig
from models.lm.flops import forward_flops_per_token, training_flops_per_token
from models.training import OptimizerConfig
from workflows.cost_model import DECLARED, FORMULA, MEASURED, Cost, Rates
from workflows.dag_step import shared_folder

CHECKPOINTS = 2  # the one that counts, and the next one while it is written
SHARES = {"train": 0.84, "validation": 0.08, "test": 0.08}  # of text, by `corpus.split_of`


def lm_training(
    rates: Rates, model: LMConfig, optimizer: OptimizerConfig, *, tokens: float, length: int, runs: int = 1
) -> Cost:
    """Trainings of a language model, one after the other.

    Args:
        rates: of this machine.
        model: the network.
        optimizer: whose state the checkpoints hold.
        tokens: of a run.
        length: of its rows.
        runs: how many.
    """
    from workflows.costs import state_numbers

    parameters, rest = state_numbers(model, optimizer)
    ids = 2 if model.vocab_size <= 1 << 16 else 4
    disk = Cost(
        read_bytes=runs * tokens * ids,
        written_bytes=4.0 * parameters * (runs + 1),  # each run's parameters, and the best once more
        scratch_bytes=4.0 * CHECKPOINTS * (parameters + rest),
        sources=(FORMULA,),
    )
    return disk + rates.training(runs * tokens * training_flops_per_token(model, length), model.width)


def lm_samples(rates: Rates, model: LMConfig, *, tokens: float, length: int) -> Cost:
    """Samples of a language model: so many new tokens, in rows of this length."""
    return rates.decoding(tokens * forward_flops_per_token(model, length), model.width)


def corpus_cost(rates: Rates, text_bytes: float) -> Cost:
    """Text to a corpus by split, Parquet."""
    size, each = text_bytes * rates.scale, rates.corpus()
    return Cost(
        read_bytes=size,
        written_bytes=size * each["parquet_bytes"],
        core_seconds=size * each["parquet_core_seconds"],
        sources=(MEASURED,),
    )


def dataset_cost(rates: Rates, text_bytes: float, shards: int) -> Cost:
    """A corpus to shards by the Beam job in this process, each split on its own; the shipped codec stands in."""
    from beam_jobs.equal_info.job_rates import JobRates

    each = rates.corpus()
    job = JobRates.of_numbers(each)
    whole = Cost(sources=(f"{MEASURED} with the shipped codec",))
    for share in SHARES.values():
        size = text_bytes * rates.scale * share
        told = job.forecast(size, shards)
        whole += Cost(
            read_bytes=size * each["parquet_bytes"],
            written_bytes=told["output_bytes"],
            core_seconds=told["core_seconds"] + job.pipeline_core_seconds,
        )
    train = text_bytes * rates.scale * SHARES["train"]
    return whole + Cost(scratch_bytes=job.forecast(train, shards)["work_bytes"])


def sweep_cost(rates: Rates, store: str, kind: str, configs: Sequence[Mapping[str, Any]]) -> Cost:
    """The cells of a grid that have not run yet.

    Args:
        rates: their `out` is the run's directory; without one no cell has run.
        store: the name of the shared folder.
        kind: the kind's address.
        configs: the grid.
    """
    from beam_jobs.sweep.results import left

    told = left(shared_folder(rates.out, store) if rates.out else None, kind, configs)
    word = f"{told.timed:,} finished groups" if told.timed else DECLARED
    return Cost(written_bytes=told.bytes, core_seconds=told.core_seconds, sources=(word,))
