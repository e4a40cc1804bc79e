"""An experiment on the plane: its training, its compositions, and the normalisers of its mixtures."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.diffusion import density_of, first_variables
from models.composition.diffusion_config import DiffusionConfig
from models.composition.plane_judging import closeness_of, judge_of
from models.composition.plane_training import PlaneRun, composed, noised_again, program_of, samplers_of, trained
from models.composition.sampler_config import SamplerConfig
from models.composition.schedule import NoiseSchedule
from models.training import OptimizerConfig
from shammie.errors import UserError

MODEL = DiffusionConfig(form="dae", width=8, blocks=1, level_width=4, schedule=NoiseSchedule(levels=6))
RUN = PlaneRun(
    "mixture", MODEL, OptimizerConfig("adam", 1e-2, warmup_steps=2, average=0.5), batch=64, steps=60,
    samplers={"ula": SamplerConfig("ula"), "hmc": SamplerConfig("hmc")},
)  # fmt: skip
LOGS = np.array([[0.3] * 6, [-1.1] * 6], np.float32)


def some_params(seed, config=MODEL):
    params = first_variables(config, jax.random.key(seed))["params"]
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 100), len(leaves))
    noise = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noise)


@pytest.mark.parametrize("pair", ["product", "mixture", "negation", "frame"])
def test_compositions_are_their_formulas(pair):
    both = some_params(0), some_params(1)
    whole = composed(pair, MODEL, both, jnp.asarray(LOGS))
    parts = [density_of(MODEL, params) for params in both]
    for x in ([0.1, -0.4], [0.9, 0.2]):
        x = jnp.array(x)
        first, second = (float(part.log_density(x, 2)) for part in parts)
        a, b = first - 0.3, second + 1.1  # normalised
        expected = {
            "product": first + second,
            "mixture": math.log(0.5 * math.exp(a) + 0.5 * math.exp(b)),
            "negation": 1.3 * first - 0.3 * second,
            "frame": 2 * a - math.log(0.9 * math.exp(b) + 0.1 * math.exp(a)),
        }
        assert float(whole.log_density(x, 2)) == pytest.approx(expected[pair], rel=1e-4, abs=1e-4)


def test_scores_compose_where_they_can():
    model = replace(MODEL, form="score")
    both = some_params(0, model), some_params(1, model)
    x = jnp.array([0.2, 0.3])
    first, second = (np.asarray(density_of(model, params).score(x, 1)) for params in both)
    for pair, weights in (("product", (1, 1)), ("negation", (1.3, -0.3))):
        found = composed(pair, model, both, jnp.zeros((2, 6))).score(x, 1)
        assert np.asarray(found) == pytest.approx(weights[0] * first + weights[1] * second, rel=1e-4)
    for pair in ("mixture", "frame"):
        with pytest.raises(UserError, match="has no energy, which a mixture needs"):
            program_of(replace(RUN, pair=pair, model=model))
    assert samplers_of(replace(RUN, pair="product", model=model)) == ("ula",)
    assert samplers_of(RUN) == ("ula", "hmc")


def test_normalisers_are_integrals():
    # a new model's f is 0: exp(-||x||^2 / noise), whose integral is pi times the noise
    fresh = first_variables(MODEL, jax.random.key(0))["params"]
    logs_2T = np.asarray(program_of(RUN).log_normalisers((fresh, fresh)))
    expected_T = np.log(np.pi * np.sqrt(MODEL.schedule.noise_variances_T))
    assert logs_2T == pytest.approx(np.stack([expected_T, expected_T]), abs=1e-3)
    for other in (replace(RUN, normalised=False), replace(RUN, pair="product")):
        assert not np.asarray(program_of(other).log_normalisers((fresh, fresh))).any()


def test_training_learns_each_component():
    program = program_of(RUN)
    both, losses = zip(*(trained(RUN, program, which) for which in (0, 1)), strict=True)
    first_loss = float(trained(replace(RUN, steps=1), program, 0)[1])
    # of a new model eps is 2x: 4 abar E[x0^2] + (2 sigma - 1)^2, over levels and axes
    schedule, second = MODEL.schedule, (0.13 / 3 + 1 / 3) / 2
    sigmas_T = np.sqrt(schedule.noise_variances_T)
    expected = np.mean(4 * schedule.alpha_bars_T * second + (2 * sigmas_T - 1) ** 2)
    assert first_loss == pytest.approx(expected, abs=0.3)
    assert max(losses) < 0.9 * expected  # over all of the training
    points = jnp.array([[-0.2, 0.0], [0.2, 0.0]])  # the left bar's middle and the right one's
    for params, own in zip(both, (0, 1), strict=True):
        logs = [float(density_of(MODEL, params).log_density(x, 2)) for x in points]
        assert logs[own] > logs[1 - own]
    again, loss = trained(RUN, program, 0)
    assert loss == losses[0]
    jax.tree.map(np.testing.assert_array_equal, again, both[0])
    other, _ = trained(replace(RUN, seed=1), program, 0)
    assert not np.allclose(jax.tree.leaves(other)[0], jax.tree.leaves(again)[0])


def test_noised_again_has_level_0s_law():
    x_ND = noised_again(RUN, np.full((20_000, 2), 0.5))
    schedule = MODEL.schedule
    assert x_ND.mean() == pytest.approx(0.5 * np.sqrt(schedule.alpha_bars_T[0]), abs=0.01)
    assert x_ND.var() == pytest.approx(schedule.noise_variances_T[0], rel=0.03)


def test_a_judge_knows_exact_samples_from_others():
    judge = judge_of("product", NoiseSchedule(), 1500)
    exact = closeness_of(judge.truth.sample(3, 1500), judge)
    assert exact.variance_error < 0.02
    assert exact.squared_mmd == pytest.approx(0, abs=4e-3)
    assert (exact.kl_from_samples, exact.kl_from_truth) == pytest.approx((0, 0), abs=0.1)
    drawn_together = closeness_of(judge.truth.sample(3, 1500) * [0.3, 1.0], judge)
    assert drawn_together.log_likelihood > exact.log_likelihood  # the trap: it alone ranks the wrong sampler best
    assert drawn_together.kl_from_truth > exact.kl_from_truth + 0.3
    assert drawn_together.whitened_variance_error > exact.whitened_variance_error + 0.3
    assert np.isnan(closeness_of(judge.exact_MD[:100], judge)).all()
