"""The gathering of the shipped codec's text, on a small tree."""

import gzip
from pathlib import Path

from workflows.default_text import main, manuals, sources, text_of_html, write_kind


def test_pages_lose_their_tags_and_nothing_else() -> None:
    page = (
        "<html><head><title>no</title></head><body><nav>no</nav><p>One &amp; two</p><pre>a  b</pre><script>no</script>"
    )
    assert text_of_html(page) == "One & two\n\na  b\n"


def test_manuals_are_english_and_told_once(tmp_path: Path) -> None:
    (tmp_path / "en-US").mkdir()
    (tmp_path / "fr").mkdir()
    (tmp_path / "en-US/a.html").write_text("<p>water</p>")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"fire\n"))
    (tmp_path / "c.txt").write_text("fire\n")
    (tmp_path / "fr/a.html").write_text("<p>eau</p>")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert sorted(text for _, text in manuals(tmp_path)) == [b"fire\n", b"water\n"]


def test_sources_leave_out_test_data_and_minified_code(tmp_path: Path) -> None:
    for place in ("a.go", "testdata/b.go", "c.min.go", "d.py"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("x")
    assert [place for place, _ in sources(tmp_path, (".go",))] == ["a.go"]


def test_a_kind_keeps_to_its_cap_and_to_utf8(tmp_path: Path) -> None:
    texts = [
        ("short", b"x" * 10),
        ("binary", b"\xff" * 500),
        ("one", b"a" * 600),
        ("two", b"b" * 600),
        ("six", b"c" * 400),
    ]
    assert write_kind(tmp_path, "kind", iter(texts), 1100 / 1e6) == 1000
    assert sorted(path.read_bytes()[:1] for path in (tmp_path / "kind").iterdir()) == [b"a", b"c"]


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    assert main(["--docs", str(tmp_path), "--out", str(tmp_path)]) == 2
