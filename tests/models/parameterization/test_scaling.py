"""What applies to each parameter, on trees whose roles are known."""

import dataclasses
import json
from fractions import Fraction

import jax
import pytest

from models.parameterization import OPTIMIZERS, PARAMETERIZATIONS, ROLES, exponents
from models.parameterization.scaling import ParameterizationConfig, scales_of
from shammie.errors import UserError

TREE = {"in": "embedding", "deep": {"w": "hidden", "norm": "vector"}, "out": "readout", "out_bias": "fixed"}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_numbers_follow_the_exponents(name: str, optimizer: str) -> None:
    """16 times the base width, where roots are whole; the plain Python powers of the closed form."""
    config = ParameterizationConfig(name, optimizer, base_width=8, epsilon="per_layer", rates=(2.0, 3.0, 5.0))
    scales = scales_of(config, TREE, 128)
    own = {"embedding": 0.0, "hidden": 0.5, "readout": 0.5}
    for role, rate in zip(ROLES, (2.0, 3.0, 5.0), strict=True):
        at = {"embedding": lambda t: t["in"], "hidden": lambda t: t["deep"]["w"], "readout": lambda t: t["out"]}[role]
        e = exponents(name, optimizer)[role]
        assert at(scales.init) == 16.0 ** (own[role] - float(e.b))
        assert at(scales.multiplier) == 16.0 ** -float(e.a)
        assert at(scales.learning_rate) == rate * 16.0 ** -float(e.c)
        assert at(scales.epsilon) == 16.0 ** -float(e.gradient)
    for tree in (scales.init, scales.multiplier):
        assert tree["deep"]["norm"] == tree["out_bias"] == 1.0
    assert scales.learning_rate["out_bias"] == scales.epsilon["out_bias"] == 1.0


def test_vectors_learn_as_an_embedding_with_a_0() -> None:
    """Biases of hidden layers: their gradients are n^-1/2 (Standard, NTK) or n^-1 (muP, mean-field) for SGD."""
    for name, sgd in (("standard", 4.0), ("ntk", 4.0), ("mup", 16.0), ("mean_field", 16.0)):
        for optimizer, rate in (("sgd", sgd), ("adam", 1.0), ("adafactor", 1.0)):
            scales = scales_of(ParameterizationConfig(name, optimizer, epsilon="per_layer"), TREE, 16)
            assert scales.learning_rate["deep"]["norm"] == rate
            assert scales.epsilon["deep"]["norm"] == 1 / sgd


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_at_the_base_width_nothing_changes(name: str) -> None:
    scales = scales_of(ParameterizationConfig(name, "adam", base_width=48, epsilon="per_layer"), TREE, 48)
    assert set(jax.tree.leaves(scales)) == {1.0}
    below = scales_of(ParameterizationConfig(name, "adam", base_width=64), TREE, 16)
    assert below.learning_rate["deep"]["w"] == 4.0 ** float(exponents(name, "adam")["hidden"].c)


def test_one_global_rate_has_no_c() -> None:
    for name in PARAMETERIZATIONS:
        scales = scales_of(ParameterizationConfig(name, "adam", per_layer=False), TREE, 256)
        assert set(jax.tree.leaves(scales.learning_rate)) == {1.0}
        per_layer = scales_of(ParameterizationConfig(name, "adam"), TREE, 256)
        assert (scales.init, scales.multiplier) == (per_layer.init, per_layer.multiplier)
        assert set(jax.tree.leaves(per_layer.learning_rate)) != {1.0}


def test_a_networks_own_first_values_are_made_up_for() -> None:
    """An embedding drawn as n^-1/2 is drawn 4 times larger at n = 16 under Standard, and as it is under muP."""
    own = {**jax.tree.map(lambda _: Fraction(1, 2), TREE)}
    for name, embedding in (("standard", 4.0), ("ntk", 4.0), ("mup", 1.0), ("mean_field", 4.0)):
        assert scales_of(ParameterizationConfig(name), TREE, 16, own=own).init["in"] == embedding


def test_configs_travel_as_json() -> None:
    config = ParameterizationConfig("ntk", "sgd", rates=(1.0, 2.0, 0.5))
    told = json.loads(json.dumps(dataclasses.asdict(config)))
    assert ParameterizationConfig(**told) == config
    assert hash(ParameterizationConfig(**told)) == hash(config)


def test_bad_configs() -> None:
    with pytest.raises(UserError, match=r"unknown parameterization 'mupp'; did you mean mup"):
        ParameterizationConfig("mupp")
    with pytest.raises(UserError, match=r"unknown optimizer 'shampoo'.*give the one that yours scales as"):
        ParameterizationConfig(optimizer="shampoo")
    with pytest.raises(UserError, match="unknown epsilon scaling 'layer'"):
        ParameterizationConfig(epsilon="layer")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="base_width is 0"):
        ParameterizationConfig(base_width=0)
    with pytest.raises(UserError, match=r"rates is \(1.0, 0.0, 1.0\); give 3 numbers above 0"):
        ParameterizationConfig(rates=(1.0, 0.0, 1.0))
    with pytest.raises(UserError, match="unknown role 'readouts'; did you mean readout"):
        scales_of(ParameterizationConfig(), {"w": "readouts"}, 4)
    with pytest.raises(UserError, match="the width is 0"):
        scales_of(ParameterizationConfig(), TREE, 0)
