"""The last layer of a learned optimizer's network: made small to begin with, or silenced to see what is left."""

from models.learned_optimizers.interface import LearnedOptimizer, Theta
from shammie.errors import UserError


def last_layer_scaled(optimizer: LearnedOptimizer, theta: Theta, scale: float) -> Theta:
    """Theta with its network's last layer times a number; at 0 the network says nothing, and STAR is its nominal term.

    Raises:
        UserError: the optimizer's theta is not one small network (VeLO's).
    """
    if scale == 1:
        return theta
    network = theta.get("network", theta)
    last = sum(name[0] == "w" and name[1:].isdigit() for name in network) - 1
    if last < 0:
        raise UserError(
            f"last_layer_scale is {scale} for {optimizer.name}",
            "leave it at 1: this optimizer has no single network whose last layer it could be",
        )
    scaled = {**network, f"w{last}": network[f"w{last}"] * scale, f"b{last}": network[f"b{last}"] * scale}
    return {**theta, "network": scaled} if "network" in theta else scaled
