import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.algebra import on_canvas, product, tapestry
from models.composition.density import Density, of_log_density, of_score
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError

SCHEDULE = NoiseSchedule(levels=5)
CORNERS = ((0, 0), (0, 2), (1, 1))


def energy(x: jax.Array, level: jax.typing.ArrayLike, case: jax.Array) -> jax.Array:
    return -jnp.sum(jnp.cos(x * case) * jnp.arange(6.0).reshape(2, 3))


def with_energy(case: jax.Array) -> Density:
    return of_log_density(lambda x, level: energy(x, level, case), (2, 3), SCHEDULE, "part")


def with_score(case: jax.Array) -> Density:
    return of_score(lambda x, level: jax.grad(energy)(x, level, case), (2, 3), SCHEDULE, "part")


@pytest.mark.parametrize("kind", [with_energy, with_score])
def test_a_tapestry_is_the_product_of_its_windows(kind) -> None:
    cases = jnp.asarray([0.5, 1.0, 2.0])
    x = jax.random.normal(jax.random.key(0), (3, 5))
    woven = tapestry(kind, (3, 5), (*CORNERS, (1, 0), (1, 2)), jnp.asarray([0.5, 1.0, 2.0, 3.0, 4.0]))
    parts = [kind(case) for case in (0.5, 1.0, 2.0, 3.0, 4.0)]
    wanted = product([on_canvas(p, (3, 5), c) for p, c in zip(parts, (*CORNERS, (1, 0), (1, 2)), strict=True)])
    np.testing.assert_allclose(woven.score(x, 0), wanted.score(x, 0), rtol=1e-5, atol=1e-5)
    assert woven.has_energy == wanted.has_energy == (kind is with_energy)
    if woven.has_energy:
        np.testing.assert_allclose(woven.log_density(x, 0), wanted.log_density(x, 0), rtol=1e-5)
    assert not np.allclose(woven.score(x, 0), kind(cases[0]).score(x[:2, :3], 0)[0, 0])


def test_windows_must_lie_in_the_canvas_and_cover_it() -> None:
    with pytest.raises(UserError, match=r"leave 2 of 15 numbers of a canvas of \(3, 5\)"):
        tapestry(with_energy, (3, 5), CORNERS, jnp.ones(3))
    with pytest.raises(UserError, match=r"at \(2, 0\) does not lie in a canvas"):
        tapestry(with_energy, (3, 5), [(2, 0)], jnp.ones(1))
