"""Pictures of `composition`'s guided images and tapestries. N = images, H, W, C = an image's axes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workflows.report import new_figure

GAP = 1  # pixels between images of a sheet


def sheet(x_NHWC: np.ndarray, columns: int) -> np.ndarray:
    """Images side by side, row by row, as one: [rows * (H + 1), columns * (W + 1), C], 0 to 1, white between them."""
    count, height, width, channels = x_NHWC.shape
    rows = -(-count // columns)
    whole = np.ones((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels))
    for number, image_HWC in enumerate(np.clip(x_NHWC * 0.5 + 0.5, 0.0, 1.0)):
        down, right = (number // columns) * (height + GAP), (number % columns) * (width + GAP)
        whole[down : down + height, right : right + width] = image_HWC
    return whole


def guided_figure(images: Mapping[str, np.ndarray], classes: int) -> Any:
    """A sheet for each sampler and weight: a row of images for each label.

    Args:
        images: by name, float32 [classes * n, H, W, C] from -1 to 1, n of each label in turn.
        classes: how many labels.
    """
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure, first = new_figure(2.2 * columns, 4.4 * rows)
    first.remove()
    for number, (name, x_NHWC) in enumerate(images.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.imshow(sheet(x_NHWC, len(x_NHWC) // classes), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(name, fontsize=9)
        axes.axis("off")
    figure.tight_layout()
    return figure


def tapestry_figure(
    images: Mapping[str, np.ndarray], wished_NW: np.ndarray, rows_of_windows: int, shown: int = 6
) -> Any:
    """Canvases by sampler, with the labels that their windows were given above them.

    Args:
        images: by name, float32 [N, H, W, C].
        wished_NW: labels of the windows, row by row.
        rows_of_windows: of a canvas.
        shown: canvases of each sampler.
    """
    shown = min(shown, *(len(x) for x in images.values()))
    figure, first = new_figure(1.7 * shown, 1.5 * len(images) + 0.3)
    first.remove()
    for row, (name, x_NHWC) in enumerate(images.items()):
        for column in range(shown):
            axes = figure.add_subplot(len(images), shown, row * shown + column + 1)
            axes.imshow(np.clip(x_NHWC[column] * 0.5 + 0.5, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                lines = np.array_split(wished_NW[column], rows_of_windows)
                axes.set_title("\n".join(" ".join(map(str, line)) for line in lines), fontsize=9, family="monospace")
            if column == 0:
                axes.set_ylabel(name, fontsize=8)
    figure.tight_layout()
    return figure


def trade_figure(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The Frechet distance against the share of images that have their label; one mark for each set of images.

    Args:
        rows: with "form", "sampler", "weight", "accuracy" and "frechet"; the real images' row among them.
    """
    figure, axes = new_figure(7.5, 3.6)
    names = list(dict.fromkeys(f"{row['form']} {row['sampler']}" for row in rows))
    for number, name in enumerate(names):
        own = [row for row in rows if f"{row['form']} {row['sampler']}" == name]
        weights = list(dict.fromkeys(row["weight"] for row in own))
        means = [
            [np.mean([row[key] for row in own if row["weight"] == weight]) for key in ("accuracy", "frechet")]
            for weight in weights
        ]
        axes.plot(*np.transpose(means), "o-", color=f"C{number}", label="real images" if name == "real real" else name)
        for weight, (x, y) in zip(weights, means, strict=True):
            axes.annotate(
                f"{weight:g}" if weight else "", (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8
            )
    axes.set_xlabel("share of images that the judge gives their label (numbers: the guidance's weight)")
    axes.set_ylabel("Frechet distance")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=9)
    return figure
