"""The embedded corpus: capped, free of near-duplicates, split by folder, the same every time."""

from workflows.corpus import (
    CAPPED_FOLDERS,
    SPLITS,
    Document,
    by_split,
    capped,
    embedded_documents,
    manifest,
    split_of,
    without_near_duplicates,
)


def test_the_embedded_corpus_is_real_text_in_every_split() -> None:
    documents = embedded_documents()
    splits = by_split(documents)
    assert list(splits) == list(SPLITS)
    assert sum(map(len, splits.values())) == len(documents)
    sizes = {split: sum(len(document.text) for document in members) for split, members in splits.items()}
    assert sizes["train"] > 5e6
    assert min(sizes.values()) > 2e5
    folders = {split: {document.folder for document in members} for split, members in splits.items()}
    assert not folders["train"] & (folders["validation"] | folders["test"])
    assert not folders["validation"] & folders["test"]
    names = {document.name.split("/")[0] for document in documents}
    assert names == {"lib", "docstrings", "topics"}
    for folder, cap_bytes in CAPPED_FOLDERS.items():
        assert sum(len(document.text) for document in documents if document.folder == folder) <= cap_bytes
    assert manifest(documents) == manifest(embedded_documents())


def test_splits_depend_on_the_folder_alone() -> None:
    assert split_of("asyncio") == split_of("asyncio")
    shares = [split_of(f"folder{number}") for number in range(2000)]
    assert 0.05 < shares.count("test") / 2000 < 0.11
    assert 0.05 < shares.count("validation") / 2000 < 0.11


def test_near_duplicates_go_and_the_first_stays() -> None:
    lines = [f"a telling line number {number}" for number in range(20)]
    first = Document("a", "a", "\n".join(lines).encode())
    nearly = Document("b", "b", "\n".join([*lines[:17], "quite another line of text"]).encode())
    other = Document("c", "c", "\n".join([*lines[:10], *(f"unlike the others {n}" for n in range(10))]).encode())
    short = Document("d", "d", b"x = 1\ny = 2\n")
    assert [document.name for document in without_near_duplicates([first, nearly, other, short])] == ["a", "c", "d"]


def test_caps_drop_whole_documents_of_their_folder_only() -> None:
    many = [Document(f"test/{number}", "test", bytes(300_000)) for number in range(10)]
    other = [Document("os", "os", bytes(3_000_000))]
    kept = list(capped([*many, *other]))
    assert sum(len(document.text) for document in kept if document.folder == "test") == 1_800_000
    assert kept[-1].name == "os"
