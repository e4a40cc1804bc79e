"""The page and the result of a `rest_em` run."""

from collections.abc import Mapping, Sequence
from typing import Any

from beam_jobs.sharded import manifest_or_none, read_all
from models.rest_em.records import Graded
from shammie.files import exists, join, read_json, write_bytes, write_json
from workflows import rest_em_browser
from workflows.dag import Running
from workflows.provenance import shell_command
from workflows.report import Page, new_figure
from workflows.rest_em_data import splits_in, test_sets
from workflows.rest_em_measures import Found, Place, over_seeds, over_values

COLOURS = ("#0b6e8f", "#d9822b", "#5b8c3a", "#8a4f9e", "#b33a3a", "#6b7178", "#2f4b7c")
BUCKETS = ("easy", "medium", "hard", "very hard")


def write(running: Running) -> None:
    """Writes result.json and report.html."""
    told = running.config
    places = []
    for chain in told["chains"]:
        folders = {what: running.input(word) for what, word in chain["steps"].items()}
        places.append(Place(chain["size"], chain["seed"], chain["variant"], chain["iteration"], folders))
    found = Found(places)
    sizes = [one["name"] for one in told["sizes"]]
    variants = [one["name"] for one in told["variants"]]
    sets = test_sets(running.input("problems"))
    result = results(found, sizes, variants, sets)
    write_json(running.path("result.json"), result, sort_keys=False)
    page = _page(running, found, sizes, variants, sets)
    write_bytes(running.path("report.html"), page.render().encode())


def results(found: Found, sizes: Sequence[str], variants: Sequence[str], sets: Sequence[str]) -> dict[str, Any]:
    """The flat result.

    Shares are of 1, gains in points. `…_low` and `…_high` bound 95 % over seeds, where there are several;
    `…_problems_low` and `…_problems_high` over test problems.
    """
    out: dict[str, Any] = {}
    first = variants[0]
    for size in sizes:
        last = found.iterations(size, first)
        out |= _bounded(f"{size}_gain_points", found.gains(size, first, last))
        bounds = found.over_problems(size, first, last)
        out |= {f"{size}_gain_points_problems_low": bounds.low, f"{size}_gain_points_problems_high": bounds.high}
        for name, step in (("base", 0), (first, last)):
            out[f"{size}_{name}_pass_at_1"] = over_seeds(found.values(size, first, step))[1]
    if len(sizes) > 1:
        gains = [found.gains(size, first, found.iterations(size, first)) for size in (sizes[0], sizes[-1])]
        out |= _bounded("largest_over_smallest_gain_points", [b - a for a, b in zip(*gains, strict=False)])
    for size in sizes:
        for variant in variants:
            last = found.iterations(size, variant)
            for one in sets if last else ():
                out |= _bounded(f"{size}_{variant}_{one}_gain_points", found.gains(size, variant, last, one))
                if variant != first:
                    values = found.gains(size, first, found.iterations(size, first), one, variant)
                    out |= _bounded(f"{size}_{first}_over_{variant}_{one}_points", values)
        for name, step in (("base", 0), (first, found.iterations(size, first))):
            for what in ("pass_at", "majority_at"):
                drawn = _drawn(found, size, first, step)
                for k in drawn[0][what] if drawn else ():
                    out[f"{size}_{name}_drawn_{what}_{k}"] = over_seeds([one[what][k] for one in drawn])[1]
    out["seeds"] = len(_seeds(found))
    return out


def _bounded(name: str, values: Sequence[float]) -> dict[str, float]:
    """A mean over seeds under a name, with its bounds where there are any."""
    if not values:
        return {}
    low, mean, high = over_seeds(values)
    return {name: mean, **({f"{name}_low": low, f"{name}_high": high} if len(values) > 1 else {})}


def _drawn(found: Found, size: str, variant: str, step: int) -> list[dict[str, Any]]:
    """The measures of several samples of each test problem, a model a seed."""
    them = [found.measures(size, seed, variant, step).get("test", {}) for seed in _seeds(found)]
    return [one for one in them if "pass_at" in one]


def _page(running: Running, found: Found, sizes: Sequence[str], variants: Sequence[str], sets: Sequence[str]) -> Page:
    first, counts = variants[0], splits_in(running.input("problems"))
    seeds = len({one.seed for one in found.places})
    page = Page(
        "rest_em: sample, verify, filter, fine-tune from base, repeat",
        f"{counts['train']:,} problems are sampled, {counts['test']:,} tested; {len(sizes)} model "
        f"size{'s' if len(sizes) > 1 else ''}, {seeds} seed{'s' if seeds > 1 else ''}. arXiv:2312.06585.",
    )
    page.numbers([number for size in sizes for number in _numbers(found, size, first)])
    _by_iteration(page, found, sizes, first)
    _variants(page, found, sizes, variants, sets)
    _pass_at_k(page, found, sizes, first)
    _buckets(page, found, sizes, first)
    _selection(page, found, sizes, first)
    _training(page, found, sizes, first)
    rest_em_browser.add(page, running.input("problems"), found, sizes[-1], first)
    page.section("Made by")
    page.command(shell_command())
    return page


def _numbers(found: Found, size: str, first: str) -> list[tuple[str, str]]:
    low, mean, high = over_seeds(found.gains(size, first, found.iterations(size, first)))
    base = 100 * over_seeds(found.values(size, "", 0))[1]
    between = f" ({low:+.1f} to {high:+.1f})" if high > low else ""
    return [(f"{mean:+.1f}", f"points of test pass@1, {size}, from {base:.1f} %{between}")]


def _by_iteration(page: Page, found: Found, sizes: Sequence[str], first: str) -> None:
    page.section(
        "Reward by iteration",
        "Greedy pass@1 of the base (0) and after each iteration, on problems that are never sampled (test) and on those"
        " that are (train, dashed): the gap between them is what the loop learns by heart. Bars: 95 % over seeds,"
        " which share the problems: how far other problems would lead is the second interval of the table below.",
    )
    figure, axes = new_figure(7.5, 3.6)
    for number, size in enumerate(sizes):
        steps = range(found.iterations(size, first) + 1)
        for what, style in (("test", "-"), ("train", "--")):
            intervals = [over_seeds(found.values(size, first, step, what)) for step in steps]
            means = [100 * mean for _, mean, _ in intervals]
            spread = [[100 * (m - low) for low, m, _ in intervals], [100 * (high - m) for _, m, high in intervals]]
            bars = spread if what == "test" else None
            axes.errorbar(steps, means, bars, ls=style, color=COLOURS[number], capsize=3, label=f"{size}, {what}")
    axes.set_xticks(range(max(found.iterations(size, first) for size in sizes) + 1))
    axes.set_xlabel("iteration")
    axes.set_ylabel("pass@1, %")
    axes.legend(frameon=False)
    page.picture(figure)
    rows = []
    for size in sizes:
        for step in range(found.iterations(size, first) + 1):
            test, train = (over_seeds(found.values(size, first, step, what)) for what in ("test", "train"))
            gap = 100 * (train[1] - test[1])
            rows.append(
                [size, step, _percent(test), _percent(train), round(gap, 1), *_coverage(found, size, first, step)]
            )
    columns = ["size", "iteration", "test pass@1, %", "train pass@1, %", "gap", "coverage, %", "kept a problem"]
    note = "Coverage: problems with at least one right sample, of those that were sampled for this iteration."
    page.table(columns, rows, caption=note)


def _coverage(found: Found, size: str, variant: str, step: int) -> list[Any]:
    counted = [
        counts for counts in (selection(found.place(size, seed, variant, step)) for seed in _seeds(found)) if counts
    ]
    if not counted or "covered" not in counted[0]:
        return [None, None]
    share = sum(one["covered"] / one["problems"] for one in counted) / len(counted)
    kept = sum(one["kept"] / max(1, one["covered"]) for one in counted) / len(counted)
    return [round(100 * share, 1), round(kept, 2)]


def _seeds(found: Found) -> list[int]:
    return sorted({one.seed for one in found.places})


def selection(place: Place | None) -> dict[str, Any]:
    """What a place's selection counted; empty where nothing was selected."""
    if place is None or "select" not in place.folders:
        return {}
    path = join(place.folders["select"], "pairs", "selection.json")
    return read_json(path) if exists(path) else {}


def _percent(interval: tuple[float, float, float]) -> str:
    low, mean, high = (100 * one for one in interval)
    return f"{mean:.1f} ± {(high - low) / 2:.1f}" if high > low else f"{mean:.1f}"


def _points(interval: tuple[float, float, float]) -> str:
    low, mean, high = interval
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})" if high > low else f"{mean:+.1f}"


def _variants(page: Page, found: Found, sizes: Sequence[str], variants: Sequence[str], sets: Sequence[str]) -> None:
    page.section(
        "Variants, and transfer",
        "Points of greedy pass@1 over the base, after each variant's last iteration. Sets other than test are of other"
        " tasks or files than those that the loop samples; the base may know them. Intervals: 95 % over seeds.",
    )
    rows, ours = [], []
    for size in sizes:
        for variant in ["", *variants]:
            last = found.iterations(size, variant) if variant else 0
            if variant and not last:
                continue
            cells: list[Any]
            if variant:
                cells = [_points(over_seeds(found.gains(size, variant, last, one))) for one in sets]
            else:
                cells = [f"{_percent(over_seeds(found.values(size, '', 0, one)))} %" for one in sets]
            rows.append([f"{size}: {variant or 'base'}", last or None, *cells])
            ours.append(variant == variants[0])
    page.table(["", "iterations", *sets], rows, ours=ours)
    first, rows = variants[0], []
    for size in sizes:
        last = found.iterations(size, first)
        for variant in ["", *variants[1:]]:
            if not variant or found.iterations(size, variant):
                cells = [_points(over_seeds(found.gains(size, first, last, one, variant))) for one in sets]
                problems = found.over_problems(size, first, last, "test", variant)
                rows.append([f"{size}: {first} over {variant or 'base'}", *cells, _points(problems)])
    page.table(
        ["", *sets, "test, 95 % over problems"],
        rows,
        caption="Differences of the same seed's models, in points; the last column resamples test problems instead.",
    )


def _pass_at_k(page: Page, found: Found, sizes: Sequence[str], first: str) -> None:
    curves = {}
    for size in sizes:
        for name, step in (("base", 0), (first, found.iterations(size, first))):
            if drawn := _drawn(found, size, first, step):
                curves[size, name] = drawn
    if not curves:
        return
    drawn = next(iter(curves.values()))[0]
    page.section(
        "More samples: pass@k and majority votes",
        f"{drawn['samples']} samples of each test problem at temperature 1, nucleus 0.95; pass@k is the unbiased"
        " estimate, a majority vote counts as right where the most frequent answer is; mean over seeds.",
    )
    figure, axes = new_figure(7.5, 3.4)
    rows = []
    for (size, name), them in curves.items():
        colour, style = COLOURS[list(sizes).index(size)], "--" if name == "base" else "-"
        for what, marker in (("pass_at", "o"), ("majority_at", "x")):
            ks = list(them[0][what])
            values = [over_seeds([one[what][k] for one in them]) for k in ks]
            label = f"{size} {name}, {'pass@k' if what == 'pass_at' else 'maj@k'}"
            axes.plot(list(map(int, ks)), [100 * v[1] for v in values], style, marker=marker, color=colour, label=label)
            rows.append([label, *map(_percent, values)])
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(map(int, drawn["pass_at"])), list(drawn["pass_at"]))
    axes.set_xlabel("k")
    axes.set_ylabel("%")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    page.picture(figure)
    page.table(["", *(f"k = {k}" for k in drawn["pass_at"])], rows)


def _buckets(page: Page, found: Found, sizes: Sequence[str], first: str) -> None:
    rows = []
    for size in sizes:
        gains = found.by_bucket(size, first, found.iterations(size, first))
        for bucket in BUCKETS:
            if gains.get(bucket):
                rows.append([size, bucket, len(gains[bucket]), _points(over_values(gains[bucket]))])
    if rows:
        page.section(
            "Who gains",
            "Test problems by how often the base solves them at temperature 1 (easy 75 to 100 %, medium 50 to 75, hard"
            " 25 to 50, very hard below), and how much more often the last model does. A problem that the base solved"
            " by luck falls back on its own: part of these numbers is that regression.",
        )
        page.table(["size", "bucket", "problems and seeds", "points (95 %)"], rows)
    levels = []
    for size in sizes:
        base, after = (_levels(found, size, first, step) for step in (0, found.iterations(size, first)))
        levels += [[size, int(one), base[one], after[one], round(after[one] - base[one], 1)] for one in base]
    page.table(["size", "level", "base, %", f"{first}, %", "points"], levels, caption="By the problems' own levels.")


def _levels(found: Found, size: str, variant: str, step: int) -> dict[str, float]:
    total: dict[str, list[int]] = {}
    for seed in _seeds(found):
        for level, (right, count) in (
            found.measures(size, seed, variant, step).get("test", {}).get("levels", {}).items()
        ):
            right_before, count_before = total.get(level, (0, 0))
            total[level] = [right_before + right, count_before + count]
    return {level: round(100 * right / count, 1) for level, (right, count) in total.items()}


def _selection(page: Page, found: Found, sizes: Sequence[str], first: str) -> None:
    page.section(
        "What was filtered, and why",
        "Samples of the first seed: those that did not pass, by the verifier's reason; equal ones; those over the cap"
        " of a problem. Each is listed in dropped.jsonl beside the chosen ones.",
    )
    rows = []
    names: dict[str, None] = {}
    for size in sizes:
        for step in range(1, found.iterations(size, first) + 1):
            counts = selection(found.place(size, _seeds(found)[0], first, step))
            reasons = {name.removeprefix("dropped/"): n for name, n in counts.items() if name.startswith("dropped/")}
            names |= dict.fromkeys(reasons)
            rows.append((size, step, counts, reasons))
    page.table(
        ["size", "iteration", "kept", *names],
        [
            [size, step, counts.get("kept"), *(reasons.get(name, 0) for name in names)]
            for size, step, counts, reasons in rows
        ],
    )
    speed = []
    for size, step, _, _ in rows:
        place = found.place(size, _seeds(found)[0], first, step)
        manifest = (
            manifest_or_none(join(place.folders["sample"], "samples")) if place and "sample" in place.folders else None
        )
        if manifest:
            speed.append(
                [size, step, manifest["counters"]["records"], manifest["counters"]["tokens"], _slot_use(manifest)]
            )
    if speed:
        page.table(["size", "iteration", "samples", "tokens", "slots in use, %"], speed)
    _passes(page, found, sizes, first)


def _passes(page: Page, found: Found, sizes: Sequence[str], first: str) -> None:
    """How many of a problem's samples pass, in the first and the last iteration."""
    seed = _seeds(found)[0]
    figure, axes = new_figure(7.5, 3.0)
    for number, size in enumerate(sizes):
        for step, style in ((1, ":"), (found.iterations(size, first), "-")):
            place = found.place(size, seed, first, step)
            if place is None or "grade" not in place.folders:
                continue
            passes: dict[str, int] = {}
            for one in read_all(join(place.folders["grade"], "graded"), Graded):
                passes[one.problem] = passes.get(one.problem, 0) + one.passed
            falling = sorted(passes.values(), reverse=True)
            places = [100 * (n + 1) / len(falling) for n in range(len(falling))]
            axes.plot(places, falling, style, color=COLOURS[number], label=f"{size}, iteration {step}")
    axes.set_xlabel("% of the problems")
    axes.set_ylabel("samples that pass")
    axes.legend(frameon=False)
    page.picture(figure, "How many of each problem's samples pass, the problems in falling order: where a line meets 0"
                 " ends the coverage.")  # fmt: skip


def _slot_use(manifest: Mapping[str, Any]) -> float:
    counters = manifest["counters"]
    return round(100 * counters["slot_steps_used"] / counters["slot_steps"], 1)


def _training(page: Page, found: Found, sizes: Sequence[str], first: str) -> None:
    page.section(
        "Training",
        "Held-out reward (greedy pass@1 on the validation problems) in each M-step of the first seed; the parameters of"
        " the best point are kept, and training ends when it has not risen for a while.",
    )
    figure, axes = new_figure(7.5, 3.2)
    for number, size in enumerate(sizes):
        for step in range(found.iterations(size, first) + 1):
            place = found.place(size, _seeds(found)[0], first, step)
            path = join(place.folders["model"], "training.json") if place else ""
            if not path or not exists(path):
                continue
            curve = read_json(path)["curve"]
            fade = 0.35 + 0.65 * step / max(1, found.iterations(size, first))
            name = f"{size}, {f'iteration {step}' if step else 'base'}"
            axes.plot([row[0] for row in curve], [100 * row[2] for row in curve], color=COLOURS[number], alpha=fade,
                      ls="-" if step else ":", marker=".", label=name)  # fmt: skip
    axes.set_xlabel("step")
    axes.set_ylabel("validation pass@1, %")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    page.picture(figure)
