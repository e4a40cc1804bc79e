"""The order of training is a pure function, and an epoch holds every window once."""

import subprocess
import sys

import numpy as np
import pytest

from seqio_tasks import token_files
from seqio_tasks.token_files import open_tokens, write_tokens
from seqio_tasks.windows import Windows, epoch_order
from shammie.errors import UserError


def test_documents_become_one_stream_of_ended_ids(tmp_path) -> None:
    rows = [np.array([5, 6, 7]), np.array([], np.int64), np.array([9])]
    info = write_tokens(str(tmp_path), "train", rows, vocab_size=10, text_bytes=44, made_with="abc")
    found = open_tokens(str(tmp_path), "train")
    assert found.info == info
    assert found.ids.tolist() == [5, 6, 7, 1, 1, 9, 1]
    assert found.ids.dtype == np.uint16
    assert (info.tokens, info.documents, info.text_bytes, info.vocab_size, info.made_with) == (7, 3, 44, 10, "abc")
    assert (tmp_path / "train.tokens").read_bytes() == np.array([5, 6, 7, 1, 1, 9, 1], "<u2").tobytes()
    assert {path.name for path in tmp_path.iterdir()} == {"train.tokens", "train.tokens.json"}


@pytest.mark.parametrize(("vocab_size", "dtype"), [(1 << 16, "uint16"), ((1 << 16) + 1, "int32")])
def test_the_largest_id_fits(tmp_path, vocab_size: int, dtype: str) -> None:
    rows = [np.array([2, vocab_size - 1])]
    info = write_tokens(str(tmp_path), "train", rows, vocab_size=vocab_size, text_bytes=1, made_with="")
    assert info.dtype == dtype
    assert open_tokens(str(tmp_path), "train").ids.tolist() == [2, vocab_size - 1, 1]


def test_a_failed_writer_leaves_no_split(tmp_path) -> None:
    def rows():
        yield np.array([2, 3])
        raise RuntimeError("cut")

    write_tokens(str(tmp_path), "train", [np.array([2])], vocab_size=10, text_bytes=1, made_with="")
    with pytest.raises(RuntimeError):
        write_tokens(str(tmp_path), "train", rows(), vocab_size=10, text_bytes=1, made_with="")
    assert not token_files.has_tokens(str(tmp_path), "train")


def test_remote_files_are_copied_once(own_cache) -> None:
    folder = "memory://tokens-test"
    write_tokens(folder, "train", [np.array([2, 3])], vocab_size=10, text_bytes=1, made_with="")
    found = open_tokens(folder, "train")
    assert found.ids.tolist() == [2, 3, 1]
    assert found.path.startswith(str(own_cache))


def windows(count: int = 10, length: int = 3) -> Windows:
    return Windows(np.arange(count * length + 1, dtype=np.uint16), length)


def test_every_window_comes_once_an_epoch_and_epochs_differ() -> None:
    stream = windows()
    assert stream.count == 10
    epochs = [stream.order(4, epoch * 10, epoch * 10 + 10) for epoch in range(5)]
    assert all(sorted(order) == list(range(10)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 5
    assert tuple(stream.order(5, 0, 10)) not in {tuple(order) for order in epochs}


def test_batches_cut_the_endless_sequence(monkeypatch) -> None:
    stream = windows()
    sequence = np.concatenate([stream.order(1, n, n + 1) for n in range(28)])
    for step in (6, 0, 3):  # any order of asking
        rows = stream.batch(1, step, 4)
        assert rows.dtype == np.int32
        np.testing.assert_array_equal(rows[:, 0] // 3, sequence[step * 4 : step * 4 + 4])
        np.testing.assert_array_equal(rows, rows[:, :1] + np.arange(3))
        for hosts in (1, 2, 4):
            for host in range(hosts):
                np.testing.assert_array_equal(stream.batch(1, step, 4, host=host, hosts=hosts), rows[host::hosts])


def test_the_order_is_the_same_in_another_process_and_forever() -> None:
    code = "from seqio_tasks.windows import epoch_order; print(epoch_order(3, 2, 8).tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # a change here would give every resumed run another order
    assert done.stdout.strip() == str(epoch_order(3, 2, 8).tolist()) == PINNED


PINNED = "[1, 7, 4, 0, 2, 6, 3, 5]"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: windows().batch(0, 0, 11), "has 10 windows of 3 tokens, fewer than batch_size=11; give more text"),
        (lambda: Windows(np.arange(2), 3), "has 2 tokens, fewer than one window of length=3; give more text"),
        (lambda: Windows(np.arange(2), 0), "length=0 is below 1; give the tokens"),
    ],
)
def test_too_little_text(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_reading_tokens_loads_no_tensorflow() -> None:
    code = "import sys, seqio_tasks.token_files, seqio_tasks.windows; print({'tensorflow', 'jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
