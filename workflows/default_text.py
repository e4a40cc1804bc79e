r"""Gathers the text that the shipped codec is trained on: English manuals and code of a Debian 12 machine.

    apt-get download debian-handbook jargon-text git-doc python3.11-doc debian-policy postgresql-doc-15 \
        aptitude-doc-en sqlite3-doc && for p in *.deb; do dpkg -x $p unpacked; done
    python -m workflows.default_text --docs unpacked --out TEXT
    shammie run equal_info --size default --input 'TEXT/*/*.txt'

Besides the unpacked manuals it takes Go's, C's, Node's and Perl's sources where the machine has them, and the training
split of the embedded corpus. Which files go in is decided by hashes of their places, up to a cap per kind.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from shammie.errors import UserError, run_for_people
from shammie.inflate import gunzip
from workflows.corpus import by_split, embedded_documents

LEAST_BYTES, MOST_BYTES = 400, 2_000_000
MANUALS_MB = {
    "debian-handbook": 3,
    "jargon-text": 2,
    "git-doc": 2,
    "python3.11": 4,
    "debian-policy": 1,
    "postgresql-doc-15": 3,
    "aptitude": 1,
    "sqlite3": 2,
}
OTHER_LANGUAGE = re.compile(r"/(de|fr|ja|ru|it|es|pt|pt-BR|zh-\w+|[a-z]{2}-[A-Z]{2})/")
CODE = {
    "go": ("/usr/local/go/src", (".go",), 5),
    "c": ("/usr/include", (".h", ".hpp"), 3),
    "javascript": ("/usr/lib/node_modules", (".js",), 3),
    "perl": ("/usr/share/perl", (".pm",), 1),
}
_BLOCKS = {"p", "div", "br", "li", "h1", "h2", "h3", "h4", "tr", "pre", "dt", "dd", "table", "ul", "ol", "section"}
_SILENT = {"script", "style", "head", "nav"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in _SILENT
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in _SILENT))
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)


def text_of_html(html: str) -> str:
    """The words of a page: no tags, scripts or menus, at most one empty line in a row."""
    reader = _Reader()
    reader.feed(html)
    return re.sub(r"\n\s*\n+", "\n\n", "".join(reader.parts)).strip() + "\n"


def manuals(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The English pages below a folder of unpacked manuals: place and text, pages that begin alike only once."""
    seen: set[str] = set()
    for path in _shuffled(folder):
        place = path.relative_to(folder).as_posix()
        if not re.search(r"\.(html?|txt)(\.gz)?$", place) or "_sources" in place or "genindex" in place:
            continue
        if OTHER_LANGUAGE.search(f"/{place}") and "/en-US/" not in f"/{place}":
            continue
        data = path.read_bytes()
        text = (gunzip(data) if path.suffix == ".gz" else data).decode("utf-8", "ignore")
        text = text_of_html(text) if ".htm" in path.name else text
        if text[:2000] not in seen:
            seen.add(text[:2000])
            yield place, text.encode()


def sources(folder: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """The source files below a folder: place and text."""
    for path in _shuffled(folder):
        place = path.relative_to(folder).as_posix()
        if path.suffix in endings and "testdata/" not in place and ".min." not in place:
            yield place, path.read_bytes()


def _shuffled(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    return sorted(files, key=lambda path: _name(path.relative_to(folder).as_posix()))


def _name(place: str) -> str:
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def write_kind(out: Path, kind: str, texts: Iterator[tuple[str, bytes]], most_mb: float) -> int:
    """Writes texts of one kind as OUT/KIND/HASH.txt up to a cap; returns how many bytes."""
    folder, size = out / kind, 0
    folder.mkdir(parents=True, exist_ok=True)
    for place, text in texts:
        if not LEAST_BYTES <= len(text) <= MOST_BYTES or size + len(text) > most_mb * 1e6:
            continue
        try:
            text.decode()
        except UnicodeDecodeError:
            continue
        (folder / f"{_name(place)}.txt").write_bytes(text)
        size += len(text)
    return size


def main(argv: list[str] | None = None) -> int:
    """Gathers everything and says how much there is of each kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=Path, required=True, help="the folder into which the manuals were unpacked")
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the text")
    args = parser.parse_args(argv)

    def gather() -> None:
        if args.out.exists():
            raise UserError(f"{args.out} is there already", "name a new folder")
        sizes = {}
        for manual, most_mb in MANUALS_MB.items():
            pages = manuals(args.docs / "usr/share/doc" / manual)
            sizes[f"prose-{manual}"] = write_kind(args.out, f"prose-{manual}", pages, most_mb)
        for language, (folder, endings, most_mb) in CODE.items():
            texts = sources(Path(folder), endings)
            sizes[f"code-{language}"] = write_kind(args.out, f"code-{language}", texts, most_mb)
        python = ((document.name, document.text) for document in by_split(embedded_documents())["train"])
        sizes["code-python"] = write_kind(args.out, "code-python", python, 20)
        for kind, size in sizes.items():
            print(f"{kind:24} {size / 1e6:6.2f} MB")

    return run_for_people(gather, program="default_text")


if __name__ == "__main__":
    sys.exit(main())
