"""The embedded corpus: the running Python's standard library, docstrings and help topics.

Real code and prose on every machine, with nothing to download. Text of one folder (a top-level package or module)
is all in one split, so that held-out text is not a sibling of training text.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shammie.errors import UserError

SPLITS = ("train", "validation", "test")
CAPPED_FOLDERS = {"test": 2_000_000, "encodings": 200_000}
NEAR_DUPLICATE_SHARE = 0.8
SHORTEST_LINE = 12
SKIPPED = {"site-packages", "__pycache__", "turtledemo", "topics.py"}


@dataclass(frozen=True)
class Document:
    """A text with its place: folder decides the split, name identifies it."""

    name: str
    folder: str
    text: bytes


def embedded_documents() -> list[Document]:
    """All documents of the corpus, capped and without near-duplicates, in the order of their names.

    Raises:
        UserError: this Python has no sources of its standard library.
    """
    documents = sorted([*_sources(), *_extension_docstrings(), *_topics()], key=lambda document: document.name)
    if len(documents) < 100:
        raise UserError("this Python ships no sources of its standard library", "name your own text with --input")
    return list(without_near_duplicates(capped(documents)))


def split_of(folder: str, held_out_percent: int = 8) -> str:
    """The split of a folder: by hash, so many percent each to validation and test."""
    place = int.from_bytes(hashlib.sha256(folder.encode()).digest()[:8], "big") % 100
    return "test" if place < held_out_percent else "validation" if place < 2 * held_out_percent else "train"


def capped(documents: Iterable[Document]) -> Iterator[Document]:
    """Drops what goes over a folder's cap; which documents stay is decided by a hash of their names."""
    kept: dict[str, set[str]] = {}
    documents = list(documents)
    for folder, cap_bytes in CAPPED_FOLDERS.items():
        names, size = set(), 0
        inside = [document for document in documents if document.folder == folder]
        for document in sorted(inside, key=lambda d: hashlib.sha256(d.name.encode()).digest()):
            if size + len(document.text) <= cap_bytes:
                size += len(document.text)
                names.add(document.name)
        kept[folder] = names
    return (d for d in documents if d.folder not in kept or d.name in kept[d.folder])


def without_near_duplicates(documents: Iterable[Document]) -> Iterator[Document]:
    """Drops a document most of whose telling lines stand in documents before it."""
    seen: set[bytes] = set()
    for document in documents:
        lines = {
            hashlib.blake2b(line, digest_size=8).digest()
            for raw in document.text.splitlines()
            if len(line := raw.strip()) >= SHORTEST_LINE
        }
        if lines and len(lines & seen) >= NEAR_DUPLICATE_SHARE * len(lines):
            continue
        seen |= lines
        yield document


def manifest(documents: Iterable[Document]) -> dict[str, str]:
    """The sha256 of each document, by name: the corpus's identity."""
    return {document.name: hashlib.sha256(document.text).hexdigest() for document in documents}


def by_split(documents: Iterable[Document]) -> dict[str, list[Document]]:
    """Documents by split."""
    out: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        out[split_of(document.folder)].append(document)
    return {split: out[split] for split in SPLITS}


def _sources() -> Iterator[Document]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if SKIPPED & set(parts):
            continue
        try:
            text = path.read_bytes()
            text.decode()
        except (OSError, UnicodeDecodeError):
            continue  # a few test files are broken on purpose
        if text.strip():
            yield Document("lib/" + "/".join(parts), parts[0].removesuffix(".py"), text)


def _extension_docstrings() -> Iterator[Document]:
    """What `help()` knows of modules written in C; Python modules carry their docstrings in their sources."""
    for name in sorted(sys.stdlib_module_names):
        try:
            spec = importlib.util.find_spec(name)
            if spec is None or (spec.origin or "").endswith((".py", ".pyc")) or spec.origin == "frozen":
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some modules only say that they will be gone one day
                module = importlib.import_module(name)
        except Exception:  # some modules refuse to load on some systems
            continue
        texts = [inspect.getdoc(module) or ""]
        for member, value in sorted(vars(module).items()):
            if not member.startswith("_") and callable(value):
                texts.append(f"{member}\n{inspect.getdoc(value) or ''}")
                if inspect.isclass(value):
                    texts += [f"{member}.{m}\n{inspect.getdoc(v) or ''}" for m, v in sorted(vars(value).items())]
        text = "\n\n".join(text for text in texts if "\n" in text).encode("utf-8", "replace")
        if text.strip():
            yield Document(f"docstrings/{name}", name, text)


def _topics() -> Iterator[Document]:
    from pydoc_data import topics

    for name, text in sorted(topics.topics.items()):
        yield Document(f"topics/{name}", f"topics/{name}", text.encode())
