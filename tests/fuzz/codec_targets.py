"""Codecs: their artefacts, and codes that nobody encoded."""

import numpy as np
from hypothesis import strategies as st

from models.equal_info.codec import Codec
from models.equal_info.dictionary import dictionary_of_strings
from models.equal_info.load import AnyCodec, codec_of_bytes
from models.equal_info.m1 import M1, M1Config
from models.equal_info.plain import BytesCodec
from models.equal_info.streams.build import stream_codec
from models.equal_info.streams.spec import StreamSpec
from tests.fuzz.loop import Case
from tests.fuzz.shapes import changed_codec, sealed_codec

TEXT = b"the end of the text, and then some: \xff\x00\n" * 3


def small_m1() -> M1:
    """An M1 as it begins."""
    import jax

    from models.equal_info.m1 import RecurrentLM

    network = RecurrentLM(16)
    params = network.init(jax.random.key(0), np.zeros((1, 4), np.int32))["params"]
    return M1(M1Config(width=16), params)


def codecs() -> list[AnyCodec]:
    """One of each kind."""
    strings = sorted({bytes([byte]) for byte in range(256)} | {b"the ", b"and ", b"the en", b"ing"})
    m1, text = small_m1(), np.frombuffer(TEXT, np.uint8)
    specs = [StreamSpec("windows", 8, 16), StreamSpec("ac", 8), StreamSpec("gzip", 8), StreamSpec("static_ac", 16)]
    return [
        Codec(dictionary_of_strings(strings), scheme="pruned"),
        *(stream_codec(spec, m1=m1, text=text) for spec in specs),
        BytesCodec(),
    ]


def use(codec: AnyCodec) -> None:
    """What was accepted must hold: encoding and decoding may refuse, but not harm."""
    codes = codec.encode(TEXT)
    try:
        codec.decode(codes)
    except ValueError:
        assert not codec.lossless, "a code that is its own does not come back"
    codec.decode_prefix(np.arange(64) % codec.vocab_size)


def artefacts() -> list[Case]:
    """Artefacts."""
    return [
        Case(
            "artefact",
            lambda: [codec.to_bytes() for codec in codecs()],
            lambda data: use(codec_of_bytes(data)),
            change=changed_codec,
            seal=sealed_codec,
            batch=50,
        )
    ]


def codes() -> list[Case]:
    """Codes as a model may draw them: any of the vocabulary, and others."""
    known = codecs()

    def parse(data: bytes) -> None:
        codec = known[data[0] % len(known)] if data else known[0]
        wide = np.dtype("<i4" if data[1:2] == b"\1" else "<u2")
        drawn = np.frombuffer(data[2 : max(2, 2 + (len(data) - 2) // wide.itemsize * wide.itemsize)], wide)
        codec.decode_prefix(drawn)
        codec.decode(drawn)

    def seeds() -> list[bytes]:
        every = [codec.encode(TEXT) for codec in known]
        return [bytes([number, 0]) + np.asarray(one, "<u2").tobytes() for number, one in enumerate(every)]

    return [Case("codes", seeds, parse, (ValueError,), strategy=st.binary(max_size=400))]
