"""Makes a stream's codec of a trained M1 or of text."""

from typing import Any

import numpy as np

from models.equal_info.m1 import M1
from models.equal_info.streams.codec import StreamCodec
from models.equal_info.streams.models import FloatM1, Unigram
from models.equal_info.streams.quantise import fixed_m1
from models.equal_info.streams.spec import StreamSpec


def stream_codec(
    spec: StreamSpec,
    *,
    m1: M1 | None = None,
    text: np.ndarray | None = None,
    floats: bool = False,
    notes: dict[str, Any] | None = None,
) -> StreamCodec:
    """A stream's codec.

    Args:
        spec: which.
        m1: the trained byte model; what windows and "ac" need. A recurrent one becomes whole numbers.
        text: uint8 [bytes], whose byte shares "static_ac" takes.
        floats: keep M1 in floats; the paper's decoder always does.
        notes: what the codec shall say of its making.

    Raises:
        ValueError: what the stream needs is not given.
    """
    if spec.scheme == "gzip":
        return StreamCodec(spec, notes=notes)
    if spec.scheme == "static_ac":
        if text is None:
            raise ValueError("static_ac needs text to count bytes of")
        return StreamCodec(spec, Unigram.of_text(text), notes=notes)
    if m1 is None:
        raise ValueError(f"{spec} needs a trained M1")
    in_floats = floats or m1.config.kind != "recurrent"
    return StreamCodec(spec, FloatM1(m1) if in_floats else fixed_m1(m1), notes=notes)
