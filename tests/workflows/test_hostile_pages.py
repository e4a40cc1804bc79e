"""Samples, names and settings that are HTML: every page has the same elements as with plain words in their place."""

import ast
import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.equal_info.codec import Codec
from models.equal_info.dictionary import dictionary_of_strings
from models.rest_em.records import Graded, Problem
from models.trainability.planes import Plane
from models.trainability.zoom import Zoom
from workflows import equal_info_report, rest_em_browser, trainability_page
from workflows.cli import main
from workflows.report import Page, bars, new_figure

ROOT = Path(__file__).parents[2]
PLAIN = "some plain words"
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre></details></div><iframe src=//x></iframe>",
    "<!-- ",
    "-->]]><svg onload=alert(1)>",
    "&lt;b&gt; &#60;i&#62; <b",
    "$\\frac{$ _^",
    "\x00\x1b\u202e<s>\ud800".encode("utf-8", "replace").decode(),
)
NUMBERS = [str(number) for number in range(len(HOSTILE))]
# who adds HTML as it is: each is met below
OWN_HTML = {"rest_em_browser.py", "equal_info_report.py", "trainability_report.py", "report.py"}


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, ...]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *sorted(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.found.append((f"/{tag}",))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment",))


def elements(html: str) -> list[tuple[str, ...]]:
    reader = _Elements()
    reader.feed(html)
    reader.close()
    return reader.found


def words(html: str) -> str:
    reader = _Elements()
    reader.feed(html)
    reader.close()
    return "".join(reader.text)


def whole_page(text: str) -> str:
    page = Page(text, text)
    page.section(text, text)
    page.text(text)
    page.text(text, note=True)
    page.numbers([(text, text)])
    page.table([text, "b"], [[text, 1.5], [text, text]], ours=[True], caption=text)
    page.text_box(text, text)
    page.command(text)
    page.picture(new_figure(2, 1)[0], text)
    return page.render()


def browser(text: str) -> str:
    problem = Problem(id=text, prompt=text, verifier="number")
    one = Graded(text, 0, text, 1, True, False, text, text, text)
    box = rest_em_browser._box([problem], [one, replace(one, sample=1, passed=True, text=f"{text}!")], {(text, 1)})
    return box + rest_em_browser._before_and_after([problem], [one], [replace(one, passed=True)])


def windows(text: str) -> str:
    """Each byte is a token, so that both texts must be as long."""
    strings = sorted({bytes([byte]) for byte in range(256)})
    codec = Codec(dictionary_of_strings(strings), scheme="pruned")
    data = text.encode()[:20].ljust(20, b".")
    return equal_info_report._spans(codec, data, codec.encode(data))


def viewer(text: str) -> str:
    levels: Any = [{"level": text}]
    return trainability_page.page(Plane("tanh"), Zoom(frames=1, frame_pixels=512, tile_pixels=8), levels)


@pytest.mark.parametrize("text", HOSTILE, ids=NUMBERS)
@pytest.mark.parametrize("build", [whole_page, browser, windows, viewer])
def test_no_element_comes_of_what_a_sample_says(build: Callable[[str], str], text: str) -> None:
    assert elements(build(text)) == elements(build(PLAIN))


@pytest.mark.parametrize("text", HOSTILE[:6], ids=NUMBERS[:6])
def test_readers_see_it_as_it_is(text: str) -> None:
    assert words(whole_page(text)).count(text) >= 12
    assert words(browser(text)).count(text) >= 8


def test_data_in_a_script_cannot_end_it() -> None:
    page = viewer("</script><script>alert(1)//<!--")
    data = page.split('id="data">')[1].split("</script>")[0]
    assert "<" not in data
    assert json.loads(data)["levels"] == [{"level": "</script><script>alert(1)//<!--"}]


@pytest.mark.parametrize("text", HOSTILE, ids=NUMBERS)
def test_names_in_pictures(text: str) -> None:
    """What is drawn is glyphs and comments; a name with dollars in it is no formula, and no error."""
    figures = [bars([name, "b"], [1.0, 2.0], label=name, ours=[True, False]) for name in (text, PLAIN)]
    found = []
    for figure, name in zip(figures, (text, PLAIN), strict=True):
        figure.axes[0].set_title(name)
        page = Page("a", "b")
        page.picture(figure)
        found.append({one for one in elements(page.render()) if one[0] not in ("path", "use", "/path", "/use")})
    assert found[0] <= found[1] | {("g", "id"), ("/g",), ("g", "transform")}
    assert not {one for one in found[0] if one[0] in ("script", "img", "iframe", "s", "b")}


def test_who_adds_html_as_it_is() -> None:
    callers = set()
    for path in (ROOT / "workflows").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "html"
            written = isinstance(node, ast.Constant) and isinstance(node.value, str) and "<script" in node.value
            if called or (written and path.name != "trainability_viewer.py"):
                callers.add(path.name)
    assert callers == OWN_HTML, "escape what comes from data, and add a test here"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Any:
    local = SimpleNamespace(**runpy.run_path(str(ROOT / "tests" / "beam_jobs" / "inference" / "server.py")))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with local.LocalServer() as server:
        yield server


def test_the_report_of_a_server_that_writes_html(server: Any, tmp_path: Path) -> None:
    """A model that is fooled by HTML alone, and a writer whose texts are HTML."""

    def model(prompt: str, seed: int) -> str:
        if prompt.endswith("TEXT:"):
            return f"TEXT: It is {HOSTILE[0]} {HOSTILE[3]} {seed % 97}."
        return "7777" if HOSTILE[0] in prompt else "no"

    server.model = model
    small = ["QUESTIONS=3", "ROUNDS=1", "CANDIDATES=4", "SAMPLES=2", "WRITERS=('instructed',)"]
    where = ["--endpoint", server.url, "--model", "<b>m$", "--out", str(tmp_path / "out")]
    assert main(["run", "adversarial_arithmetic", *where, *(f"--gin.{one}" for one in small)]) == 0
    report = (tmp_path / "out" / "report.html").read_text()
    found = elements(report)
    assert not {one for one in found if one[0] in ("script", "img", "iframe", "b")} - {("b",)}
    assert not [one for one in found if any(name.startswith("on") for name in one[1:])]
    assert HOSTILE[0] in words(report)
    assert "onerror=alert" in words(report)
