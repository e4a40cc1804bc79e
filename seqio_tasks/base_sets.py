"""The data sets of in-context learning by name, as the task generator takes them. M = examples, F = features."""

import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from models.in_context.base_data import Bank, Examples, bank_of
from seqio_tasks.image_data import gaussian_data, load_images, standardized, with_moments
from seqio_tasks.synthetic_tables import OUTLIER, synthetic_table
from shammie.errors import UserError, unknown

RANDOM, TABLE, SKLEARN = "random", "table:", "sklearn:"
SKLEARN_TABLES = ("iris", "wine", "breast_cancer")  # those whose rows are enough for a context, and have classes
RANDOM_CLASSES = 10


@functools.cache
def examples_of(name: str, split: str, features: int) -> Examples:
    """A data set, standardised by one mean and one standard deviation of its own training split.

    Args:
        name: what `image_data.load_images` takes, or "random": one Gaussian vector a class, the paper's data set that
            nothing but memory can label; "table:NUMBER": `synthetic_tables.synthetic_table`; "sklearn:NAME": one of
            SKLEARN_TABLES, each feature standardised by itself and zeros added, as in a synthetic table.
        split: "train" or "test"; the random set and tables are the same in both.
        features: F; images become square ones of so many numbers, grey unless F is three times a square.

    Returns:
        float32 [M, F] and int32 [M].

    Raises:
        UserError: no such data, F that makes no square image, or F below a table's.
    """
    if name == RANDOM:
        images = gaussian_data(RANDOM_CLASSES, 1, features, seed=0)
        return Examples(images.flat, images.labels)
    if name.startswith(TABLE) and (number := name.removeprefix(TABLE)).isdigit():
        return synthetic_table(int(number), features)
    if name.startswith(SKLEARN):
        return _sklearn_table(name.removeprefix(SKLEARN), features)
    pixels, channels = _image_shape(features)
    load = functools.partial(load_images, name, pixels=pixels, channels=channels)
    train = load("train")
    images = with_moments(train if split == "train" else load(split), *standardized(train))
    return Examples(images.flat, images.labels)


def bank_for(sets: Sequence[tuple[str, str]], features: int) -> Bank:
    """Some data sets by name and split, in their order, as the task generator reads them."""
    return bank_of([examples_of(name, split, features) for name, split in sets], features)


def digest_of(name: str, split: str, features: int) -> str:
    """The sha256 of a data set's numbers, in hexadecimal: what a run on it is known by."""
    x_MF, labels_M = examples_of(name, split, features)
    told = hashlib.sha256(repr((x_MF.shape, str(x_MF.dtype))).encode())
    told.update(np.ascontiguousarray(x_MF).tobytes())
    told.update(np.ascontiguousarray(labels_M.astype(np.int32)).tobytes())
    return told.hexdigest()


def _sklearn_table(name: str, features: int) -> Examples:
    if name not in SKLEARN_TABLES:
        raise unknown("table of scikit-learn", name, SKLEARN_TABLES)
    from sklearn import datasets

    found: Any = getattr(datasets, f"load_{name}")()
    used = found.data.shape[1]
    if used > features:
        raise UserError(f"{SKLEARN}{name} has {used} features, but contexts {features}", "raise LearnerConfig.features")
    x_MF = (found.data - found.data.mean(axis=0)) / found.data.std(axis=0)
    padded_MF = np.zeros((len(x_MF), features), np.float32)
    padded_MF[:, :used] = np.clip(x_MF, -OUTLIER, OUTLIER) * np.sqrt(features / used)
    return Examples(padded_MF, found.target.astype(np.int32))


def _image_shape(features: int) -> tuple[int, int]:
    for channels in (1, 3):
        pixels = math.isqrt(features // channels)
        if pixels * pixels * channels == features:
            return pixels, channels
    raise UserError(
        f"{features} features are no square image, grey or of three colours",
        "set LearnerConfig.features to pixels^2 or 3 * pixels^2, such as 64 or 3072",
    )
