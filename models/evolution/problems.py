"""The problems that experiments name: by a word and plain options, as settings and as cells of a sweep."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import jax.numpy as jnp

from models.evolution import cart_pole, linear, lorenz, optimizer_training, pendulum, physics, quadratic
from models.evolution.unrolled import Key, Params, Unrolled
from shammie.errors import UserError, unknown


class Posed(NamedTuple):
    """A problem, and where learning starts.

    Attributes:
        problem: what is unrolled.
        first_theta: key -> parameters; those of most problems do not depend on the key.
    """

    problem: Unrolled
    first_theta: Callable[[Key], Params]


@dataclass(frozen=True)
class LinearConfig:
    """The linear losses of `linear.example_derivatives`; it has no settings."""


class _Kind(NamedTuple):
    config: type
    build: Callable[[Any], Posed]
    deterministic: bool  # all episodes under one theta are the same


def _posed(make: Callable[[Any], Unrolled], theta: Callable[[Any], Params]) -> Callable[[Any], Posed]:
    return lambda config: Posed(make(config), lambda key: theta(config))


_KINDS: dict[str, _Kind] = {
    "lorenz": _Kind(lorenz.LorenzConfig, _posed(lorenz.lorenz, lorenz.first_theta), True),
    "quadratic": _Kind(quadratic.QuadraticConfig, _posed(quadratic.quadratic, quadratic.first_rates), False),
    "linear": _Kind(
        LinearConfig,
        lambda config: Posed(linear.linear(linear.example_derivatives()), lambda key: jnp.array([0.3, -1.0, 2.0])),
        True,
    ),
    "pendulum": _Kind(pendulum.PendulumConfig, _posed(pendulum.pendulum, pendulum.first_policy), False),
    "cart_pole": _Kind(cart_pole.CartPoleConfig, _posed(cart_pole.cart_pole, cart_pole.first_policy), False),
    "optimizer": _Kind(
        optimizer_training.OptimizerTrainingConfig,
        lambda config: Posed(
            optimizer_training.optimizer_training(config),
            lambda key: optimizer_training.first_optimizer(config, key),
        ),
        False,
    ),
    "physics": _Kind(
        physics.PhysicsConfig,
        lambda config: Posed(physics.physics(config), lambda key: physics.first_policy(config, key)),
        False,
    ),
}

PROBLEMS = tuple(_KINDS)


def problem_config(name: str, options: Mapping[str, Any]) -> Any:
    """A problem's config.

    Args:
        name: one of PROBLEMS.
        options: values of its fields; lists become tuples.

    Raises:
        UserError: no problem or option is called so (the nearest are named), or an option's value is refused.
    """
    if name not in _KINDS:
        raise unknown("problem", name, PROBLEMS)
    config = _KINDS[name].config
    known = [one.name for one in fields(config)]
    for option in options:
        if option not in known:
            raise unknown(f"option of problem {name}", option, known)
    given = {option: tuple(value) if isinstance(value, list) else value for option, value in options.items()}
    try:
        return config(**given)
    except TypeError as error:
        raise UserError(f"problem {name} with {dict(options)}: {error}", "give values of the right kind") from error


def pose(name: str, options: Mapping[str, Any]) -> Posed:
    """The problem of a name; errors as in `problem_config`."""
    config = problem_config(name, options)
    return _KINDS[name].build(config)


def horizon_of(name: str, options: Mapping[str, Any]) -> int:
    """T of a problem, without building it; errors as in `problem_config`."""
    config = problem_config(name, options)
    horizon = getattr(config, "horizon", len(linear.example_derivatives()))
    if not isinstance(horizon, int) or horizon < 1:
        raise UserError(f"the horizon of problem {name} is {horizon!r}", "give a whole number of at least 1")
    return horizon


def is_deterministic(name: str) -> bool:
    """Whether all episodes of a problem under one theta are the same, so that one says what its loss is."""
    if name not in _KINDS:
        raise unknown("problem", name, PROBLEMS)
    return _KINDS[name].deterministic
