"""The report builder: one self-contained HTML page of text, tables and pictures, no network needed to open it."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from workflows.bench.table import cell

_STYLE = """
:root { color-scheme: light dark;
        --ink: #1c2024; --paper: #fbfbf9; --faint: #6b7178; --line: #d9dbdd; --key: #0b6e8f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --paper: #16181b; --faint: #9aa1a8; --line: #363b40; --key: #62c4e4; }
  figure.picture { background: #fbfbf9; border-radius: 6px; }
}
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
       max-width: 62rem; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; } h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; }
p { max-width: 46rem; } p.lead, .note, figcaption { color: var(--faint); } .note, figcaption { font-size: .88rem; }
.numbers { display: flex; flex-wrap: wrap; gap: 1rem 2.4rem; margin: 1.6rem 0; }
.numbers b { display: block; font-size: 1.7rem; font-weight: 650; color: var(--key); }
.numbers span { color: var(--faint); font-size: .88rem; }
.wide { overflow-x: auto; margin: .9rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 550; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
tr.ours td { font-weight: 650; }
figure { margin: 1rem 0; } figure.picture svg { max-width: 100%; height: auto; }
pre, code { font: .86rem/1.5 ui-monospace, monospace; }
pre.command { background: color-mix(in srgb, var(--line) 40%, transparent); padding: .7rem 1rem; overflow-x: auto; }
.text { font: .84rem/1.75 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; color: #1c2024;
        background: #fff; margin: .4rem 0 1.2rem; padding: .7rem; border: 1px solid var(--line); border-radius: 4px; }
.text i.end { color: #9aa1a8; font-style: normal; }
.text span { border-radius: 3px; cursor: default; } .text span:hover { outline: 2px solid #0b6e8f; }
"""


@dataclass
class Page:
    """A page that grows section by section.

    Attributes:
        title: the heading.
        lead: one or two sentences below it.
    """

    title: str
    lead: str
    _parts: list[str] = field(default_factory=list)

    def section(self, heading: str, text: str = "") -> None:
        """Starts a section; the text is plain."""
        self._parts.append(f"<h2>{escape(heading)}</h2>")
        if text:
            self.text(text)

    def text(self, text: str, *, note: bool = False) -> None:
        """Adds a plain paragraph; a note is smaller."""
        self._parts.append(f'<p class="note">{escape(text)}</p>' if note else f"<p>{escape(text)}</p>")

    def numbers(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Adds the page's few great numbers: (number, what it is)."""
        shown = "".join(f"<div><b>{escape(number)}</b><span>{escape(what)}</span></div>" for number, what in pairs)
        self._parts.append(f'<div class="numbers">{shown}</div>')

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, ours: Sequence[bool] = (), caption: str = ""
    ) -> None:
        """Adds a table; rows that are `ours` are bold."""
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        body = ""
        for number, row in enumerate(rows):
            mark = ' class="ours"' if number < len(ours) and ours[number] else ""
            body += f"<tr{mark}>" + "".join(f"<td>{escape(cell(value))}</td>" for value in row) + "</tr>"
        self._parts.append(f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>')
        if caption:
            self.text(caption, note=True)

    def picture(self, figure: Any, caption: str = "") -> None:
        """Adds a matplotlib figure as SVG and closes it."""
        import matplotlib.pyplot as plt

        out = io.StringIO()
        # without a date, and with the salt of new_figure, the same numbers give the same bytes
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
        svg = out.getvalue()
        shown = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f'<figure class="picture">{svg[svg.index("<svg") :]}{shown}</figure>')

    def html(self, html: str) -> None:
        """Adds HTML as it is; escape what comes from data."""
        self._parts.append(html)

    def text_box(self, given: str, added: str) -> None:
        """Adds text as it is, what was added to it marked."""
        self.html(f'<div class="text">{escape(given)}<span style="background:#dcebf2">{escape(added)}</span></div>')

    def command(self, command: str) -> None:
        """Adds a command to copy."""
        self._parts.append(f'<pre class="command">{escape(command)}</pre>')

    def render(self) -> str:
        """The whole page."""
        head = f'<meta charset="utf-8"><title>{escape(self.title)}</title><style>{_STYLE}</style>'
        view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
        top = f'<h1>{escape(self.title)}</h1><p class="lead">{escape(self.lead)}</p>'
        body = "\n".join([top, *self._parts])
        return f'<!doctype html>\n<html lang="en"><head>{head}{view}</head><body>{body}</body></html>\n'


def new_figure(width: float = 9.0, height: float = 3.4) -> tuple[Any, Any]:
    """A matplotlib figure and its axes in the report's look; sizes in inches."""
    import matplotlib

    matplotlib.use("Agg")  # no display is needed or looked for
    import matplotlib.pyplot as plt

    style: Any = plt.rcParams
    style["text.parse_math"] = False  # a name with dollars in it is no formula
    style.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10, "svg.hashsalt": "shammie"})
    figure, axes = plt.subplots(figsize=(width, height))
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return figure, axes


def bars(
    names: Sequence[str],
    values: Sequence[float],
    *,
    label: str,
    ours: Sequence[bool],
    logarithmic: bool = False,
    marks: Mapping[str, float] | None = None,
    marks_label: str = "",
) -> Any:
    """A figure of horizontal bars with their values written at the ends.

    Args:
        names: of the bars, top first.
        values: their lengths.
        label: of the axis, with the unit.
        ours: which bars stand out.
        logarithmic: a logarithmic axis from 1.
        marks: by name, a value to mark on a bar.
        marks_label: what the marks are.
    """
    figure, axes = new_figure(height=0.3 * len(names) + 0.9)
    place = {name: len(names) - number for number, name in enumerate(names)}
    axes.barh(list(place.values()), values, color=["#0b6e8f" if own else "#b9c0c6" for own in ours], log=logarithmic)
    if logarithmic:
        axes.set_xlim(left=1.0)
    axes.set_yticks(list(place.values()), names)
    axes.set_xlabel(label)
    for at, value in zip(place.values(), values, strict=True):
        axes.text(value, at, f" {value:,.2f}" if value < 20 else f" {value:,.0f}", va="center", fontsize=9)
    known = {name: value for name, value in (marks or {}).items() if name in place}
    if known:
        axes.plot(list(known.values()), [place[name] for name in known], "D", color="#d9822b", label=marks_label)
        axes.legend(frameon=False, loc="lower right")
    axes.margins(x=0.12, y=0.02)
    return figure
