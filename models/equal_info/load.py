"""A codec of either kind from its bytes: a dictionary (`codec`) or a stream (`streams.codec`)."""

from models.equal_info.codec import Codec
from models.equal_info.streams.artefact import MAGIC
from models.equal_info.streams.codec import StreamCodec
from shammie.files import read_bytes

AnyCodec = Codec | StreamCodec


def codec_of_bytes(data: bytes, *, name: str = "codec") -> AnyCodec:
    """The codec of an artefact, by its first bytes.

    Args:
        data: the artefact.
        name: what to call it in errors.

    Raises:
        shammie.errors.UserError: the bytes are no codec, of another version, or damaged.
    """
    kind = StreamCodec if data[: len(MAGIC)] == MAGIC else Codec
    return kind.from_bytes(data, name=name)


def load_codec(path: str) -> AnyCodec:
    """Reads an artefact, local or on any fsspec file system; "default" is the shipped one."""
    return Codec.default() if path == "default" else codec_of_bytes(read_bytes(path), name=str(path))
