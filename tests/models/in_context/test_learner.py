"""What holds for every kind of learner."""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.in_context.learner import (
    NETWORKS,
    answer,
    first_params,
    logical_axes,
    network_of,
    parameter_count,
    read,
    state_size,
)
from models.in_context.learner_config import KINDS, LearnerConfig
from models.training import cross_entropy
from shammie.errors import UserError

B, N, F, C, D, L, H, K, MLP = 2, 6, 5, 3, 8, 2, 2, 4, 7
SIZES: Any = dict(zip(("features", "classes", "examples", "width", "layers", "heads", "head_width", "mlp_width"),
                      (F, C, N, D, L, H, K, MLP), strict=True))  # fmt: skip
CONFIGS = {kind: LearnerConfig(kind=kind, **SIZES) for kind in KINDS}
CONFIGS["shifted"] = LearnerConfig(kind="transformer", shifted=True, near=3, **SIZES)
every_kind = pytest.mark.parametrize("name", CONFIGS)


@functools.cache
def context() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(B, N, F)), jnp.float32), jnp.asarray(rng.integers(0, C, (B, N)), jnp.int32)


@functools.cache
def params(name: str) -> Any:
    """Parameters of which none is 0, as meta-trained ones: a new learner may ignore its inputs."""
    first = compiled(functools.partial(first_params, network_of(CONFIGS[name])))(jax.random.key(0))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: x + jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32), first)


def compiled(function: Any) -> Any:
    """Compiled in a third of the time: these programs are small and many."""
    fast = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(function, compiler_options=fast)


@functools.cache
def predicting(name: str) -> Any:
    return compiled(lambda params, x, labels: network_of(CONFIGS[name]).apply({"params": params}, x, labels))


@functools.cache
def state_after(name: str) -> Any:
    """The state after all examples but one."""
    x, labels = context()
    return compiled(functools.partial(read, network_of(CONFIGS[name])))(params(name), x[:, :-1], labels[:, :-1])


def logits(name: str, x: jax.Array, labels: jax.Array) -> np.ndarray:
    return np.asarray(predicting(name)(params(name), x, labels))


def test_all_kinds_have_a_network() -> None:
    assert [*NETWORKS] == [*KINDS]


@every_kind
def test_no_label_is_seen_before_it_is_predicted(name: str) -> None:
    """Labels and examples change only what comes after, and what comes after they do change (gpicl.md T1)."""
    x, labels = context()
    before = logits(name, x, labels)
    assert (before.shape, before.dtype) == ((B, N, C), np.float32)
    for place in range(N):
        told = logits(name, x, labels.at[:, place].set((labels[:, place] + 1) % C))
        np.testing.assert_array_equal(told[:, : place + 1], before[:, : place + 1])
        if place + 1 < N:
            assert (np.abs(told[:, place + 1] - before[:, place + 1]).max(axis=-1) > 1e-6).all()
        shown = logits(name, x.at[:, place].add(1.0), labels)
        np.testing.assert_array_equal(shown[:, :place], before[:, :place])
        assert (np.abs(shown[:, place] - before[:, place]).max(axis=-1) > 1e-6).all() or (name, place) == ("maml", 0)


@every_kind
def test_the_gradient_of_a_loss_by_its_own_label_is_zero(name: str) -> None:
    """Labels as one-hot numbers, fed one by one: loss i has a gradient by label j just where j < i."""
    x, labels = context()
    network: Any = network_of(CONFIGS[name])
    variables = {"params": params(name)}

    def nats(one_hot_BNC: jax.Array) -> jax.Array:
        previous_NBC = jnp.pad(one_hot_BNC, ((0, 0), (1, 0), (0, 0)))[:, :-1].swapaxes(0, 1)
        step = lambda state, seen: network.apply(variables, state, *seen, method="step")  # noqa: E731
        _, logits_NBC = jax.lax.scan(step, network.first_state(B), (x.swapaxes(0, 1), previous_NBC))
        return cross_entropy(logits_NBC.swapaxes(0, 1), labels)[0].sum(axis=0)

    one_hot = jax.nn.one_hot(labels, C)
    found, jacobian = compiled(lambda given: (nats(given), jax.jacrev(nats)(given)))(one_hot)
    size_NN = np.abs(np.asarray(jacobian)).max(axis=(1, 3))  # [loss, label]
    assert (size_NN[np.triu_indices(N)] == 0).all()
    assert (np.diag(size_NN, -1) > 1e-7).all()
    expected = cross_entropy(jnp.asarray(logits(name, x, labels)), labels)[0].sum(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@every_kind
def test_contexts_of_a_batch_do_not_meet(name: str) -> None:
    x, labels = context()
    before = logits(name, x, labels)
    after = logits(name, x.at[1].add(1.0), labels.at[1].set(0))
    np.testing.assert_array_equal(after[0], before[0])
    assert np.abs(after[1] - before[1]).max() > 1e-3


@every_kind
def test_read_and_answer_are_the_whole(name: str) -> None:
    x, labels = context()
    whole, network = logits(name, x, labels), network_of(CONFIGS[name])
    asking = compiled(functools.partial(answer, network))
    for seen in (0, N - 1):
        state = state_after(name) if seen else network.first_state(B)
        last = labels[:, seen - 1] if seen else jnp.full(B, -1)
        questions = jnp.stack([x[:, seen], x[:, 0] + 1, x[:, seen]], axis=1)
        found = np.asarray(asking(params(name), state, questions, last))
        assert found.shape == (B, 3, C)
        np.testing.assert_allclose(found[:, 0], whole[:, seen], atol=2e-5)
        np.testing.assert_allclose(found[:, 2], found[:, 0], atol=1e-6)  # questions do not meet
        other = logits(name, x.at[:, seen].set(x[:, 0] + 1), labels)
        np.testing.assert_allclose(found[:, 1], other[:, seen], atol=2e-5)


def counted(name: str) -> int:
    """Floats of a state in a formula (arXiv:2212.04458 §4.3)."""
    grids = [*itertools.pairwise((F, *[H] * (L - 1), C))]
    return {
        "transformer": 2 * L * H * K * N + F,  # keys and values; an example waits for its label
        "shifted": 2 * L * H * K * N + F,
        "lstm": 2 * L * D,
        "outer_product": L * H * (K * K + K),
        "linear_recurrence": L * (H * K * K + 3 * D),  # a matrix a head, and the convolution's window
        "maml": F * MLP + MLP + MLP * C + C + F,
        "vsml": sum(2 * below * above * K + (below + above) * (K // 2) for below, above in grids),  # cells, messages
    }[name]


@every_kind
def test_state_sizes_are_those_of_the_arrays(name: str) -> None:
    """Of real arrays, after examples are read, and by a closed formula."""
    config, state = CONFIGS[name], state_after(name)
    arrays = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.shape[0] for leaf in arrays} == {B}
    assert sum(leaf.size for leaf in arrays) == B * state_size(config)
    assert state_size(config) == counted(name)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, network_of(config).first_state(B))


@every_kind
def test_parameters_are_counted_and_have_axes(name: str) -> None:
    config, made = CONFIGS[name], params(name)
    assert parameter_count(config) == sum(leaf.size for leaf in jax.tree.leaves(made))
    axes = logical_axes(config)
    is_names = lambda leaf: isinstance(leaf, tuple)  # noqa: E731
    named = jax.tree.leaves_with_path(axes, is_leaf=is_names)
    assert [path for path, _ in named] == [path for path, _ in jax.tree.leaves_with_path(made)]
    for (path, names), leaf in zip(named, jax.tree.leaves(made), strict=True):
        assert len(names) == leaf.ndim, path
        assert all(isinstance(one, str) for one in names), path


@every_kind
def test_a_new_learner_is_at_chance(name: str) -> None:
    first = compiled(functools.partial(first_params, network_of(CONFIGS[name])))(jax.random.key(2))
    x, labels = context()
    nats_BN = cross_entropy(predicting(name)(first, x, labels), labels)[0]
    assert float(nats_BN.mean()) == pytest.approx(np.log(C), abs=0.4)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"kind": "gru"}, "gru"),
        ({"width": 0}, "width is 0"),
        ({"examples": 2.5}, "examples is 2.5"),
        ({"classes": True}, "classes is True"),
        ({"near": 0}, "near is 0"),
        ({"dtype": "float16"}, "float16"),
    ],
)
def test_bad_sizes_are_named(told: Any, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        LearnerConfig(**told)
