"""The language model steps of `equal_info`: tokens of each method, and models at equal training FLOPs."""

from typing import Any

import numpy as np

from models.lm.artefact import TrainedLM
from models.lm.decoding import Sampling
from seqio_tasks.token_files import write_tokens
from shammie.errors import UserError
from shammie.files import read_bytes, write_json
from workflows.dag import Running
from workflows.equal_info_held_out import Documents, Texts
from workflows.equal_info_methods import loaded, made
from workflows.equal_info_steps import is_utf8
from workflows.language_models import Method, settings_of, train_method
from workflows.parquet_corpus import read_documents, sample_documents
from workflows.serving import continued, serving_speed, text_of

ENCODED_AT_ONCE = 256
SERVED_ROWS = 8
SERVED_TOKENS = 192
SAMPLES = 3
SAMPLE_TOKENS = 120
PROMPT_BYTES = 160


def write_method_tokens(running: Running) -> dict[str, Any]:
    """Writes a method's training tokens; SentencePiece and streams are made first, from the text that pruning saw."""
    method, corpus = running.config["method"], running.input("corpus")
    sample = sample_documents(corpus, "train", running.config["train_mb"])
    given = {name: running.input(name) for name in ("codes", "m1") if name in running.step.inputs}
    tokenizer = made(method, running.path(), sample, **given)
    texts = [text for text in read_documents(corpus, "train") if text and is_utf8(text)]
    size = sum(map(len, texts))
    with running.progress(f"tokens of {method}", size, "B") as progress:

        def encode(part: list[bytes]) -> list[np.ndarray]:
            progress.advance(sum(map(len, part)))
            return tokenizer.encode(part)

        info = write_tokens(
            running.path(),
            "train",
            (row for start in range(0, len(texts), ENCODED_AT_ONCE) for row in encode(texts[start:][:ENCODED_AT_ONCE])),
            vocab_size=tokenizer.vocab_size,
            text_bytes=size,
            made_with=tokenizer.made_with,
        )
    return {"tokens": info.tokens, "text_bytes": size}


def train_lm(running: Running) -> dict[str, Any]:
    """Trains a method's models at the common FLOPs and measures them: code lengths, speed of serving, samples.

    Raises:
        UserError: there is no text to measure on.
    """
    settings = settings_of(running.config["lm"])
    codes = running.input("codes") if "codes" in running.step.inputs else ""
    tokenizer = loaded(running.config["method"], running.input("tokens"), codes=codes)
    corpus = running.input("corpus")
    texts = Texts(
        validation=_readable(sample_documents(corpus, "validation", settings.validation_mb)),
        test=_readable(sample_documents(corpus, "test", settings.test_mb)),
    )
    if not texts.validation or not texts.test:
        raise UserError("no held-out document is UTF-8 text", "give more text, or raise LM_TEST_MB")
    method = Method(
        settings,
        tokenizer.name,
        tokenizer.vocab_size,
        tokenizer.made_with,
        running.input("tokens"),
        Documents(tokenizer, texts, settings.context),
        running.path(),
    )
    measured = train_method(method)
    model = TrainedLM.from_bytes(read_bytes(running.path("lm.bin")))
    prompts = [text[:PROMPT_BYTES] for text in texts.test[:SERVED_ROWS]]
    prompts = [prompt[: prompt.rfind(b"\n") + 1] or prompt for prompt in prompts]
    measured["served_rows"] = len(prompts)
    measured |= serving_speed(model, tokenizer, prompts, SERVED_TOKENS)
    sampling = Sampling(temperature=0.7, top_p=0.95)
    samples = continued(model, tokenizer, prompts[:SAMPLES], new_tokens=SAMPLE_TOKENS, sampling=sampling)
    measured["samples"] = [
        {"prompt": prompt.decode("utf-8", "replace"), "text": text_of(tokenizer, ids).decode("utf-8", "replace")}
        for prompt, ids in zip(prompts, samples, strict=False)
    ]
    write_json(running.path("lm.json"), measured, sort_keys=False)
    return {"steps": method.steps, "runs": len(measured["tried"]) + len(settings.seeds) - 1}


def _readable(texts: list[bytes]) -> list[bytes]:
    return [text for text in texts if text and is_utf8(text)]
