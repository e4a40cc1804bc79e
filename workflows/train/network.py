"""The network of a run: the shared decoder, plain or under a parameterization (arXiv:2407.05872).

A run's parameters are those that its optimizer changes; a parameterization multiplies them where the network uses them.
Weights are what the plain decoder computes the same with: a model's file holds these, and whoever samples takes them.
"""

from typing import Any

import flax.core
import jax

from models.lm import DecoderLM, LMConfig
from models.parameterization.exponents import family_of
from models.parameterization.language_model import parameterized_lm
from models.parameterization.parameterized import Parameterized
from models.parameterization.scaling import ParameterizationConfig, Scales
from models.training import OptimizerConfig, exponents_name
from shammie.errors import UserError


def network_of(model: LMConfig, parameterization: ParameterizationConfig | None) -> Any:
    """The network, with `init` and `apply`: a `DecoderLM`, or a `Parameterized` around one."""
    return parameterized_lm(model, parameterization) if parameterization else DecoderLM(model)


def scales_of(network: Any) -> Scales | None:
    """What its optimizer scales each parameter's learning rate and epsilon by; None for nothing."""
    return network.scales if isinstance(network, Parameterized) else None


def weights_of(network: Any, params: Any) -> Any:
    """A run's parameters, which T5X freezes, as weights of the plain decoder."""
    return network.folded(flax.core.unfreeze(params)) if isinstance(network, Parameterized) else params


def params_of(network: Any, weights: Any) -> Any:
    """Weights of the plain decoder as a run's parameters; exact where multipliers are powers of 2."""
    scales = scales_of(network)
    return weights if scales is None else jax.tree.map(lambda x, factor: x / factor, weights, scales.multiplier)


def check_optimizer(parameterization: ParameterizationConfig, optimizer: OptimizerConfig) -> None:
    """Raises UserError where the learning rates of a parameterization are those for another optimizer."""
    named, has = parameterization.optimizer, exponents_name(optimizer)
    if family_of(named) != has:
        told = " without parameter_scale" if optimizer.name == "adafactor" and has == "adam" else ""
        raise UserError(
            f"parameterization.optimizer is {named!r}, but the run's is {optimizer.name!r}{told}",
            f"set parameterization.optimizer to {has!r}, whose exponents it has",
        )
