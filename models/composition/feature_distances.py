"""How far made images are from real ones in a feature net's space. N, M = images, F = features."""

import numpy as np
from scipy.spatial import KDTree

from shammie.errors import UserError


def frechet_distance(one_NF: np.ndarray, other_MF: np.ndarray) -> float:
    """The squared Frechet distance of the Gaussians fitted to two sets (Heusel et al. 2017, eq. 6).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). It is biased upwards where images are few: compare numbers of one
    size of set only, and with what two halves of the real images have.

    Args:
        one_NF: features, float [N, F], N of 2 or more.
        other_MF: of the other set, float [M, F].

    Raises:
        UserError: too few images, or features that are not finite.
    """
    sets = [np.asarray(x, np.float64) for x in (one_NF, other_MF)]
    for x in sets:
        if len(x) < 2 or not np.isfinite(x).all():
            raise UserError(
                f"a set of {len(x)} images with {np.count_nonzero(~np.isfinite(x))} features that are not finite",
                "give two images or more, and drop chains that failed",
            )
    means = [x.mean(axis=0) for x in sets]
    one_FF, other_FF = (np.atleast_2d(np.cov(x, rowvar=False)) for x in sets)
    # the trace of the product's root is that of the roots of its eigenvalues, which are real and 0 or more
    roots = np.sqrt(np.maximum(np.linalg.eigvals(one_FF @ other_FF).real, 0.0))
    difference = means[0] - means[1]
    return float(difference @ difference + np.trace(one_FF) + np.trace(other_FF) - 2.0 * roots.sum())


def coverage(real_NF: np.ndarray, made_MF: np.ndarray, nearest: int = 5) -> float:
    """The share of real images with a made one nearer than their own nearest-th real neighbour (Naeem et al. 2020).

    1 where every kind of image is made, near 0 where all made ones are alike; as many made as real images are usual.

    Args:
        real_NF: features, float [N, F], N above `nearest`.
        made_MF: of made images, float [M, F].
        nearest: k.

    Raises:
        UserError: too few real images.
    """
    if len(real_NF) <= nearest:
        raise UserError(f"{len(real_NF)} real images for their {nearest} nearest neighbours", "give more images")
    reach_N = KDTree(real_NF).query(real_NF, k=nearest + 1)[0][:, -1]  # the nearest is the image itself
    return float(np.mean(KDTree(made_MF).query(real_NF)[0] <= reach_N))
