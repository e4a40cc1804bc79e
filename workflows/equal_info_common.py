"""The first steps of `equal_info`'s DAGs, which the main job and the paper's table share: corpus, M1, codes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from models.equal_info.m1 import M1Config
from shammie.progress import duration
from workflows import equal_info_steps
from workflows.compare_codes import spec_of
from workflows.corpus import embedded_documents, manifest
from workflows.dag import Source, Step, source_of_files

# What steps lasted on 2 CPU cores, for the estimates of `shammie plan`.
M1_FLOPS_PER_S = 6e10
COMPILE_S = {"pruned": 30, "words": 30}
LM_FLOPS_PER_S = 5e10
LM_MEASURE_S = 25


def corpus_step(documents: str, patterns: Sequence[str]) -> Step:
    """The text by split: the embedded corpus, or files of the user's (`documents` says what one of a text file is)."""
    if not patterns:
        embedded = embedded_documents()
        return Step(
            "corpus",
            lambda running: equal_info_steps.write_embedded(running, embedded),
            inputs={"text": Source("standard_library", manifest(embedded))},
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
    )


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
    )


def codes_step(
    codes: Sequence[str], train_mb: float, corpus: Step, m1: Step, more: Mapping[str, Any] | None = None
) -> Step:
    """Dictionary codes compiled from M1."""
    return Step(
        "codes",
        equal_info_steps.compile_codes,
        config={"codes": list(codes), "train_mb": train_mb, **(more or {})},
        inputs={"corpus": corpus, "m1": m1},
        lasts=duration(sum(COMPILE_S.get(spec_of(name).scheme, 2) for name in codes)),
        code=("workflows.compare_codes", "models.equal_info"),
    )
