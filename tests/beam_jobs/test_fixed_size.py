"""The paper's examples: groups of documents, joined and cut."""

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from beam_jobs.equal_info.encode import FixedSize
from beam_jobs.equal_info.job import run
from beam_jobs.records import documents_of
from models.equal_info.ids import END_OF_DOCUMENT_ID, codes_of_ids


def papers_examples(texts: list[bytes], *, group: int, size: int) -> list[list[bytes | int]]:
    """The paper's cutting, written down naively: each example as pieces of text and 1 for an end."""
    found = []
    for first in range(0, len(texts), group):
        stream = [unit for text in texts[first : first + group] for unit in [*text, None]]
        for at in range(0, len(stream), size):
            pieces, open_piece = [], bytearray()
            for unit in stream[at : at + size]:
                if unit is None:
                    pieces += [bytes(open_piece), END_OF_DOCUMENT_ID]
                    open_piece = bytearray()
                else:
                    open_piece.append(unit)
            found.append([piece for piece in [*pieces, bytes(open_piece)] if piece != b""])
    return found


@pytest.mark.parametrize("unit_bytes", [1 << 20, 1 << 17])  # one unit: of a single batch; of several
@pytest.mark.parametrize(("group", "size"), [(1, 2), (3, 7), (128, 100), (2, 10_000)])
def test_fixed_size_examples_against_a_naive_cut(job, text_file, texts, codec, kit, group, size, unit_bytes):
    result = run(job(text_file, example_bytes=size, group_documents=group, unit_bytes=unit_bytes))
    assert result.counters["units_done"] == 1
    found = []
    for example in kit.read_shards(result):
        pieces, codes = [], []
        for token in [*example["targets"], END_OF_DOCUMENT_ID]:
            if token == END_OF_DOCUMENT_ID:
                pieces += [codec.decode(codes_of_ids(codes)), END_OF_DOCUMENT_ID]
                # each piece is encoded from its own start
                assert codec.encode(pieces[-2]).tolist() == [code - 2 for code in codes]
                codes = []
            else:
                codes.append(token)
        found.append([piece for piece in pieces[:-1] if piece != b""])
    assert sorted(map(repr, found)) == sorted(map(repr, papers_examples(texts, group=group, size=size)))
    assert result.stats["end_ids"] == result.stats["documents"] == len(texts)
    assert result.stats["text_bytes"] == sum(map(len, texts))
    assert result.stats["examples"] == len(found)
    assert "Groups do not cross work units" in (Path(result.output) / "README.md").read_text()


def layouts(batches, **settings):
    """All examples of a unit: pieces, and what decides the place of each."""
    cutter, found = FixedSize(**settings), []
    for batch in [*batches, None]:
        documents, layout = cutter.cut(batch)
        for e in range(len(layout.sources)):
            pieces = []
            for p in range(layout.example_bounds[e], layout.example_bounds[e + 1]):
                pieces.append(documents.text[layout.text_bounds[p] : layout.text_bounds[p + 1]].tobytes())
                pieces += [END_OF_DOCUMENT_ID] if layout.closes[p] else []
            place = int(layout.sources[e]), int(layout.offsets[e]), int(layout.numbers[e])
            found.append((place, [piece for piece in pieces if piece != b""]))
    return found


@hypothesis.given(data=st.data(), group=st.integers(1, 5), size=st.integers(2, 12))
def test_batches_have_no_say_in_fixed_size_examples(data, group, size):
    rows = data.draw(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.booleans()), min_size=1, max_size=12))
    texts, last = [text for text, _ in rows], np.array([last for _, last in rows])
    last[-1] = True

    def batch(start, stop):
        made = documents_of(texts[start:stop], source=3, offsets=list(range(start, stop)))
        return made._replace(last=last[start:stop])

    cuts = sorted(data.draw(st.lists(st.integers(0, len(texts)), max_size=4)))
    parts = [batch(start, stop) for start, stop in zip([0, *cuts], [*cuts, len(texts)], strict=True)]
    assert layouts(parts, group=group, example_bytes=size) == layouts(
        [batch(0, len(texts))], group=group, example_bytes=size
    )


def test_fixed_size_layout_of_an_end_that_does_not_fit():
    cutter = FixedSize(group=2, example_bytes=4)
    _, layout = cutter.cut(documents_of([b"abcd", b"ef"], source=0, offsets=[0, 5]))
    assert layout.text_bounds.tolist() == [0, 4, 4, 6]
    assert layout.closes.tolist() == [False, True, True]
    assert layout.example_bounds.tolist() == [0, 1, 3]
