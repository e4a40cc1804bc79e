"""Pairs as text, as rows and as a SeqIO task hold the same examples; nothing is cut, split or left out in silence."""

import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seqio
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.equal_info.ids import ids_of_codes
from models.equal_info.plain import BytesCodec
from seqio_tasks import pairs
from seqio_tasks.lm import add_examples_task, add_lm_task
from seqio_tasks.pair_rows import packed, rows_of_pairs, write_pairs
from seqio_tasks.rest_em import add_rest_em_task
from seqio_tasks.token_files import open_tokens, write_tokens
from seqio_tasks.vocabularies import CodecVocabulary
from shammie.errors import UserError

BYTES = BytesCodec()
LENGTHS = {"inputs": 24, "targets": 16}
ROW = sum(LENGTHS.values())
Example = tuple[tuple[int, ...], tuple[bool, ...]]


def texts(count: int = 60) -> list[tuple[str, str]]:
    chance = np.random.default_rng(0)
    sums = [(f"{a} + {b} =", f" {a + b}") for a, b in chance.integers(0, 10 ** chance.integers(1, 4, (count, 2)))]
    return [*sums, ("", "é\n"), ("nothing", ""), ('"\u2028\r\n', "x")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    home = tmp_path_factory.mktemp("pairs")
    for split, part in (("train", texts()), ("validation", texts()[:9])):
        pairs.write_pairs_text(str(home), split, part, BYTES)
    return str(home)


def example_of(prompt: str, target: str) -> Example:
    inputs, targets = ids_of_codes(BYTES.encode(prompt.encode())), ids_of_codes(BYTES.encode(target.encode()), end=True)
    return (*inputs.tolist(), *targets.tolist()), (False,) * len(inputs) + (True,) * len(targets)


def examples_of_rows(rows: Any) -> Counter[Example]:
    """The examples in stored rows."""
    found: Counter[Example] = Counter()
    for row in rows:
        ends = np.flatnonzero(row == 1) + 1
        for part in np.split(row, ends)[:-1]:
            found[tuple(np.abs(part).tolist()), tuple((part > 0).tolist())] += 1
        assert not row[ends[-1] :].any()
    return found


# text


def test_pairs_are_written_as_lines(tmp_path: Path) -> None:
    info = pairs.write_pairs_text(str(tmp_path), "train", [("1+1=", "2\n"), ("é", "")], BYTES)
    line = b'{"prompt":"1+1=","target":"2\\n"}\n'
    assert (tmp_path / "train.pairs.jsonl").read_bytes() == line + b'{"prompt":"\\u00e9","target":""}\n'
    assert (info.pairs, info.text_bytes, info.inputs_tokens, info.targets_tokens) == (2, 8, 6, 4)
    assert (info.longest_inputs, info.longest_targets, info.longest, info.vocab_size) == (4, 3, 7, 258)
    assert pairs.about(str(tmp_path), "train") == info
    assert pairs.read_pairs(str(tmp_path), "train") == [("1+1=", "2\n"), ("é", "")]
    (first, target), _ = pairs.read_ids(str(tmp_path), "train")
    assert (first.tolist(), target.tolist()) == ([51, 45, 51, 63], [52, 12])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    pairs.write_pairs_text(str(tmp_path), "train", [("1+1=", "2\n"), ("é", "")], BYTES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_long_pairs_are_left_out_and_counted(tmp_path: Path) -> None:
    given = [("aaaa", "b"), ("aa", "bbb"), ("aaa", "bb"), ("a", "b")]
    info = pairs.write_pairs_text(
        str(tmp_path), "train", given, BYTES, max_inputs=3, max_targets=3, max_tokens=5
    )  # an end beside each target
    assert pairs.read_pairs(str(tmp_path), "train") == [("a", "b")]
    assert info.left_out == {"pair too long": 1, "prompt too long": 1, "target too long": 1}
    assert (info.pairs, info.longest) == (1, 3)


def test_a_folder_is_of_one_codec_and_undamaged(tmp_path: Path, codec) -> None:
    home = str(tmp_path)
    pairs.write_pairs_text(home, "train", [("a", "b")], BYTES)
    with pytest.raises(UserError, match=r"split train of .* is of codec \w{12}, not \w{12}; write both with one codec"):
        pairs.write_pairs_text(home, "validation", [("a", "b")], codec)
    pairs.write_pairs_text(home, "train", [("a", "b")], codec)  # the only split may change its codec
    assert pairs.codec_of(home).fingerprint == codec.fingerprint
    BYTES.save(str(tmp_path / "equal_info.codec"))
    with pytest.raises(UserError, match=r"equal_info.codec has fingerprint .*, but split train was written with"):
        add_rest_em_task(home)
    with (tmp_path / "train.pairs.jsonl").open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(UserError, match=r"train.pairs.jsonl is not the file that train.pairs.json tells of"):
        pairs.read_pairs(home, "train")
    with pytest.raises(UserError, match=r"has no pairs of split 'test' \(there: train\)"):
        pairs.about(home, "test")
    with pytest.raises(UserError, match="holds no pairs"):
        pairs.codec_of(str(tmp_path / "nowhere"))


# rows


def test_prompts_are_stored_negated_and_rows_padded(tmp_path: Path) -> None:
    given = [([5, 6], [7]), ([], [8, 9]), ([2, 3, 4], [])]
    arrays = [(np.array(prompt, np.int32), np.array(target, np.int32)) for prompt, target in given]
    info = write_pairs(str(tmp_path), "train", arrays, length=8, vocab_size=10, made_with="abc", text_bytes=6)
    rows = [[-5, -6, 7, 1, 8, 9, 1, 0], [-2, -3, -4, 1, 0, 0, 0, 0]]
    assert (tmp_path / "train.tokens").read_bytes() == np.array(rows, "<i4").tobytes()
    assert (info.documents, info.row_length, info.padding, info.tokens, info.dtype) == (3, 8, 5, 16, "int32")
    assert info.fill == 11 / 16
    assert open_tokens(str(tmp_path), "train", packed=True).info == info
    with pytest.raises(UserError, match="holds rows of packed prompts and targets, not a stream of tokens"):
        open_tokens(str(tmp_path), "train")


def test_streams_are_described_as_before_there_were_rows(tmp_path: Path) -> None:
    write_tokens(str(tmp_path), "train", [np.array([2, 3])], vocab_size=10, text_bytes=1, made_with="")
    told = json.loads((tmp_path / "train.tokens.json").read_text())
    assert sorted(told) == ["documents", "dtype", "made_with", "sha256", "text_bytes", "tokens", "vocab_size"]


@pytest.mark.parametrize(
    ("prompt", "target", "message"),
    [
        ([5] * 5, [6] * 3, r"pair 1 of split train has 9 tokens with its end, more than a row of 8; give a longer row"),
        ([5, 1], [6], r"token id 1 of pair 1 of split train is not from 2 to 9; give model ids \(codes \+ 2\) without"),
        ([0], [6], r"token id 0 of pair 1"),
        ([5], [10], r"token id 10 of pair 1"),
        ([-5], [6], r"token id -5 of pair 1"),
    ],
)
def test_wrong_pairs_are_named_and_leave_no_split(tmp_path: Path, prompt, target, message) -> None:
    given = [(np.array([2]), np.array([3])), (np.array(prompt), np.array(target))]
    with pytest.raises(UserError, match=message):
        write_pairs(str(tmp_path), "train", given, length=8, vocab_size=10, made_with="", text_bytes=1)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), max_size=40), st.integers(1, 4))
def test_packing_keeps_examples_whole(sizes: list[int], open_rows: int) -> None:
    examples = [np.full(size, number + 1) for number, size in enumerate(sizes)]
    rows = list(packed(examples, 12, open_rows=open_rows))
    runs: list[tuple[int, int]] = []
    for row in rows:
        filled = row[row > 0]
        assert (row[: len(filled)] > 0).all()
        assert len(filled) > 0
        starts = [0, *(np.flatnonzero(np.diff(filled)) + 1), len(filled)]
        runs += [(int(filled[a]), b - a) for a, b in pairwise(starts)]
    assert sorted(runs) == [(number + 1, size) for number, size in enumerate(sizes)]
    firsts = [int(row[0]) for row in rows]
    assert firsts == sorted(firsts)  # in the order in which they were begun


def test_an_example_goes_into_the_first_open_row_that_has_room() -> None:
    examples = [np.full(size, number + 1) for number, size in enumerate([5, 4, 3, 2, 1])]
    assert [row.tolist() for row in packed(examples, 6)] == [
        [1, 1, 1, 1, 1, 5],
        [2, 2, 2, 2, 4, 4],
        [3, 3, 3, 0, 0, 0],
    ]
    assert [row.tolist() for row in packed(examples, 6, open_rows=1)] == [
        [1, 1, 1, 1, 1, 0],
        [2, 2, 2, 2, 0, 0],
        [3, 3, 3, 4, 4, 5],
    ]


def test_rows_hold_each_pair_once_and_are_made_once(folder: str, own_cache: Path) -> None:
    made = rows_of_pairs(folder, "train", ROW)
    assert examples_of_rows(made.ids.reshape(-1, ROW)) == Counter(example_of(*pair) for pair in texts())
    assert made.info.fill > 0.85
    assert (made.info.made_with, made.info.vocab_size, made.info.documents) == (BYTES.fingerprint, 258, len(texts()))
    stamp = Path(made.path).stat().st_mtime_ns
    assert Path(rows_of_pairs(folder, "train", ROW).path).stat().st_mtime_ns == stamp
    assert rows_of_pairs(folder, "train", ROW + 1).path != made.path
    first = [example[0] for example in examples_of_rows(made.ids.reshape(-1, ROW)[:1])]
    assert first != [example_of(*pair)[0] for pair in texts()[: len(first)]]  # mixed
    with pytest.raises(UserError, match=r"has a pair of 17 tokens, more than a row of length=16; .*max_tokens=16"):
        rows_of_pairs(folder, "train", 16)
    pairs.write_pairs_text(str(own_cache / "none"), "train", [], BYTES)
    with pytest.raises(UserError, match=r"split train of .* holds no pairs; select some"):
        rows_of_pairs(str(own_cache / "none"), "train", ROW)


# SeqIO


def test_the_task_gives_ids_and_text(folder: str) -> None:
    task = add_examples_task(folder)
    assert task.name == "rest_em_bytes_256_v001"
    found = list(task.get_dataset(LENGTHS, "train", shuffle=False).as_numpy_iterator())
    assert len(found) == len(texts()) == task.num_input_examples("train")
    vocabulary = CodecVocabulary(BYTES)
    for row, (prompt, target) in zip(found, texts(), strict=True):
        assert (row["inputs_pretokenized"].decode(), row["targets_pretokenized"].decode()) == (prompt, target)
        assert [*row["inputs"], *row["targets"]] == list(example_of(prompt, target)[0])
        assert task.postprocess_fn(vocabulary.decode(row["targets"].tolist()), example=row) == target
        assert task.postprocess_fn("", example=row, is_target=True) == target
    assert task.output_features["inputs"].vocabulary == vocabulary


@pytest.mark.parametrize("pack", [True, False])
def test_t5xs_converter_gives_the_examples_of_the_rows(folder: str, own_cache: Path, pack: bool) -> None:
    dataset = add_rest_em_task(folder).get_dataset(LENGTHS, "train", shuffle=True, seed=3)
    converted = list(seqio.PrefixLMFeatureConverter(pack=pack)(dataset, LENGTHS).as_numpy_iterator())
    found: Counter[Example] = Counter()
    for row in converted:
        targets, weights = row["decoder_target_tokens"], row["decoder_loss_weights"]
        segments = row["decoder_segment_ids"] if pack else (targets > 0).astype(int)
        for segment in range(1, segments.max() + 1):
            mine = segments == segment
            ids = targets[mine].tolist()
            assert row["decoder_input_tokens"][mine].tolist() == [0, *ids[:-1]]
            found[tuple(ids), tuple(weights[mine].astype(bool).tolist())] += 1
        assert not weights[segments == 0].any()
    made = rows_of_pairs(folder, "train", ROW)
    assert found == examples_of_rows(made.ids.reshape(-1, ROW))
    assert (len(converted) < len(texts()) / 2) == pack


def test_windows_of_pairs_are_the_rows(folder: str, own_cache: Path) -> None:
    task = add_lm_task(folder, length=ROW)
    assert task.name == f"rest_em_bytes_256_rows_{ROW}_v001"
    found = [row["targets"] for row in task.get_dataset({"targets": ROW}, "train", shuffle=False).as_numpy_iterator()]
    np.testing.assert_array_equal(np.stack(found), rows_of_pairs(folder, "train", ROW).ids.reshape(-1, ROW))
    (score,) = task.score_metric_fns
    target_bytes = sum(len(target.encode()) for _, target in texts())
    # two nats a row: only the bytes of targets count
    told = score(targets=found, scores=[-2.0] * len(found))["bits_per_byte"]
    assert told == pytest.approx(2 * len(found) / np.log(2) / target_bytes)


@pytest.mark.parametrize(("feature", "longest"), [("inputs", 11), ("targets", 6)])
def test_seqio_may_not_cut(folder: str, feature: str, longest: int) -> None:
    task = add_rest_em_task(folder)
    task.get_dataset({**LENGTHS, feature: longest}, "train")
    message = rf"has {feature} of {longest} tokens, more than the {longest - 1} .*; .* max_{feature}={longest - 1}"
    with pytest.raises(UserError, match=message):
        task.get_dataset({**LENGTHS, feature: longest - 1}, "train")


def test_an_iterator_can_be_saved(folder: str, tmp_path: Path) -> None:
    task = add_rest_em_task(folder)
    make = lambda: iter(task.get_dataset(LENGTHS, "train", shuffle=True, seed=1))  # noqa: E731
    whole = [bytes(row["inputs_pretokenized"].numpy()) for row in make()]
    iterator = make()
    begun = [bytes(next(iterator)["inputs_pretokenized"].numpy()) for _ in range(2)]
    path = tf.train.Checkpoint(rows=iterator).write(str(tmp_path / "rows"))
    iterator = make()
    tf.train.Checkpoint(rows=iterator).read(path)
    assert begun + [bytes(row["inputs_pretokenized"].numpy()) for row in iterator] == whole
    assert whole != sorted(whole)


def test_writing_pairs_and_rows_loads_no_tensorflow() -> None:
    code = "import sys, seqio_tasks.pairs, seqio_tasks.pair_rows; print({'tensorflow', 'seqio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
