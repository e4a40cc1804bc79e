"""The first steps of `equal_info`'s DAGs, which the main job and the paper's table share: corpus, M1, codes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from models.equal_info.m1 import M1Config
from models.lm import LMConfig
from models.lm.flops import forward_flops_per_token, steps_for
from shammie.progress import duration
from workflows import equal_info_steps
from workflows.compare_codes import spec_of
from workflows.corpus import embedded_documents, manifest
from workflows.cost_model import Cost, Rates, declared
from workflows.dag import Source, Step, source_of_files
from workflows.equal_info_methods import vocab_size_of
from workflows.language_models import LMSettings
from workflows.step_costs import corpus_cost, lm_training

# What steps lasted on 2 CPU cores, for the estimates of `shammie plan`.
M1_FLOPS_PER_S = 6e10
COMPILE_S = {"pruned": 30, "words": 30}
LM_FLOPS_PER_S = 5e10
LM_MEASURE_S = 25
# Core seconds, likewise: JAX and a first program; the programs that measure and serve a language model.
M1_START_CORE_S, LM_REST_CORE_S = 5, 24
CORES, COMPILED_MB = 2, 8.0  # of what COMPILE_S was noted on


def corpus_step(documents: str, patterns: Sequence[str]) -> Step:
    """The text by split: the embedded corpus, or files of the user's (`documents` says what one of a text file is)."""
    if not patterns:
        embedded = embedded_documents()
        return Step(
            "corpus",
            lambda running: equal_info_steps.write_embedded(running, embedded),
            inputs={"text": Source("standard_library", manifest(embedded))},
            cost=lambda rates: corpus_cost(rates, sum(len(document.text) for document in embedded)),
        )
    from beam_jobs.units import ReadConfig, find_sources

    found = find_sources(patterns, ReadConfig(documents=documents))
    source = source_of_files("input", [one.path for one in found])
    text_fields = {one.name: one.text_field for one in found if one.text_field}  # no part of the files' content
    return Step(
        "corpus",
        lambda running: equal_info_steps.write_input(running, tuple(patterns)),
        config={"documents": documents, **({"text_fields": text_fields} if text_fields else {})},
        inputs={"text": source},
        cost=lambda rates: corpus_cost(rates, sum(one.size for one in found)),
    )


def text_bytes(corpus: Step, rates: Rates) -> float:
    """About the bytes of a corpus's text, the input taken once: what its step reads."""
    return corpus.cost(replace(rates, scale=1.0)).read_bytes if corpus.cost else 0.0


def m1_step(m1: M1Config, train_mb: float, seed: int, corpus: Step, more: Mapping[str, Any] | None = None) -> Step:
    """M1 trained on so many megabytes; `more` goes into the config of the text (`equal_info_steps.text_array`)."""
    return Step(
        "m1",
        equal_info_steps.train,
        config={"m1": asdict(m1), "train_mb": train_mb, "seed": seed, **(more or {})},
        inputs={"corpus": corpus},
        validate=equal_info_steps.validate_m1,
        lasts=duration(equal_info_steps.training_flops(m1) / M1_FLOPS_PER_S + 5),
        code=("models.equal_info.m1", "models.training", "models.lm"),
        cost=lambda rates: _m1_cost(rates, m1, _read(corpus, rates, train_mb)),
    )


def _read(corpus: Step, rates: Rates, megabytes: float) -> float:
    """The bytes of a sample: no more than there are."""
    return min(megabytes * 1e6, text_bytes(corpus, rates) * rates.scale)


def _m1_cost(rates: Rates, m1: M1Config, read_bytes: float) -> Cost:
    if m1.kind == "recurrent":
        width, blocks = m1.width, 6 * m1.width**2
    else:
        width, blocks = m1.decoder.width, m1.decoder.block_parameters()
    written = 4.0 * (blocks + 2 * 257 * width)  # the parameters, float32
    trained = rates.training(equal_info_steps.training_flops(m1), width)
    return Cost(read_bytes, written) + trained + declared(M1_START_CORE_S)


def codes_step(
    codes: Sequence[str], train_mb: float, corpus: Step, m1: Step, more: Mapping[str, Any] | None = None
) -> Step:
    """Dictionary codes compiled from M1."""
    return Step(
        "codes",
        equal_info_steps.compile_codes,
        config={"codes": list(codes), "train_mb": train_mb, **(more or {})},
        inputs={"corpus": corpus, "m1": m1},
        lasts=duration(seconds := sum(COMPILE_S.get(spec_of(name).scheme, 2) for name in codes)),
        code=("workflows.compare_codes", "models.equal_info"),
        cost=lambda rates: _codes_cost(_read(corpus, rates, train_mb), seconds),
    )


def _codes_cost(read_bytes: float, seconds: float) -> Cost:
    return Cost(read_bytes) + declared(CORES * seconds * read_bytes / 1e6 / COMPILED_MB)


def lm_cost(rates: Rates, lm: LMSettings, model: LMConfig, method: str) -> Cost:
    """A method's language models: each learning rate with the first seed, then the best with the others.

    Measuring is a forward pass over the held-out text, a token a byte at the most, and what its programs take once.
    """
    config = replace(model, vocab_size=vocab_size_of(method))
    tokens = tokens_of_run(lm, config)
    runs = len(lm.learning_rates) + len(lm.seeds) - 1
    trained = lm_training(rates, config, lm.optimizer, tokens=tokens, length=lm.length, runs=runs)
    measured = 1e6 * (lm.validation_mb * lm.curve_points * runs + lm.test_mb * len(lm.seeds))
    held_out = rates.training(measured * forward_flops_per_token(config, lm.context), config.width)
    return trained + held_out + declared(LM_REST_CORE_S)


def tokens_of_run(lm: LMSettings, model: LMConfig) -> int:
    """Tokens that a run trains on."""
    steps = lm.steps or steps_for(model, training_flops=lm.training_flops, batch_size=lm.batch_size, length=lm.length)
    return steps * lm.batch_size * lm.length
