"""Measures between samples and a density against closed forms of Gaussians."""

import numpy as np
import pytest

from models.composition.closeness import covariance_error, divergence, median_kernel, squared_mmd
from shammie.errors import UserError


def normal(seed, count, mean=(0.0, 0.0), deviation=(1.0, 1.0)):
    return np.asarray(mean) + np.asarray(deviation) * np.random.default_rng(seed).standard_normal((count, 2))


def gaussian_divergence(mean_p, deviation_p, mean_q, deviation_q):
    """KL of Gaussians with independent axes, in nats."""
    shift, ratio = np.subtract(mean_p, mean_q) / deviation_q, np.divide(deviation_p, deviation_q)
    return float(np.sum(0.5 * (ratio**2 + shift**2 - 1.0) - np.log(ratio)))


@pytest.mark.parametrize(
    ("mean", "deviation"), [((1.0, 0.0), (1.0, 1.0)), ((0.0, 0.0), (0.75, 1.0)), ((0.4, -0.4), (1.1, 0.85))]
)
def test_divergences_are_those_of_gaussians(mean, deviation):
    p_ND, q_ND = normal(0, 6000, mean, deviation), normal(1, 6000)
    forward = gaussian_divergence(mean, deviation, (0, 0), (1, 1))
    backward = gaussian_divergence((0, 0), (1, 1), mean, deviation)
    assert divergence(p_ND, q_ND) == pytest.approx(forward, abs=0.05)
    assert divergence(q_ND, p_ND) == pytest.approx(backward, abs=0.05)


def test_both_ways_differ_and_far_tails_are_underestimated():
    thin_ND, wide_ND = normal(0, 6000, deviation=(0.5, 1.0)), normal(1, 6000)
    into, out = divergence(thin_ND, wide_ND), divergence(wide_ND, thin_ND)
    assert into == pytest.approx(gaussian_divergence((0, 0), (0.5, 1), (0, 0), (1, 1)), abs=0.05)  # 0.32
    assert into < out < gaussian_divergence((0, 0), (1, 1), (0, 0), (0.5, 1))  # 0.81: what `divergence` warns of


def test_divergence_of_equals_is_nought_at_other_counts():
    assert divergence(normal(0, 1000), normal(1, 5000)) == pytest.approx(0.0, abs=0.06)


def test_divergence_bears_points_that_coincide():
    x_ND = normal(0, 50)
    assert np.isfinite(divergence(np.repeat(x_ND, 10, axis=0), x_ND))


def gaussian_mmd(mean, deviation, width):
    """Squared MMD between N(mean, deviation^2 I) and N(0, I) in two dimensions."""
    mixed = lambda variance, shift: width**2 / (width**2 + variance) * np.exp(-shift / (2 * (width**2 + variance)))  # noqa: E731
    across = mixed(deviation**2 + 1, float(np.sum(np.square(mean))))
    return mixed(2 * deviation**2, 0.0) + mixed(2.0, 0.0) - 2 * across


@pytest.mark.parametrize(("mean", "deviation"), [((0.6, 0.0), 1.0), ((0.0, 0.0), 0.6)])
def test_mmd_is_that_of_gaussians(mean, deviation):
    kernel = median_kernel(normal(0, 4000))
    assert kernel.width == pytest.approx(np.sqrt(4 * np.log(2)), rel=0.03)  # the median of |x - y|, Rayleigh of 2
    found = squared_mmd(normal(1, 4000, mean, (deviation, deviation)), kernel)
    assert found == pytest.approx(gaussian_mmd(mean, deviation, kernel.width), rel=0.1)


def test_mmd_of_equals_has_no_bias():
    kernel = median_kernel(normal(0, 1500))
    found = [squared_mmd(normal(seed, 200), kernel) for seed in range(1, 31)]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(len(found)) + 2e-4
    assert abs(np.mean(found)) < 1e-3  # with the diagonal in it would be 1 / 200 times its mean, 2.5e-3 and more


def test_mmd_is_the_same_in_chunks(monkeypatch):
    whole = squared_mmd(normal(1, 300), median_kernel(normal(0, 500)))
    monkeypatch.setattr("models.composition.closeness.CHUNK", 7)
    assert squared_mmd(normal(1, 300), median_kernel(normal(0, 500))) == pytest.approx(whole, rel=1e-9)


def test_covariance_errors():
    x_ND = normal(0, 500) @ np.array([[1.0, 0.3], [0.0, 0.2]])
    found_DD = np.cov(x_ND.T)
    same = covariance_error(x_ND, found_DD)
    assert same == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
    half = covariance_error(x_ND, 2 * found_DD)
    assert half == pytest.approx((0.5, 0.5, np.trace(found_DD) / 2))
    thin = np.diag([1.0, 1e-4])  # an error of the thin axis alone: only the whitened one sees it
    x_ND = normal(1, 4000, deviation=(1.0, 0.02))
    error = covariance_error(x_ND, thin)
    assert error.relative < 0.06
    assert error.whitened == pytest.approx(3 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("x_ND", [np.zeros((1, 2)), np.zeros(5), np.full((9, 2), np.nan)])
def test_what_cannot_be_compared_is_refused(x_ND):
    with pytest.raises(UserError, match="finite points"):
        covariance_error(x_ND, np.eye(2))
    with pytest.raises(UserError, match="finite points"):
        divergence(x_ND, normal(0, 50))
