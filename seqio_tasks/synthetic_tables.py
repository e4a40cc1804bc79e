"""Data sets that look like small tables, drawn from a seed: for learners that are to read tables of people's own.

Each has a few hidden causes, features that mix them with noise, some of them skewed, and classes that either gather
around centres or are cut out by a random function of the causes. M = rows, F = features, R = causes, C = classes.
"""

import numpy as np

from models.in_context.base_data import Examples

CLASSES = 10
ROWS_PER_CLASS = 120
OUTLIER = 4.0  # standard deviations that features are clipped at


def synthetic_table(number: int, features: int, classes: int = CLASSES) -> Examples:
    """A table by its number; the same on every machine.

    Even numbers have classes around 1 to 3 centres each, odd ones classes that a random network of the causes chooses,
    of equal size. Features are then standardised, each by itself, as a table of a user's is.

    Args:
        number: 0 or more.
        features: F, of which only some are more than 0: 2 to F of them, few as often as many.
        classes: C.

    Returns:
        float32 [C * ROWS_PER_CLASS, F], scaled so that a row's squared norm is about F; labels int32.
    """
    random = np.random.Generator(np.random.Philox(key=number))
    used = int(2 ** random.uniform(1, np.log2(features)))
    causes = int(random.integers(2, 2 + min(used, 11)))
    rows = classes * ROWS_PER_CLASS
    if number % 2 == 0:
        labels_M = np.repeat(np.arange(classes), ROWS_PER_CLASS)
        spread = random.uniform(0.7, 3.0)
        centres = random.integers(1, 4)
        centre_CKR = spread * random.standard_normal((classes, centres, causes))
        widths_CR = np.exp(0.5 * random.standard_normal((classes, causes)))
        z_MR = centre_CKR[labels_M, random.integers(0, centres, rows)]
        z_MR = z_MR + widths_CR[labels_M] * random.standard_normal((rows, causes))
    else:
        z_MR = random.standard_normal((4 * rows, causes))
        hidden_MH = np.tanh(z_MR @ random.standard_normal((causes, 16)) + random.standard_normal(16))
        score_M = hidden_MH @ random.standard_normal(16) + z_MR @ random.standard_normal(causes)
        score_M += random.uniform(0.0, 0.5) * score_M.std() * random.standard_normal(len(score_M))
        # classes are bands of the score, in random order
        band_M = np.argsort(np.argsort(score_M)) * classes // len(score_M)
        labels_M = random.permutation(classes)[band_M]
        kept_M = np.concatenate([np.flatnonzero(labels_M == label)[:ROWS_PER_CLASS] for label in range(classes)])
        z_MR, labels_M = z_MR[kept_M], labels_M[kept_M]
    mixing_RF = random.standard_normal((causes, used)) / np.sqrt(causes)
    x_MF = z_MR @ mixing_RF
    if random.uniform() < 0.5:
        x_MF = x_MF + np.tanh(z_MR @ random.standard_normal((causes, used)))
    x_MF = x_MF + random.uniform(0.0, 0.6) * x_MF.std() * random.standard_normal(x_MF.shape)
    x_MF = (x_MF - x_MF.mean(axis=0)) / x_MF.std(axis=0)
    skewed_F = random.uniform(size=used) < random.choice([0.0, 0.3, 0.8])
    x_MF = np.where(skewed_F, np.exp(random.uniform(0.3, 0.9, used) * x_MF), x_MF)
    x_MF = np.clip((x_MF - x_MF.mean(axis=0)) / x_MF.std(axis=0), -OUTLIER, OUTLIER)
    padded_MF = np.zeros((rows, features), np.float32)
    padded_MF[:, :used] = x_MF * np.sqrt(features / used)
    return Examples(padded_MF, labels_M.astype(np.int32))
