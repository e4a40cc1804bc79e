"""A learning rate and an epsilon of its own for each parameter."""

from typing import Any

import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.parameterization.scaling import ParameterizationConfig, Scales, scales_of
from models.training import OptimizerConfig, exponents_name, optimizer_of
from shammie.configs import plain
from shammie.errors import UserError

PLAIN: dict[str, Any] = {"learning_rate": 0.1, "factors": "constant", "weight_decay": 0.0, "clip_norm": 0.0}
PARAMS = {"a": jnp.full((3, 4), 2.0), "b": jnp.full((5,), -1.0)}
ONES = {"a": 1.0, "b": 1.0}
NAMES = ("sgd", "adam", "adamw", "adam_atan2", "adafactor")


def config(name: str, **settings: Any) -> OptimizerConfig:
    return OptimizerConfig(name, **{**PLAIN, **settings})  # pyright: ignore[reportArgumentType]


def scales(*, learning_rate: Any = ONES, epsilon: Any = ONES) -> Scales:
    return Scales(init=ONES, multiplier=ONES, learning_rate=learning_rate, epsilon=epsilon)


def steps(optimizer: Any, gradients: list[Any], params: Any = PARAMS) -> Any:
    state, updates = optimizer.init(params), None
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
    return updates


def draws(count: int = 3, size: float = 1.0) -> list[Any]:
    keys = jax.random.split(jax.random.key(0), count)
    return [jax.tree.map(lambda x, key=key: size * jax.random.normal(key, x.shape), PARAMS) for key in keys]


@pytest.mark.parametrize("name", NAMES)
def test_scales_of_one_change_no_bit_and_no_state(name: str) -> None:
    plain, scaled = optimizer_of(config(name), 10), optimizer_of(config(name), 10, scales())
    assert jax.tree.structure(plain.init(PARAMS)) == jax.tree.structure(scaled.init(PARAMS))
    for a, b in zip(jax.tree.leaves(steps(plain, draws())), jax.tree.leaves(steps(scaled, draws())), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_has_its_rate_and_its_decay_goes_by_it(name: str) -> None:
    rates = {"a": 0.25, "b": 8.0}
    decay = 0.0 if name == "adam" else 0.5
    given = config(name, weight_decay=decay)
    plain = steps(optimizer_of(given, 10), draws())
    found = steps(optimizer_of(given, 10, scales(learning_rate=rates)), draws())
    for key, rate in rates.items():
        np.testing.assert_allclose(found[key], rate * plain[key], rtol=1e-6)
    zeros = [jax.tree.map(jnp.zeros_like, PARAMS)]
    alone = steps(optimizer_of(given, 10, scales(learning_rate=rates)), zeros)
    for key, rate in rates.items():
        np.testing.assert_allclose(alone[key], -0.1 * rate * decay * PARAMS[key], rtol=1e-6)


def test_the_epsilon_of_a_parameter_is_adams_own_times_its_scale() -> None:
    gradient = {"a": jnp.full((3, 4), 1e-4), "b": jnp.full((5,), 1e-6)}
    eps = {"a": 2.0**-5, "b": 2.0**-12}
    found = steps(optimizer_of(config("adam", eps=1e-3), 10, scales(epsilon=eps)), [gradient])
    for key, scale in eps.items():
        g = np.asarray(gradient[key])
        np.testing.assert_allclose(found[key], -0.1 * g / (g + 1e-3 * scale), rtol=1e-5)


@pytest.mark.parametrize("name", ["sgd", "adam_atan2"])
def test_optimizers_without_an_epsilon_see_the_gradients_as_they_are(name: str) -> None:
    plain = steps(optimizer_of(config(name), 10), draws())
    found = steps(optimizer_of(config(name), 10, scales(epsilon={"a": 1 / 3, "b": 0.1})), draws())
    for key in PARAMS:
        np.testing.assert_array_equal(found[key], plain[key])


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_with_an_epsilon_per_layer_a_step_does_not_depend_on_the_width(name: str) -> None:
    """Gradients shrink as n^-gradient; a constant epsilon takes over as they do, one that shrinks too does not."""
    roles = {"embedding": "embedding", "hidden": "hidden", "readout": "readout"}
    for parameterization, second in (("standard", 1 / 5), ("mean_field", 1 / 17)):
        found: dict[str, list[float]] = {"constant": [], "per_layer": []}
        for width in (16, 256, 4096):
            for epsilon, sizes in found.items():
                assert epsilon in ("constant", "per_layer")
                shaped = ParameterizationConfig(
                    parameterization, "adam", base_width=16, per_layer=False, epsilon=epsilon
                )
                n = width / 16
                gradient = {
                    role: jnp.full(4, 1e-3 * n ** -float(e.gradient))
                    for role, e in shaped.exponents().items()
                    if role in roles
                }
                optimizer = optimizer_of(config(name, eps=1e-3), 10, scales_of(shaped, roles, width))
                updates = steps(optimizer, [gradient], gradient)
                sizes.append(-float(updates["embedding"][0]) / 0.1)
        np.testing.assert_allclose(found["per_layer"], 0.5, rtol=1e-5)
        assert found["constant"][0] == pytest.approx(0.5, rel=1e-5)
        # n = 16 shrinks the embedding's gradient 4 times under Standard, 16 times under Mean-field
        assert found["constant"][1] == pytest.approx(second, rel=1e-4)
        assert found["constant"][2] < second / 3


def test_parameter_scaled_adafactor_moves_by_the_parameters_size() -> None:
    """A first step's normalised gradient is 1 in size: lr * RMS(param), at least 1e-3, times the parameter's scale."""
    gradient = {"a": jnp.full((3, 4), 7.0), "b": jnp.full((5,), -0.01)}
    params = {"a": jnp.full((3, 4), 2.0), "b": jnp.full((5,), 1e-9)}
    rates = {"a": 0.5, "b": 4.0}
    found = steps(optimizer_of(config("adafactor"), 10, scales(learning_rate=rates)), [gradient], params)
    np.testing.assert_allclose(found["a"], -0.1 * 0.5 * 2.0, rtol=1e-5)
    np.testing.assert_allclose(found["b"], 0.1 * 4.0 * 1e-3, rtol=1e-5)
    for factor in (0.25, 16.0):
        grown = {"a": params["a"] * factor, "b": params["b"]}
        of_grown = steps(optimizer_of(config("adafactor"), 10), [gradient], grown)
        np.testing.assert_allclose(of_grown["a"], -0.1 * 2.0 * factor, rtol=1e-5)
        unscaled = steps(optimizer_of(config("adafactor", parameter_scale=False), 10), [gradient], grown)
        np.testing.assert_allclose(unscaled["a"], -0.1, rtol=1e-5)


def test_an_epsilon_of_zero_is_none_and_leaves_a_parameter_without_gradient() -> None:
    gradient = {"a": jnp.full((3, 4), 1e-15), "b": jnp.zeros(5)}
    found = steps(optimizer_of(config("adam", eps=0.0), 10), [gradient])
    np.testing.assert_allclose(found["a"], -0.1, rtol=1e-6)
    np.testing.assert_array_equal(found["b"], 0.0)


def test_sgds_momentum_is_a_decaying_sum() -> None:
    gradient = [jax.tree.map(jnp.ones_like, PARAMS)] * 3
    found = steps(optimizer_of(config("sgd", momentum=0.5), 10), gradient)
    np.testing.assert_allclose(found["a"], -0.1 * 1.75, rtol=1e-6)
    plain = steps(optimizer_of(config("sgd"), 10), draws())
    np.testing.assert_allclose(plain["b"], -0.1 * draws()[-1]["b"], rtol=1e-6)


def test_frozen_parameters_are_the_same_parameters() -> None:
    optimizer = optimizer_of(config("adam"), 10, scales(learning_rate={"a": 0.5, "b": 2.0}, epsilon={"a": 3.0, "b": 1}))
    frozen = steps(optimizer, list(map(flax.core.freeze, draws())), flax.core.freeze(PARAMS))
    for key, expected in steps(optimizer, draws()).items():
        np.testing.assert_array_equal(frozen[key], expected)


def test_scales_of_another_network_are_refused() -> None:
    optimizer = optimizer_of(config("adam"), 10, scales(learning_rate={"a": 1.0}))
    with pytest.raises(UserError, match="scales of 1 parameters are given to a network that has 2; make the scales"):
        steps(optimizer, draws())


def test_whose_exponents_an_optimizer_has() -> None:
    assert {name: exponents_name(config(name)) for name in NAMES} == {
        "sgd": "sgd", "adam": "adam", "adamw": "adam", "adam_atan2": "adam", "adafactor": "adafactor",
    }  # fmt: skip
    assert exponents_name(config("adafactor", parameter_scale=False)) == "adam"
    # the reason: a step that does not follow the parameters' size follows neither, whatever the gradient's
    small = [jax.tree.map(lambda g: 1e-3 * g, draws(1)[0])]
    for name in NAMES[1:]:
        few = steps(optimizer_of(config(name, eps=0.0), 10), small)
        np.testing.assert_allclose(few["a"], steps(optimizer_of(config(name, eps=0.0), 10), draws(1))["a"], rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eps": -1e-8}, r"OptimizerConfig.eps is -1e-08; give 0 or a small number such as 1e-8"),
        ({"momentum": 1.0}, r"OptimizerConfig.momentum is 1.0; give 0 or a number below 1"),
        ({"atan2_a": 0.0}, r"OptimizerConfig.atan2_a is 0.0; give a number above 0"),
        ({"atan2_b": float("nan")}, r"OptimizerConfig.atan2_b is nan; give a number above 0"),
    ],
)
def test_numbers_that_cannot_be_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        OptimizerConfig(**settings)  # pyright: ignore[reportArgumentType]


def test_later_fields_leave_the_identity_of_older_runs_alone() -> None:
    assert plain(OptimizerConfig()) == {
        "name": "adamw", "learning_rate": 1e-3, "factors": "constant * linear_warmup * cosine_decay",
        "warmup_steps": 100, "steps_per_cycle": None, "decay_factor": 0.5, "steps_per_decay": 20000,
        "min_learning_rate": 1e-8, "b1": 0.9, "b2": 0.98, "weight_decay": 0.01, "clip_norm": 1.0,
    }  # fmt: skip
    changed = OptimizerConfig(eps=1e-9, parameter_scale=False)
    assert OptimizerConfig(**plain(changed)) == changed
    assert plain(changed).keys() - plain(OptimizerConfig()).keys() == {"eps", "parameter_scale"}


def test_adafactor_factors_from_a_size_on() -> None:
    matrix = {"w": jnp.ones((8, 16))}

    def shapes(factor_from: int) -> set[tuple[int, ...]]:
        state: Any = optimizer_of(config("adafactor", factor_from=factor_from), 10).init(matrix)
        return {leaf.shape for leaf in jax.tree.leaves(state) if leaf.size > 1}

    assert shapes(8) == {(8,), (16,)}
    assert shapes(9) == {(8, 16)}
    with pytest.raises(UserError, match="factor_from is 0"):
        config("adafactor", factor_from=0)
