"""Pictures of `composition`'s scenes: sheets with the wished places marked, accuracy by conditions, captioned scenes.

N = scenes, K = conditions, H, W, C = an image's axes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.rest_em.metrics import Interval, t_interval
from workflows.composition_scenes import REAL, accuracy_by
from workflows.report import new_figure


def names_of(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Forms and samplers of some rows, in the order met, real scenes last."""
    names = list(dict.fromkeys((row["form"], row["sampler"]) for row in rows))
    return sorted(names, key=lambda name: name == (REAL, REAL))


def _interval(values: Sequence[float]) -> Interval:
    return t_interval(list(values)) if len(values) > 1 else Interval(values[0], values[0], values[0])


def accuracy_figure(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The share of scenes with all that was wished against the number of conditions.

    Marks are means over trainings and seeds, bars their 95 % intervals (none of one alone).

    Args:
        rows: of the step "scenes".
    """
    figure, axes = new_figure(7.0, 3.6)
    names = names_of(rows)
    for number, name in enumerate(names):
        found = accuracy_by(rows, *name)
        counts = sorted(found)
        intervals = [_interval(found[count]) for count in counts]
        means = np.array([one.mean for one in intervals])
        below, above = ([max(0.0, x) for x in side] for side in (
            means - [max(0.0, one.low) for one in intervals],
            np.array([min(1.0, one.high) for one in intervals]) - means,
        ))  # fmt: skip
        real = name == (REAL, REAL)
        look: dict[str, Any] = {"color": "0.4", "linestyle": ":"} if real else {"color": f"C{number}"}
        label = "real scenes: the judge's ceiling" if real else f"{name[1]}, {name[0]}"
        shift = 0.03 * (number - len(names) / 2)  # so that bars do not hide each other
        axes.errorbar(np.array(counts) + shift, means, [below, above], marker="o", capsize=2, label=label, **look)
    axes.set_xticks(sorted({row["conditions"] for row in rows}))
    axes.set_xlabel("conditions composed")
    axes.set_ylabel("scenes with all of them")
    axes.set_ylim(-0.02, 1.04)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    return figure


def scenes_figure(images: Mapping[str, np.ndarray], name: tuple[str, str], counts: Sequence[int]) -> Any:
    """Scenes of one form and sampler, a row for each number of conditions, with crosses where objects should lie.

    Args:
        images: of the step "scenes": "FORM SAMPLER K" to float32 [N, H, W, 1], "wished K" to [N, K, 2].
        name: form and sampler.
        counts: the numbers of conditions.
    """
    shown = len(images[f"{name[0]} {name[1]} {counts[0]}"])
    figure, first = new_figure(1.1 * shown + 0.4, 1.15 * len(counts) + 0.3)
    first.remove()
    for row, count in enumerate(counts):
        made_NX, wished_NK2 = images[f"{name[0]} {name[1]} {count}"], images[f"wished {count}"]
        for column in range(shown):
            axes = figure.add_subplot(len(counts), shown, row * shown + column + 1)
            _show(axes, made_NX[column])
            axes.plot(wished_NK2[column, :, 0], wished_NK2[column, :, 1], "x", color="tab:red", markersize=5)
            if column == 0:
                axes.set_ylabel(str(count), rotation=0, labelpad=8, va="center")
    title = "real scenes" if name == (REAL, REAL) else f"{name[1]}, {name[0]}"
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    return figure


def captions_figure(images: Mapping[str, np.ndarray], rows: Sequence[Mapping[str, Any]]) -> Any:
    """Captioned scenes: a row for each wish, a block of columns for each form and sampler.

    Args:
        images: of the step "captions": "FORM SAMPLER NUMBER" to float32 [N, H, W, 3], the number of the wish.
        rows: of the same step.
    """
    wishes = list(dict.fromkeys(row["wish"] for row in rows))
    names = [name for name in names_of(rows) if name != (REAL, REAL)]
    shown = max(len(x) for x in images.values())
    columns = shown * len(names)
    figure, first = new_figure(0.95 * columns + 2.6, 1.05 * len(wishes) + 0.4)
    first.remove()
    for row, wish in enumerate(wishes):
        for block, name in enumerate(names):
            for column, image_HWC in enumerate(images[f"{name[0]} {name[1]} {row}"]):
                axes = figure.add_subplot(len(wishes), columns, row * columns + block * shown + column + 1)
                _show(axes, image_HWC)
                if row == 0 and column == 0:
                    axes.set_title(f"{name[1]}, {name[0]}", fontsize=8, loc="left")
                if block == column == 0:
                    lines = wish.replace(" AND ", "\nAND ")
                    axes.set_ylabel(lines, rotation=0, fontsize=8, ha="right", va="center", labelpad=6)
    figure.tight_layout()
    return figure


def _show(axes: Any, image_HWC: np.ndarray) -> None:
    """One scene, its corner at (0, 0) and its opposite at (1, 1)."""
    bright = np.clip(image_HWC * 0.5 + 0.5, 0.0, 1.0)
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} if bright.shape[-1] == 1 else {}
    axes.imshow(bright.squeeze(), extent=(0, 1, 1, 0), interpolation="nearest", **grey)
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    axes.set_xticks([])
    axes.set_yticks([])
