"""Short measurements of this machine that costs are computed with, each made once and kept (`shammie.measured`)."""

import tempfile
import time
from collections.abc import Callable
from typing import Any

from shammie.files import join
from shammie.measured import Numbers, measured

WIDTHS = (32, 128, 512)
LEAST_SECONDS = 0.7  # of processor time, for each of them
TRAINED_ROWS, TRAINED_LENGTH = 4, 128
DECODED_ROWS, DECODED_TOKENS = 32, 48
CORPUS_BYTES = 24_000_000
UNIT_BYTES = 4 << 20  # several units of that, so that a part of them can be run


def products(*, again: bool = False) -> Numbers:
    """FLOP/s of a core in trainings and in decoding, by network width."""
    return measured("products", measure_products, packages=("jax", "jaxlib", "flax"), again=again)


def corpus(*, again: bool = False) -> Numbers:
    """What the text job takes of a byte of text."""
    return measured("corpus", measure_corpus, packages=("apache-beam", "numba", "numpy", "pyarrow"), again=again)


def measure_products() -> Numbers:
    """Trains and decodes small networks for some seconds: "training_WIDTH" and "decoding_WIDTH", FLOP/s of a core.

    FLOPs are those of `models.lm.flops`; seconds are the processor's, over all of this process's threads.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from models.lm import DecoderLM, LMConfig
    from models.lm.decoding import Sampling, generate
    from models.lm.flops import forward_flops_per_token, training_flops_per_token
    from models.training import OptimizerConfig, initial_state, lm_loss, optimizer_of, train_step

    found: Numbers = {}
    for width in WIDTHS:
        head = min(width, 64)
        config = LMConfig(512, width, layers=2, heads=width // head, head_width=head, mlp_width=4 * width)
        network = DecoderLM(config)
        params: Any = network.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
        optimizer = optimizer_of(OptimizerConfig(), 100)
        step = jax.jit(train_step(lm_loss(network), optimizer))
        targets = np.random.default_rng(0).integers(2, 512, (TRAINED_ROWS, TRAINED_LENGTH), dtype=np.int32)
        state = initial_state(params, optimizer)

        def train(step: Any = step, state: Any = state, targets: Any = targets) -> Any:
            return step(state, {"targets": targets})

        flops = targets.size * training_flops_per_token(config, TRAINED_LENGTH)
        found[f"training_{width}"] = flops / _core_seconds(train)
        prompts, lengths = jnp.ones((DECODED_ROWS, 8), jnp.int32), jnp.full(DECODED_ROWS, 8, jnp.int32)

        def decode(network: Any = network, params: Any = params, prompts: Any = prompts, lengths: Any = lengths) -> Any:
            key = jax.random.key(0)
            drawn = Sampling(temperature=1.0)
            return generate(
                network, params, prompts, lengths, key, new_tokens=DECODED_TOKENS, sampling=drawn, end_id=-1
            )

        flops = DECODED_ROWS * DECODED_TOKENS * forward_flops_per_token(config, DECODED_TOKENS)
        found[f"decoding_{width}"] = flops / _core_seconds(decode)
    return found


def _core_seconds(call: Callable[[], Any]) -> float:
    """Processor seconds of a call whose result is waited for, compiled before."""
    import jax

    jax.block_until_ready(call())
    calls, started = 0, time.process_time()
    while (taken := time.process_time() - started) < LEAST_SECONDS:
        jax.block_until_ready(call())
        calls += 1
    return taken / calls


def measure_corpus() -> Numbers:
    """Writes some of the embedded text as a corpus and encodes it by the job itself, with the codec that ships.

    Returns:
        `beam_jobs.equal_info.job_rates.JobRates.numbers` by byte of text, besides parquet_bytes and
        parquet_core_seconds of writing the corpus.
    """
    from beam_jobs.equal_info.config import JobConfig
    from beam_jobs.equal_info.job import load_codec, plan_of
    from beam_jobs.equal_info.job_rates import PER_JOB
    from beam_jobs.equal_info.sample import sampled
    from beam_jobs.units import ReadConfig
    from workflows.corpus import embedded_documents
    from workflows.parquet_corpus import CorpusWriter

    with tempfile.TemporaryDirectory(prefix="shammie-rates-") as folder:
        documents = embedded_documents()
        size, started = 0, time.process_time()
        with CorpusWriter(folder) as writer:
            for document in documents:
                writer.write("train", document.name, document.text)
                size += len(document.text)
                if size > CORPUS_BYTES:
                    break
        written = time.process_time() - started
        path = join(folder, "train.parquet")
        config = JobConfig(input=(path,), output=join(folder, "out"), read=ReadConfig(unit_bytes=UNIT_BYTES))
        plan = plan_of(config)
        codec, artefact = load_codec(config.codec)
        rates, _ = sampled(config, plan, codec, artefact)
    text = rates.counted["text_bytes"]  # of a byte of the file
    each = rates.numbers()
    for name in each:
        if name not in PER_JOB:
            each[name] /= text
    each["runs"] = 1 / ReadConfig().batch_bytes
    return {**each, "parquet_bytes": plan.size / size, "parquet_core_seconds": written / size}
