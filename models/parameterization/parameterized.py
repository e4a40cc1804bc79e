"""A Flax network under a parameterization: the same network, with other first values, multipliers and rates."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import optax

from models.parameterization.exponents import family_of
from models.parameterization.roles import Rules, own_exponents, roles_of
from models.parameterization.scaling import ParameterizationConfig, scales_of
from models.training.scaled import like, with_scales
from shammie.errors import UserError


class Parameterized:
    """A network under a parameterization (arXiv:2407.05872), used as the network itself is.

    Three lines on a model and an optimizer of one's own, with learning rates tuned at width 128 and used at 4096:

        p = shammie.Parameterized.of(lambda width: MyModel(width), x, width=4096, base_width=128, optimizer="adam")
        params = p.init(key, x)
        optimizer = p.optimizer(optax.adam, learning_rate=1e-3)

    and the loss calls `p.apply(params, x)`. At the base width all is as with the plain network and optimizer.

    Attributes:
        network: the plain network.
        config: the parameterization.
        roles: the role of each parameter, a pytree of names.
        own: how the network's own first values shrink with its width, a pytree of Fractions, or None for by fan-in.
        scales: what applies to each parameter, `models.parameterization.scaling.Scales`.
    """

    def __init__(
        self, network: nn.Module, config: ParameterizationConfig, *, width: int, roles: Any, own: Any = None
    ) -> None:
        """Wraps a network whose roles are known; `of` finds them.

        Args:
            network: at this width.
            config: the parameterization.
            width: its width.
            roles: a pytree of roles in the structure of its parameters.
            own: how its own first values shrink, a pytree of Fractions; None where it draws by fan-in.
        """
        self.network, self.config, self.roles, self.own = network, config, roles, own
        self.scales = scales_of(config, roles, width, own=own)

    @classmethod
    def of(
        cls,
        network_of: Callable[[int], nn.Module],
        *inputs: Any,
        width: int,
        base_width: int,
        parameterization: str = "standard",
        optimizer: str = "adam",
        alignment: str = "full",
        rules: Rules = (),
        widths: tuple[int, int] | None = None,
        **settings: Any,
    ) -> "Parameterized":
        """A network of one's own: roles are told from its shapes at two widths, its own first values from draws there.

        Args:
            network_of: makes the network of a width.
            *inputs: what its init and call take, arrays or ShapeDtypeStructs.
            width: to use it at.
            base_width: where its learning rate was, or will be, tuned.
            parameterization: one of PARAMETERIZATIONS.
            optimizer: what it is trained with: "sgd", "adam", "adafactor", or one that scales as they do ("adamw").
            alignment: "full" or "none".
            rules: (regular expression, role) pairs for parameters whose shapes do not tell, as in `roles_of`.
            widths: two small widths for telling, the second at least twice the first; None for the base width and
                twice it.
            **settings: further fields of ParameterizationConfig.

        Raises:
            UserError: for unknown names, or if roles or first values cannot be told.
        """
        config = ParameterizationConfig(parameterization, optimizer, alignment, base_width, **settings)
        small, large = widths or (base_width, 2 * base_width)

        def init(width: int, key: jax.Array, *inputs: Any) -> Any:
            return network_of(width).init(key, *inputs)["params"]

        key = jax.random.key(0)
        shapes = [jax.eval_shape(lambda *args, at=at: init(at, *args), key, *inputs) for at in (small, large)]
        roles = roles_of(*shapes, rules=rules)
        zeros = jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), inputs)
        own = own_exponents(lambda width, key: init(width, key, *zeros), roles, (small, large))
        return cls(network_of(width), config, width=width, roles=roles, own=own)

    def init(self, rngs: Any, *inputs: Any, **arguments: Any) -> dict[str, Any]:
        """The network's own first variables, parameters rescaled; takes what the network's init takes.

        Returns:
            {"params": ...}, and the network's other collections as they are.
        """
        variables = self.network.init(rngs, *inputs, **arguments)
        return {**variables, "params": _times(variables["params"], self.scales.init)}

    def apply(self, variables: Mapping[str, Any], *inputs: Any, **arguments: Any) -> Any:
        """What the network computes, each parameter times its multiplier; takes what the network's apply takes."""
        return self.network.apply({**variables, "params": self.folded(variables["params"])}, *inputs, **arguments)

    def folded(self, params: Any) -> Any:
        """The weights that the plain network computes the same with, for export.

        Args:
            params: the parameters, or {"params": the parameters}; also frozen.
        """
        return _times(params, self.scales.multiplier)

    def optimizer(
        self,
        factory: Callable[..., optax.GradientTransformation],
        *args: Any,
        scales_as: str | None = None,
        **settings: Any,
    ) -> optax.GradientTransformation:
        """An Optax optimizer with each parameter's own learning rate, weight decay and epsilon.

        A learning rate scales the finished update, decoupled weight decay with it. Epsilon is scaled from outside, by
        dividing gradients (`models.training.scaled.with_scales`): so clip them before this optimizer, not within it.

        Args:
            factory: such as optax.adam.
            *args: the factory's.
            scales_as: the optimizer whose exponents the factory's has; None where its name tells ("adamw").
            **settings: the factory's.

        Returns:
            The transformation, for the parameters or for {"params": the parameters}.

        Raises:
            UserError: for a factory whose exponents are not known, or are not those of the parameterization.
        """
        named = factory.func if isinstance(factory, functools.partial) else factory
        name = scales_as or getattr(named, "__name__", type(named).__name__)
        family = family_of(name)
        if family != family_of(self.config.optimizer):
            raise UserError(
                f"the optimizer {name!r} does not scale as {self.config.optimizer!r}, which the rates are for",
                f"make the network for it, Parameterized.of(..., optimizer={family!r}), or give another optimizer",
            )
        return with_scales(
            factory(*args, **settings),
            learning_rate=self.scales.learning_rate,
            epsilon=None if family == "sgd" else self.scales.epsilon,
        )


def _times(tree: Any, factors: Any) -> Any:
    """Each array times its number; untouched where that is 1."""
    return jax.tree.map(lambda x, factor: x if factor == 1.0 else x * factor, tree, like(tree, factors))
