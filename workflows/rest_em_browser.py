"""The report's browser: problems with their samples and verdicts, to be opened and filtered without a network."""

from collections import defaultdict
from collections.abc import Sequence
from html import escape

from beam_jobs.sharded import read_all
from models.rest_em.records import Graded, Problem, read_records
from shammie.files import exists, join
from workflows.report import Page
from workflows.rest_em_data import problems_in
from workflows.rest_em_measures import Found, Place

PROBLEMS, SAMPLES = 40, 8  # shown
_STYLE = """<style>
.browser details { border-bottom: 1px solid var(--line); padding: .3rem 0; } .browser summary { cursor: pointer; }
.browser pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .25rem 0; padding: .4rem .7rem;
               border-left: 3px solid var(--line); }
.browser pre.passed { border-color: #5b8c3a; } .browser pre.failed { border-color: #b33a3a; }
.browser small { color: var(--faint); }
.browser label { margin-right: 1.2rem; font-size: .88rem; }
.browser:has(#hide-passed:checked) .sample.passed, .browser:has(#hide-failed:checked) .sample.failed { display: none; }
</style>"""


def add(page: Page, problems: str, found: Found, size: str, variant: str) -> None:
    """Adds the samples of a variant's last iteration, and what became of test problems.

    Args:
        page: the report.
        problems: folder of the problems step.
        found: all that the run found.
        size: whose samples.
        variant: of which loop.
    """
    seed = min(one.seed for one in found.places)
    last = found.place(size, seed, variant, found.iterations(size, variant))
    if last is None:
        return
    if "grade" in last.folders:
        graded = read_all(join(last.folders["grade"], "graded"), Graded)
        page.section(
            "Samples and verdicts",
            f"{size}, {variant}, its last iteration, the first seed: {PROBLEMS} of the sampled problems with up to"
            f" {SAMPLES} distinct samples each. Those that are trained on are marked as kept.",
        )
        kept = _kept(last)
        page.html(_STYLE + _box(problems_in(problems, "train"), graded, kept))
    base = found.place(size, seed, "", 0)
    if base is None or "evaluate" not in base.folders or "evaluate" not in last.folders:
        return
    before, after = (read_records(join(one.folders["evaluate"], "test.jsonl"), Graded) for one in (base, last))
    page.section("Test problems before and after", "Greedy solutions of the base and of the last model.")
    page.html(_before_and_after(problems_in(problems, "test"), before, after))


def _kept(place: Place) -> set[tuple[str, int]]:
    path = join(place.folders["select"], "pairs", "kept.jsonl")
    return {(one.problem, one.sample) for one in read_records(path, Graded)} if exists(path) else set()


def _box(problems: Sequence[Problem], graded: Sequence[Graded], kept: set[tuple[str, int]]) -> str:
    samples: dict[str, list[Graded]] = defaultdict(list)
    for one in graded:
        samples[one.problem].append(one)
    parts = [
        '<div class="browser"><label><input type="checkbox" id="hide-passed"> hide what passed</label>'
        '<label><input type="checkbox" id="hide-failed"> hide what failed</label>'
    ]
    every = max(1, len(problems) // PROBLEMS)
    for problem in problems[::every][:PROBLEMS]:
        them = samples[problem.id]
        passed = sum(one.passed for one in them)
        distinct: dict[str, Graded] = {}
        for one in sorted(them, key=lambda one: ((one.problem, one.sample) not in kept, one.sample)):
            distinct.setdefault(one.text, one)  # of equal texts the one that is kept
        shown = "".join(_sample(one, (one.problem, one.sample) in kept) for one in list(distinct.values())[:SAMPLES])
        head = f"{escape(problem.id)} <small>level {problem.level}, {passed} of {len(them)} passed</small>"
        parts.append(f"<details><summary>{head}</summary><pre>{escape(problem.prompt)}</pre>{shown}</details>")
    return "".join([*parts, "</div>"])


def _sample(one: Graded, kept: bool) -> str:
    state = "passed" if one.passed else "failed"
    verdict = f"{one.verifier}: {state}" + (f", {one.reason}" if one.reason else "") + (", kept" if kept else "")
    text = f'<pre class="{state}">{escape(one.text)}</pre>'
    return f'<div class="sample {state}"><small>{escape(verdict)}</small>{text}</div>'


def _before_and_after(problems: Sequence[Problem], before: Sequence[Graded], after: Sequence[Graded]) -> str:
    first, second = ({one.problem: one for one in them} for them in (before, after))
    changed = [one for one in problems if one.id in first and first[one.id].passed != second[one.id].passed]
    lost = sum(first[one.id].passed for one in changed)
    note = f"Of {len(first)}, {len(changed) - lost} are now solved that were not, and {lost} no longer."
    parts = [f"<p class='note'>{note}</p><div class=\"browser\">"]
    for problem in changed[:PROBLEMS]:
        shown = "".join(_sample(them[problem.id], False) for them in (first, second))
        won = "now solved" if second[problem.id].passed else "no longer solved"
        head = f"{escape(problem.id)} <small>level {problem.level}, {won}</small>"
        parts.append(f"<details><summary>{head}</summary><pre>{escape(problem.prompt)}</pre>{shown}</details>")
    return "".join([*parts, "</div>"])
