import math

import numpy as np
import pytest
import tensorflow as tf

from models.equal_info.codec import Codec
from models.equal_info.ids import codes_of_ids, ids_of_codes
from seqio_tasks.metrics import bits_per_byte, byte_accuracy, exact_match
from seqio_tasks.vocabularies import CodecVocabulary


def test_ids_are_codes_plus_two(codec):
    vocabulary = CodecVocabulary(codec)
    assert vocabulary.encode("the end") == (codec.encode(b"the end").astype(int) + 2).tolist()
    assert vocabulary.vocab_size == codec.vocab_size + 2
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, None)
    assert CodecVocabulary(codec, extra_ids=5).vocab_size == codec.vocab_size + 7


def test_ids_survive_the_largest_code():
    assert ids_of_codes(np.array([0, 65535], np.uint16), end=True).tolist() == [2, 65537, 1]
    assert codes_of_ids([2, 65537, 0, 1, 9]).tolist() == [0, 65535]


@pytest.mark.parametrize("text", ["", "the end", "déjà vu", "a\n\tb\0"])
def test_round_trip(codec, text):
    vocabulary = CodecVocabulary(codec)
    assert vocabulary.decode(vocabulary.encode(text)) == text
    ids = vocabulary.encode_tf(tf.constant(text))
    assert ids.dtype == tf.int32
    assert ids.numpy().tolist() == list(vocabulary.encode(text))
    assert vocabulary.decode(ids) == text
    if text:
        assert vocabulary.decode_tf(ids).numpy().decode() == text


def test_decoding_stops_at_the_end_and_a_batch_decodes_in_tensorflow(codec):
    vocabulary = CodecVocabulary(codec)
    rows = [[*vocabulary.encode(b"one"), 1, *vocabulary.encode(b"x")], [*vocabulary.encode(b"three"), 0, 0]]
    width = max(map(len, rows))
    batch = np.array([row + [0] * (width - len(row)) for row in rows], np.int32)
    assert [vocabulary.decode(row) for row in batch.tolist()] == ["one", "three"]
    assert vocabulary.decode_tf(tf.constant(batch)).numpy().tolist() == [b"one", b"three"]
    assert vocabulary.decode_bytes([*vocabulary.encode(b"\xff\xfe")]) == b"\xff\xfe"
    with pytest.raises(ValueError, match="position 0"):
        vocabulary.decode_bytes([codec.vocab_size + 2])


def test_what_a_model_draws_becomes_readable_text(codec):
    """T5X's infer writes UTF-8, and a vocabulary that was rounded up has ids that stand for nothing."""
    vocabulary = CodecVocabulary(codec)
    drawn = [*vocabulary.encode(b"one"), codec.vocab_size + 2, *vocabulary.encode(b"\xff two"), 1, 5]
    assert vocabulary.decode(drawn) == "one\ufffd two"
    assert vocabulary.decode_tf(tf.constant([drawn])).numpy().tolist() == ["one\ufffd two".encode()]


def test_equality_is_by_fingerprint(codec):
    vocabulary = CodecVocabulary(codec)
    same = CodecVocabulary(Codec.from_bytes(codec.to_bytes()))
    other = CodecVocabulary(Codec(codec.dictionary, scheme="full"))
    assert vocabulary == same
    assert hash(vocabulary) == hash(same)
    assert vocabulary != other
    assert vocabulary != CodecVocabulary(codec, extra_ids=1)


def test_metrics():
    assert exact_match(["a", b"b"], [b"a", "c"]) == {"exact_match": 0.5}
    assert byte_accuracy(["abcd", "xy"], ["abzd", "xyz"]) == {"byte_accuracy": 5 / 6, "common_prefix_bytes": 2.0}
    assert byte_accuracy(["abcd"], [""]) == {"byte_accuracy": 0.0, "common_prefix_bytes": 0.0}
    assert bits_per_byte(math.log(2) * 24, 12) == pytest.approx(2)
    with pytest.raises(ValueError, match="give the bytes of the text"):
        bits_per_byte(1.0, 0)
    with pytest.raises(ValueError, match="2 targets but 1 predictions"):
        exact_match(["a", "b"], ["a"])
