from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.annealing import sample
from models.composition.density import of_log_density, of_score
from models.composition.sampler_config import KINDS, SamplerConfig
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError

SCHEDULE = NoiseSchedule(levels=6)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "nuts"}, "unknown sampler 'nuts'"),
        ({"scaling": "betas"}, "did you mean beta"),
        ({"variance": "none"}, "unknown variance"),
        ({"step_size": 0.0}, "step_size is 0.0"),
        ({"step_size": float("nan")}, "step_size is nan"),
        ({"mass": -1.0}, "mass is -1.0"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"leapfrog_steps": 0}, "leapfrog_steps is 0"),
        ({"damping": 1.0}, "damping is 1.0"),
        ({"lowest_level": -1}, "lowest_level is -1"),
        ({"lowest_level": 5, "highest_level": 4}, "highest_level is 4"),
        ({"final_steps": -1}, "final_steps is -1"),
        ({"target_acceptance": 1.0}, "target_acceptance is 1.0"),
        ({"kind": "uhmc", "target_acceptance": 0.6}, "'uhmc' has no Metropolis test"),
        ({"eta": 2.0}, "eta is 2.0"),
        ({"bound": 0.0}, "bound is 0.0"),
        ({"resample": 0.5}, "weighted is False"),
        ({"resample": 1.5, "weighted": True}, "resample is 1.5"),
        ({"weighted": True, "reverse_between": True}, "a reverse step keeps none"),
        ({"weighted": True, "kind": "ula"}, "'ula' does not"),
        ({"kind": "ddim", "reverse_between": True}, "'ddim' is the reverse step already"),
    ],
)
def test_settings_that_are_none(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        SamplerConfig(**settings)


def test_levels_and_steps() -> None:
    plain = SamplerConfig(steps=4, final_steps=3)
    assert plain.levels(SCHEDULE).tolist() == [5, 4, 3, 2, 1, 0]
    assert plain.steps_at(SCHEDULE).tolist() == [4, 4, 4, 4, 4, 7]
    part = SamplerConfig(steps=4, lowest_level=2, highest_level=3)
    assert part.levels(SCHEDULE).tolist() == [3, 2]
    mixed = SamplerConfig(steps=4, lowest_level=2, highest_level=3, reverse_between=True)
    assert mixed.levels(SCHEDULE).tolist() == [5, 4, 3, 2, 1, 0]
    assert mixed.steps_at(SCHEDULE).tolist() == [0, 0, 4, 4, 0, 0]
    assert SamplerConfig(kind="reverse").steps_at(SCHEDULE).tolist() == [0] * 6
    with pytest.raises(UserError, match="levels 0 to 6, and the schedule has 0 to 5"):
        SamplerConfig(highest_level=6).levels(SCHEDULE)


def test_step_sizes() -> None:
    sizes = {scaling: SamplerConfig(step_size=0.1, scaling=scaling) for scaling in ("constant", "beta", "noise")}
    assert sizes["constant"].step_sizes(SCHEDULE).tolist() == [0.1] * 6
    np.testing.assert_allclose(sizes["beta"].step_sizes(SCHEDULE), 0.1 * SCHEDULE.betas_T)
    squared = SamplerConfig(step_size=0.01, scaling="noise_variance").step_sizes(SCHEDULE)
    np.testing.assert_allclose(sizes["noise"].step_sizes(SCHEDULE) ** 2, squared)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluations_are_those_that_are_made(kind: str) -> None:
    asked = []

    def score(x: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
        jax.debug.callback(lambda _: asked.append(1), x)
        return -x

    def log_density(x: jax.Array, level: jax.typing.ArrayLike) -> jax.Array:
        jax.debug.callback(lambda _: asked.append(1), x)
        return -jnp.sum(x**2) / 2

    tested = kind in ("mala", "hmc")
    config = SamplerConfig(
        kind=kind,  # pyright: ignore[reportArgumentType]
        steps=2,
        lowest_level=2,
        final_steps=1,
        reverse_between=kind == "uhmc",
        target_acceptance=0.6 if tested else None,
    )
    density = of_log_density(log_density, (2,), SCHEDULE) if tested else of_score(score, (2,), SCHEDULE)
    jax.block_until_ready(sample(jax.random.key(0), density, config, 1))
    jax.effects_barrier()
    assert len(asked) == config.evaluations(SCHEDULE)
    # 4 or 6 levels' first scores; 2 steps at each of 4, one more, of 1 or 3 leapfrogs; 50 + 5 + 5 + 5 to adapt
    known = {"reverse": 6, "ddim": 6, "ula": 4 + 9, "uhmc": 6 + 27, "mala": 4 + 9 + 65, "hmc": 4 + 27 + 195}
    assert len(asked) == known[kind]
