"""What all learned optimizers share as Optax transformations: losses, dtypes, odd parameters, bad numbers."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.learned_optimizers.grouping import STACKED_SIZE, groups_of
from models.learned_optimizers.interface import LearnedOptimizer
from models.learned_optimizers.mlp import MLPConfig, mlp
from models.learned_optimizers.star import adafactor_mlp, star
from models.learned_optimizers.velo import VeloConfig, velo
from shammie.errors import UserError

VELO = velo(VeloConfig(lstm_size=8, bank_size=6))
SLOW = pytest.mark.slow
ALL = [VELO, star(), adafactor_mlp(), mlp(MLPConfig(hidden_size=4))]


def _theta(optimizer: LearnedOptimizer) -> Any:
    theta = optimizer.init_theta(jax.random.key(0))
    if optimizer.name == "velo":
        theta["network"]["mixture"] = jax.tree.map(lambda x: 0.1 * x, theta["network"]["mixture"])
        theta["bank"]["b2"] = theta["bank"]["b2"] + 0.1
    return theta


def _params() -> dict[str, jax.Array]:
    """Two tensors of one shape and one axis: a program for each shape takes a second to compile."""
    return {"w": jax.random.normal(jax.random.key(1), (4,)), "b": jnp.ones(4)}


def _grads(t: int = 0) -> dict[str, jax.Array]:
    return {"w": jax.random.normal(jax.random.key(10 + t), (4,)), "b": jnp.ones(4) * t}


@pytest.mark.parametrize("optimizer", [pytest.param(x, id=x.name, marks=SLOW if x in ALL[2:] else ()) for x in ALL])
def test_jit_is_no_jit_and_dtypes_stay(optimizer: LearnedOptimizer) -> None:
    transformation = optimizer.optax(_theta(optimizer), 10)
    params = {**_params(), "h": jnp.ones(4, jnp.bfloat16), "s": jnp.float32(0.5)}
    grads = {**_grads(), "h": jnp.ones(4, jnp.bfloat16), "s": jnp.float32(1)}
    state = transformation.init(params)
    loose, after = transformation.update(grads, state, params, value=1.0)
    # donated: no two places of the state may be one buffer
    tight, jitted = jax.jit(transformation.update, donate_argnums=1)(grads, state, params, value=1.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), (loose, after), (tight, jitted))
    assert jax.tree.map(lambda x: x.dtype, loose) == jax.tree.map(lambda x: x.dtype, params)
    shapes = jax.eval_shape(transformation.init, params)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), after, shapes))
    assert after.step == 1
    assert float(jnp.abs(loose["w"]).max()) > 0


@pytest.mark.parametrize("optimizer", [VELO, star()], ids=["velo", "star"])
def test_odd_parameters_are_left_alone(optimizer: LearnedOptimizer) -> None:
    theta = _theta(optimizer)
    odd = {"steps": jnp.arange(3), "none": jnp.zeros((0, 4)), "flag": jnp.array(True)}
    params: dict[str, Any] = {**_params(), **odd}
    grads: dict[str, Any] = {**_grads(), "steps": jnp.zeros(3), "none": jnp.zeros((0, 4))}
    grads["flag"] = np.zeros((), jax.dtypes.float0)  # what jax.grad gives for what is no float
    both = optimizer.optax(theta, 10)
    updates, state = both.update(grads, both.init(params), params, value=1.0)
    alone = optimizer.optax(theta, 10)
    wanted, _ = alone.update(_grads(), alone.init(_params()), _params(), value=1.0)
    for name in ("w", "b"):
        np.testing.assert_array_equal(updates[name], wanted[name])
    moved: Any = optax.apply_updates(params, updates)
    for name, value in odd.items():
        np.testing.assert_array_equal(moved[name], value)
        assert moved[name].dtype == value.dtype
    only: dict[str, Any] = {"steps": jnp.arange(3)}
    updates, state = both.update(only, both.init(only), only, value=1.0)
    assert state.step == 1
    np.testing.assert_array_equal(updates["steps"], 0)
    with pytest.raises(UserError, match="complex"):
        both.init({"w": jnp.ones(3, jnp.complex64)})


def test_value_and_loss_are_one_and_a_chain_passes_them() -> None:
    theta, params = _theta(VELO), _params()
    a = VELO.optax(theta, 10)
    b: Any = optax.chain(optax.clip_by_global_norm(1e9), VELO.optax(theta, 10))
    state_a, state_b, state_c = a.init(params), b.init(params), a.init(params)
    for t in range(4):
        loss = 3.0 - t
        x, state_a = a.update(_grads(t), state_a, params, value=loss)
        y, state_b = b.update(_grads(t), state_b, params, value=loss)
        z, state_c = a.update(_grads(t), state_c, params, loss=jnp.array([loss]))
        for other in (y, z):
            jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, rtol=1e-5, atol=1e-9), x, other)
    assert float(state_a.memory.losses.means[0]) > 0


def test_a_missing_loss_is_told_once_and_clearly() -> None:
    theta, params = _theta(VELO), _params()
    strict = VELO.optax(theta, 10)
    with pytest.raises(UserError, match=r"no loss; call update\(grads, state, params, value=loss\)"):
        strict.update(_grads(), strict.init(params), params)
    lenient = VELO.optax(theta, 10, missing_loss="ignore")
    updates, state = None, lenient.init(params)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for t in range(3):
            updates, state = lenient.update(_grads(t), state, params)
    assert ["without the loss" in str(warning.message) for warning in told] == [True]
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(updates))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = star().optax(_theta(star()), 10)
        other.update(_grads(), other.init(params), params)  # STAR does not read it
    with pytest.raises(UserError, match="'maybe'"):
        VELO.optax(theta, 10, missing_loss="maybe")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_what_is_not_finite_is_skipped_and_counted(bad: float, where: str) -> None:
    transformation = VELO.optax(_theta(VELO), 10, skip_nonfinite=True)
    params, state = _params(), None
    state = transformation.init(params)
    _, state = transformation.update(_grads(0), state, params, value=1.0)
    grads, loss = _grads(1), 1.0
    if where == "gradient":
        grads["w"] = grads["w"].at[2].set(bad)
    else:
        loss = bad
    updates, after = transformation.update(grads, state, params, value=loss)
    jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0), updates)
    assert (after.step, after.skipped) == (1, 1)
    jax.tree.map(np.testing.assert_array_equal, after._replace(skipped=state.skipped), state)
    updates, after = transformation.update(_grads(2), after, params, value=1.0)
    assert (after.step, after.skipped) == (2, 1)
    assert float(jnp.abs(updates["w"]).max()) > 0


def test_what_is_wrong_is_told() -> None:
    theta, params = _theta(VELO), _params()
    transformation = VELO.optax(theta, 10)
    state = transformation.init(params)
    with pytest.raises(UserError, match="no parameters"):
        transformation.update(_grads(), state, value=1.0)
    with pytest.raises(UserError, match=r"shape \(2,\)"):
        transformation.update(_grads(), state, params, value=jnp.ones(2))
    with pytest.raises(UserError, match="another structure"):
        transformation.update({"w": jnp.ones(4)}, state, params, value=1.0)
    with pytest.raises(UserError, match=r"gradient of shape \(6,\)"):
        transformation.update({**_grads(), "w": jnp.ones(6)}, state, params, value=1.0)
    with pytest.raises(UserError, match="loss is 'much'; give the mean loss"):
        transformation.update(_grads(), state, params, value="much")
    with pytest.raises(UserError, match="max_steps is 0"):
        VELO.optax(theta, 10, max_steps=0)
    for length in (0, -3, 2.5, None, "many", float("inf")):
        with pytest.raises(UserError, match="num_steps is"):
            VELO.optax(theta, length)


def test_longer_runs_average_gradients_and_losses() -> None:
    """25 calls of at most 10 updates: every third call updates, with means, and a run of 8 is what VeLO is told."""
    theta, params = _theta(VELO), _params()
    long, short = VELO.optax(theta, 25, max_steps=10), VELO.optax(theta, 8)
    update = jax.jit(long.update)
    state, wanted_state = long.init(params), short.init(params)
    for t in range(6):
        updates, state = update(_grads(t), state, params, value=jnp.full(1, float(t)))  # one number in any shape
        if t % 3 < 2:
            jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0), updates)
            continue
        mean = jax.tree.map(lambda *g: sum(g) / 3, *(_grads(i) for i in range(t - 2, t + 1)))
        wanted, wanted_state = short.update(mean, wanted_state, params, value=float(t - 1))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-8), updates, wanted)
        np.testing.assert_allclose(state.inner.memory.losses.means, wanted_state.memory.losses.means, rtol=1e-5)


def test_weight_decay_is_of_gradient_and_loss() -> None:
    theta, params = _theta(VELO), _params()
    decayed, plain = VELO.optax(theta, 10, weight_decay=0.1), VELO.optax(theta, 10)
    found, state = decayed.update(_grads(), decayed.init(params), params, value=1.0)
    grads = jax.tree.map(lambda g, p: g + 0.1 * p, _grads(), params)
    squares = sum(float(jnp.sum(p**2)) for p in params.values())
    wanted, wanted_state = plain.update(grads, plain.init(params), params, value=1.0 + 0.1 * squares)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8), (found, state), (wanted, wanted_state)
    )


def test_theta_can_be_vmapped_and_differentiated() -> None:
    optimizer, x = star(), jnp.linspace(0.5, 1.5, 4)
    thetas = jax.vmap(optimizer.init_theta)(jax.random.split(jax.random.key(0), 3))

    def after(theta: Any) -> jax.Array:
        transformation = optimizer.optax(theta, 5)
        updates, _ = transformation.update(2 * x, transformation.init(x), x)
        return jnp.sum((x + updates) ** 2)

    each, slopes = jax.vmap(jax.value_and_grad(after))(thetas)
    for i in range(3):
        np.testing.assert_allclose(each[i], after(jax.tree.map(lambda x, i=i: x[i], thetas)), rtol=1e-5)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(slopes))
    assert float(jnp.abs(slopes["network"]["b2"][:, 0]).min()) > 0


def test_the_run_s_length_can_be_traced() -> None:
    theta, params, grads = _theta(VELO), {"b": jnp.ones(4)}, {"b": jnp.linspace(-1, 1, 4)}

    def update(length: Any) -> Any:
        transformation = VELO.optax(theta, length)
        return transformation.update(grads, transformation.init(params), params, value=1.0)[0]["b"]

    both = jax.vmap(update)(jnp.array([5, 50]))
    np.testing.assert_allclose(both, jnp.stack([update(5), update(50)]), rtol=1e-4, atol=1e-8)


def test_tensors_of_one_shape_are_one_group_if_they_are_small() -> None:
    leaves = [jnp.ones((2, 3)), jnp.ones(()), jnp.ones((2, 3)), jnp.ones(()), jnp.ones((2, 3), jnp.bfloat16)]
    assert [group.members for group in groups_of(leaves)] == [(0, 2, 4), (1, 3)]
    assert [group.shape for group in groups_of(leaves)] == [(2, 3), (1,)]
    large = [jax.ShapeDtypeStruct((STACKED_SIZE + 1,), jnp.float32)] * 2
    assert [group.members for group in groups_of(large)] == [(0,), (1,)]  # pyright: ignore[reportArgumentType]
    theta, p, g = _theta(VELO), _normal(0), [_normal(i) for i in range(1, 4)]  # at step 1 they do not see each other
    together = VELO.optax(theta, 10)
    updates, _ = together.update(g, together.init([p, p, p]), [p, p, p], value=1.0)
    for i in range(3):
        alone = VELO.optax(theta, 10)
        wanted, _ = alone.update([g[i]], alone.init([p]), [p], value=1.0)
        np.testing.assert_allclose(updates[i], wanted[0], rtol=1e-4, atol=1e-8)


def _normal(seed: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (4,))
