"""What a parameterization does to each parameter of a network at one width: four numbers a parameter."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import jax

from models.parameterization.exponents import ROLES, Exponents, exponents, power, shifted
from shammie.errors import UserError, unknown

ALL_ROLES = (*ROLES, "vector", "fixed")
# How a network's own first values shrink with its width where nothing else is said: Standard's b, which is what Flax's
# Dense layers draw. (Its nn.Embed and our DecoderLM draw embeddings of n^-1/2.)
OWN_B = {"embedding": Fraction(0), "hidden": Fraction(1, 2), "readout": Fraction(1, 2)}


@dataclass(frozen=True)
class ParameterizationConfig:
    """A parameterization with the optimizer and alignment that its learning rates are for.

    Attributes:
        name: one of PARAMETERIZATIONS.
        optimizer: one of OPTIMIZERS, or one that scales as they do.
        alignment: "full" or "none".
        base_width: n is width / base_width, so at the base width everything is as without a parameterization. Learning
            rates tuned there stay right at any width.
        per_layer: whether learning rates follow c; without, all layers have the one rate, whose best value moves.
        epsilon: "constant", or "per_layer": n^-gradient times the optimizer's, so that it weighs alike at any width.
        rates: constants that learning rates are multiplied by, of (embedding, hidden, readout).
        readout_first: see `models.parameterization.exponents.exponents`.
    """

    name: str = "standard"
    optimizer: str = "adam"
    alignment: str = "full"
    base_width: int = 1
    per_layer: bool = True
    epsilon: Literal["constant", "per_layer"] = "constant"
    rates: Sequence[float] = (1.0, 1.0, 1.0)
    readout_first: bool = False

    def __post_init__(self) -> None:
        self.exponents()
        if self.epsilon not in ("constant", "per_layer"):
            raise unknown("epsilon scaling", self.epsilon, ("constant", "per_layer"))
        if self.base_width < 1:
            raise UserError(f"base_width is {self.base_width}", "give a width of at least 1")
        if len(self.rates) != len(ROLES) or not all(rate > 0 for rate in self.rates):
            raise UserError(f"rates is {self.rates!r}", f"give {len(ROLES)} numbers above 0: {', '.join(ROLES)}")
        object.__setattr__(self, "rates", tuple(float(rate) for rate in self.rates))  # JSON gives lists

    def exponents(self) -> dict[str, Exponents]:
        """Exponents of ROLES, and of two kinds of parameter that are kept as they are but for their learning rate.

        "vector": one number a unit, such as biases and norms' scales; it learns as an embedding with a = 0 does.
        "fixed": no axis grows with the width, such as the bias of the logits; its gradient is constant, and its
        learning rate too.
        """
        found = exponents(self.name, self.optimizer, self.alignment, readout_first=self.readout_first)
        vector = shifted(found["embedding"], self.optimizer, -found["embedding"].a)
        zero = Fraction(0)
        return {**found, "vector": vector, "fixed": Exponents(zero, zero, zero, zero)}


class Scales(NamedTuple):
    """Numbers that apply to each parameter; pytrees of Python floats in the parameters' structure.

    Attributes:
        init: what the network's own first values are multiplied by.
        multiplier: what a parameter is multiplied by where the network uses it.
        learning_rate: what its learning rate is multiplied by.
        epsilon: what its optimizer's epsilon is multiplied by.
    """

    init: Any
    multiplier: Any
    learning_rate: Any
    epsilon: Any


def scales_of(config: ParameterizationConfig, roles: Any, width: int, *, own: Any = None) -> Scales:
    """The numbers of each parameter at one width.

    First values are the network's own times n^(own - b): a network whose own values shrink as n^-own then has values
    that shrink as n^-b, and at the base width they are its own. Where n is a power of 4 all numbers are powers of 2,
    so that equivalent parameterizations agree bit for bit.

    Args:
        config: the parameterization.
        roles: a pytree of names, each one of ALL_ROLES, as `models.parameterization.roles.roles_of` returns.
        width: of the network.
        own: a pytree of Fractions like `roles`, how the network's own first values shrink
            (`models.parameterization.roles.own_exponents`); None where it draws by fan-in (OWN_B).

    Raises:
        UserError: for an unknown role, or a width below 1.
    """
    if width < 1:
        raise UserError(f"the width is {width}", "give one of at least 1")
    n = Fraction(width, config.base_width)
    by_role = config.exponents()
    constants = {**dict(zip(ROLES, config.rates, strict=True)), "vector": config.rates[0], "fixed": 1.0}

    def init(role: str, own_b: Fraction | None = None) -> float:
        if role not in ALL_ROLES:
            raise unknown("role", role, ALL_ROLES)
        if role not in ROLES:
            return 1.0
        return power(n, (OWN_B[role] if own_b is None else own_b) - by_role[role].b)

    return Scales(
        init=jax.tree.map(init, roles) if own is None else jax.tree.map(init, roles, own),
        multiplier=jax.tree.map(lambda role: power(n, -by_role[role].a) if role in ROLES else 1.0, roles),
        learning_rate=jax.tree.map(
            lambda role: constants[role] * (power(n, -by_role[role].c) if config.per_layer else 1.0), roles
        ),
        epsilon=jax.tree.map(
            lambda role: power(n, -by_role[role].gradient) if config.epsilon == "per_layer" else 1.0, roles
        ),
    )
