"""A codec of any kind from its bytes: a dictionary, a stream, bytes as they are, or SentencePiece."""

from importlib import resources

from models.equal_info.codec import Codec
from models.equal_info.plain import BYTES, BytesCodec
from models.equal_info.sentencepieces import SentencePieceCodec
from models.equal_info.streams.artefact import MAGIC
from models.equal_info.streams.codec import StreamCodec
from shammie.files import read_bytes

AnyCodec = Codec | StreamCodec | BytesCodec | SentencePieceCodec
DEFAULT = "default"
_KINDS = {
    MAGIC: StreamCodec,
    BytesCodec.MAGIC: BytesCodec,
    SentencePieceCodec.MAGIC: SentencePieceCodec,
}


def codec_of_bytes(data: bytes, *, name: str = "codec") -> AnyCodec:
    """The codec of an artefact, by its first bytes.

    Args:
        data: the artefact.
        name: what to call it in errors.

    Raises:
        shammie.errors.UserError: the bytes are no codec, of another version, or damaged; or SentencePiece, which it
            needs, is not installed.
    """
    kind: type[AnyCodec] = _KINDS.get(data[: len(MAGIC)], Codec)
    return kind.from_bytes(data, name=name)


def artefact_of_word(word: str) -> bytes | None:
    """The artefact of a reserved word, "default" (the codec that ships) or "bytes"; None for any other."""
    if word == DEFAULT:
        return resources.files("models.equal_info").joinpath("default.codec").read_bytes()
    return BytesCodec().to_bytes() if word == BYTES else None


def load_codec(path: str) -> AnyCodec:
    """Reads an artefact, local or on any fsspec file system.

    Two words are no paths: "default" is the codec that ships with the package, "bytes" reads bytes as they are.
    """
    if path == DEFAULT:
        return Codec.default()
    return BytesCodec() if path == BYTES else codec_of_bytes(read_bytes(path), name=str(path))
