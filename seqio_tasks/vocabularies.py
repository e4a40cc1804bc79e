"""A SeqIO vocabulary over an Equal-Info codec: ids are codes + 2, 0 pads, 1 ends a document."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from models.equal_info.ids import END_OF_DOCUMENT_ID, SPECIAL_IDS, codes_of_ids, ids_of_codes
from models.equal_info.load import AnyCodec
from models.equal_info.streams.codec import StreamCodec


class CodecVocabulary(seqio.Vocabulary):
    """Text (str or bytes) to model ids and back. Two are equal if their codecs code text alike.

    Args:
        codec: the codec.
        extra_ids: ids above the codec's that a model may use for itself.
    """

    def __init__(self, codec: AnyCodec, extra_ids: int = 0) -> None:
        super().__init__(extra_ids)
        self.codec = codec

    @property
    def bos_id(self) -> int | None:
        """None: models start from the pad id, as T5X's do."""
        return None

    @property
    def eos_id(self) -> int:
        """The id that ends a document."""
        return END_OF_DOCUMENT_ID

    @property
    def unk_id(self) -> int | None:
        """None: every byte has a code."""
        return None

    @property
    def _base_vocab_size(self) -> int:
        return self.codec.vocab_size + SPECIAL_IDS

    def _encode(self, s: str | bytes) -> Sequence[int]:
        return ids_of_codes(self.codec.encode(s.encode() if isinstance(s, str) else s)).tolist()

    def _decode(self, ids: Iterable[int]) -> str:
        """Readable text of ids that a model may have drawn: what stands for nothing is left out."""
        drawn = codes_of_ids(ids if isinstance(ids, np.ndarray) else list(ids))
        return self.codec.decode_prefix(drawn).decode(errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The exact text of ids up to the first end of document; padding is left out.

        Of a stream that was cut, or drawn by a model, it is the text that its bits decide.

        Raises:
            ValueError: an id stands for no text (never of a stream).
        """
        codes = codes_of_ids(ids if isinstance(ids, np.ndarray) else list(ids))
        codec = self.codec
        return codec.decode_prefix(codes) if isinstance(codec, StreamCodec) else codec.decode(codes)

    def _encode_tf(self, s: Any) -> Any:
        def encode(text: Any) -> np.ndarray:
            # TensorFlow hands a scalar string over as bytes or as an array of one object
            return ids_of_codes(self.codec.encode(text.item() if isinstance(text, np.ndarray) else text))

        ids = tf.numpy_function(encode, [s], tf.int32)
        ids.set_shape([None])
        return ids

    def _decode_tf(self, ids: Any) -> Any:
        def decode(row: np.ndarray) -> Any:  # T5X's infer reads UTF-8
            if row.ndim == 1:
                return self._decode(row).encode()
            flat = [self._decode(one).encode() for one in row.reshape(-1, row.shape[-1])]
            return np.array(flat, object).reshape(row.shape[:-1])

        text = tf.numpy_function(decode, [ids], tf.string)
        text.set_shape(ids.shape[:-1])
        return text

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CodecVocabulary)
            and self.codec.fingerprint == other.codec.fingerprint
            and self.extra_ids == other.extra_ids
        )

    def __hash__(self) -> int:
        return hash((self.codec.fingerprint, self.extra_ids))

    def __repr__(self) -> str:
        return f"CodecVocabulary({self.codec!r}, extra_ids={self.extra_ids})"
