"""Learned optimizers as Optax transformations: what all of them share, around the rule of each."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from models.learned_optimizers.accumulators import Accumulators, Decays, Moments, empty_moments, next_moments
from models.learned_optimizers.every_k import every_k
from models.learned_optimizers.grouping import Group, gathered, groups_of, learned_leaves, scattered
from models.learned_optimizers.interface import Params, Theta
from models.learned_optimizers.packing import as_leaves, as_trees, gathered_moments, scattered_moments
from shammie.errors import UserError


class LearnedState(NamedTuple):
    """A learned optimizer's state.

    VeLO has 4 numbers per parameter (three momenta, one rms), 3 for each row and column, 2 * lstm_size for each tensor
    and 20 for the loss: 4.08 per parameter for a network of 784-128-10. STAR and the Adafactor-MLP have the first two
    only, 4.04; the MLP optimizer has 6 per parameter.

    Attributes:
        step: updates made, int32 [].
        skipped: updates left out because a gradient or the loss was not finite, int32 [].
        accumulators: averages of the gradients.
        memory: what else the rule remembers, or ().
    """

    step: jax.Array
    skipped: jax.Array
    accumulators: Accumulators
    memory: Any


class Now(NamedTuple):
    """What a rule is told besides the groups.

    Attributes:
        step: updates made before, int32 [].
        num_steps: updates in all, [].
        loss: float32 [], or None.
        shapes: of all learned tensors, in the order of the leaves.
    """

    step: jax.Array
    num_steps: jax.typing.ArrayLike
    loss: jax.Array | None
    shapes: Sequence[tuple[int, ...]]


class InGroup(NamedTuple):
    """What a rule sees of a group: parameters and gradients [G, *shape], and averages before and after the gradient."""

    group: Group
    p: jax.Array
    g: jax.Array
    before: Moments
    after: Moments


class Rule(NamedTuple):
    """What tells one learned optimizer from another.

    Attributes:
        name: for messages.
        counts: how many decays of each kind, as in `Decays`.
        decays: theta -> the decays.
        memory: (theta, tensors) -> what it remembers besides averages, before the first step.
        steps: (theta, groups, memory, now) -> what is added to each group's parameters, and the next memory.
        reads_loss: whether it needs the loss.
        clip: gradients are cut to this size before all else; None leaves them.
    """

    name: str
    counts: tuple[int, int, int]
    decays: Callable[[Theta], Decays]
    memory: Callable[[Theta, int], Any]
    steps: Callable[[Theta, Sequence[InGroup], Any, Now], tuple[list[jax.Array], Any]]
    reads_loss: bool = False
    clip: float | None = None


MissingLoss = Literal["raise", "ignore"]


def transformation(
    rule: Rule,
    theta: Theta,
    num_steps: jax.typing.ArrayLike,
    *,
    missing_loss: MissingLoss = "raise",
    skip_nonfinite: bool = False,
    weight_decay: float = 0.0,
    max_steps: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The Optax transformation of a rule with meta-parameters.

    `update(grads, state, params, value=loss)`, or `loss=`, gives what is added to the parameters, in their dtypes;
    averages and all that is computed are float32 (float64 for float64 parameters). Parameters of integers or without
    any number are left alone. In `optax.chain` it belongs at the end: it makes steps, not gradients.

    Args:
        rule: the optimizer.
        theta: its meta-parameters; may be traced.
        num_steps: how many updates the run will have, 1 or more; may be traced unless max_steps is given.
        missing_loss: what to do where a rule that reads the loss is given none: "raise" an error, or "ignore" it: warn
            once and take the features that it has before the third loss.
        skip_nonfinite: leave out an update whose gradients or loss are not all finite: the parameters and all of the
            state but `skipped`, which is one more, stay.
        weight_decay: w adds w * p to the gradients and w * sum p^2 to the loss; the reference suggests 1e-6.
        max_steps: where num_steps is more, gradients and losses are averaged over ceil(num_steps / max_steps) calls,
            and only the last of these changes parameters; the reference takes 150,000 for VeLO.

    Raises:
        UserError: at construction or in `update`, where something that it needs is missing or wrong.
    """
    length = _checked_length(num_steps)
    if missing_loss not in ("raise", "ignore"):
        raise UserError(f"missing_loss is {missing_loss!r}", 'give "raise" or "ignore"')
    if max_steps is not None and max_steps < 1:
        raise UserError(f"max_steps is {max_steps!r}", "give 1 or more, or None for no bound")
    if max_steps is not None and length is not None and length > max_steps:
        calls = -(-length // max_steps)
        inner = transformation(
            rule, theta, length // calls, missing_loss=missing_loss, skip_nonfinite=skip_nonfinite,
            weight_decay=weight_decay,
        )  # fmt: skip
        return every_k(inner, calls)
    theta = jax.tree.map(jnp.asarray, theta)  # numpy arrays would become part of each compiled program
    told = False

    def init(params: Params) -> LearnedState:
        leaves, structure = jax.tree.flatten(params)
        leaves = [jnp.asarray(leaf) for leaf in leaves]
        learned = set(learned_leaves(leaves))
        each = []
        for i, leaf in enumerate(leaves):
            shape, dtype = (leaf.shape, leaf.dtype) if i in learned else ((1,), jnp.float32)
            each.append(empty_moments(shape, jnp.promote_types(dtype, jnp.float32), rule.counts))
        # each its own array: a state is donated to the step that makes the next one
        step, skipped = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        return LearnedState(step, skipped, as_trees(each, structure, rule.counts), rule.memory(theta, len(learned)))

    def update(
        updates: Params, state: Any, params: Params | None = None, *, value: Any = None, loss: Any = None,
        **_: Any,
    ) -> tuple[Params, LearnedState]:  # fmt: skip
        nonlocal told
        if params is None:
            raise UserError(f"{rule.name}'s update was given no parameters", "call update(grads, state, params, ...)")
        loss = _checked_loss(loss if value is None else value, rule.name)
        if loss is None and rule.reads_loss:
            cure = "call update(grads, state, params, value=loss)"
            if missing_loss == "raise":
                raise UserError(f"{rule.name}'s update was given no loss", f'{cure}, or set missing_loss="ignore"')
            if not told:
                told = True
                warnings.warn(f"{rule.name} runs without the loss, which it was trained to read; {cure}", stacklevel=2)
        leaves, structure = jax.tree.flatten(params)
        leaves = [jnp.asarray(leaf) for leaf in leaves]
        places = learned_leaves(leaves)
        steps = [jnp.zeros_like(leaf) for leaf in leaves]
        if not places:
            return jax.tree.unflatten(structure, steps), state._replace(step=state.step + 1)
        grads, each = _grads_like(updates, structure, leaves, rule.name), as_leaves(state.accumulators)
        old = Inner(state.step, state.skipped, [each[i] for i in places], state.memory)
        p, g = [leaves[i] for i in places], [grads[i] for i in places]
        found, new = _changed(rule, skip_nonfinite, weight_decay, theta, num_steps, p, g, old, loss)
        for place, change, moments in zip(places, found, new.moments, strict=True):
            steps[place], each[place] = change, moments
        trees = as_trees(each, structure, rule.counts)
        return jax.tree.unflatten(structure, steps), LearnedState(new.step, new.skipped, trees, new.memory)

    return optax.GradientTransformationExtraArgs(init, update)


class Inner(NamedTuple):
    """A state as lists: of the learned tensors alone."""

    step: jax.Array
    skipped: jax.Array
    moments: list[Moments]
    memory: Any


@functools.partial(jax.jit, static_argnums=(0, 1, 2))  # so that without jit, too, it is one program
def _changed(
    rule: Rule, skip_nonfinite: bool, weight_decay: float, theta: Theta, num_steps: jax.typing.ArrayLike,
    p: list[jax.Array], g: list[jax.Array], old: Inner, loss: jax.Array | None,
) -> tuple[list[jax.Array], Inner]:  # fmt: skip
    """What is added to each learned tensor, and the next state."""
    finite = None
    if skip_nonfinite:
        finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in (*g, *([] if loss is None else [loss]))]))
    decays = rule.decays(theta)
    grouped = [_in_group(group, p, g, old.moments, decays, rule.clip, weight_decay) for group in groups_of(p)]
    if loss is not None and weight_decay:
        loss = loss + weight_decay * sum(jnp.sum(jnp.square(x.p)).astype(jnp.float32) for x in grouped)
    now = Now(old.step, num_steps, loss, [x.shape for x in p])
    stacked, memory = rule.steps(theta, grouped, old.memory, now)
    found: list = [None] * len(p)
    moments: list = [None] * len(p)
    for one, step in zip(grouped, stacked, strict=True):
        scattered(step, one.group, found, p)
        scattered_moments(one.after, one.group, moments, old.moments)
    new = Inner(old.step + 1, old.skipped, moments, memory)
    if finite is not None:
        kept = old._replace(skipped=old.skipped + 1)
        new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, kept)
        found = [jnp.where(finite, step, jnp.zeros_like(step)) for step in found]
    return found, new


def _in_group(
    group: Group, p: list, g: list, before: list[Moments], decays: Decays, clip: float | None, weight_decay: float
) -> InGroup:
    params, grads = gathered(p, group), gathered(g, group)
    if weight_decay:
        grads = grads + weight_decay * params
    if clip is not None:
        grads = jnp.clip(grads, -clip, clip)
    old = gathered_moments(before, group)
    return InGroup(group, params, grads, old, next_moments(old, grads, decays))


def _checked_length(num_steps: Any) -> int | None:
    """The run's length, or None where it is only known later.

    Raises:
        UserError: it is no number, or below 1.
    """
    if isinstance(num_steps, Tracer):
        return None
    try:
        length = int(num_steps)
    except (TypeError, ValueError, OverflowError):  # the last of infinity
        length = 0
    if length < 1 or length != num_steps:
        raise UserError(f"num_steps is {num_steps!r}", "give the number of updates that the run will have, 1 or more")
    return length


def _checked_loss(loss: Any, name: str) -> jax.Array | None:
    if loss is None:
        return None
    cure = "give the mean loss, one number"
    try:
        loss = jnp.asarray(loss)
    except TypeError as error:
        raise UserError(f"{name}'s loss is {loss!r}", cure) from error
    if loss.size != 1 or not jnp.issubdtype(loss.dtype, jnp.number):
        raise UserError(f"{name}'s loss has shape {loss.shape}", cure)
    return loss.reshape(()).astype(jnp.float32)


def _grads_like(grads: Params, structure: Any, params: list[jax.Array], name: str) -> list:
    try:
        leaves = structure.flatten_up_to(grads)
    except ValueError as error:
        raise UserError(f"{name}'s gradients have another structure than the parameters", str(error)) from error
    for g, p in zip(leaves, params, strict=True):
        if g is None or jnp.shape(g) != p.shape:
            raise UserError(
                f"{name} was given a gradient of shape {getattr(g, 'shape', None)} for a parameter of shape {p.shape}",
                "give the gradients of these parameters",
            )
    return leaves
