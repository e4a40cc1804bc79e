"""One step, one optimizer, one state: T5X's Trainer and the bundled one agree. Needs T5X."""

from pathlib import Path
from typing import Any

import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from models.learned_optimizers import theta_files
from models.learned_optimizers.loss_features import decays_of, initial_losses, next_losses
from models.lm import DecoderLM, LMConfig
from models.parameterization.scaling import ParameterizationConfig
from models.training import OptimizerConfig, initial_state, inputs_of, optimizer_of
from shammie.errors import UserError
from workflows.train import TrainConfig, exchange
from workflows.train.compute import Compute, compute_of
from workflows.train.language_model import objective_of
from workflows.train.mesh import RULES, make_mesh

pytestmark = [pytest.mark.t5x, pytest.mark.usefixtures("t5x")]

MODEL = LMConfig(vocab_size=192, width=128, layers=2, heads=2, head_width=64, mlp_width=256, max_distance=16)
ADAFACTOR = OptimizerConfig(
    name="adafactor", learning_rate=1.0, factors="constant * rsqrt_decay", warmup_steps=100, weight_decay=0, clip_norm=0
)
STEPS, BATCH, LENGTH = 20, 4, 24
STAR_THETA = theta_files.learned_optimizer("star").init_theta(jax.random.key(0))


def under(name: str, optimizer: str, scales_as: str = "adam", **settings: Any) -> tuple[OptimizerConfig, Any]:
    """An optimizer and the parameterization that it trains under, where n is 4."""
    config: Any = OptimizerConfig(optimizer, warmup_steps=1, clip_norm=0, **settings)  # pyright: ignore[reportArgumentType]
    return config, ParameterizationConfig(name, scales_as, base_width=32, epsilon="per_layer")


SHAPED = {
    "standard-adafactor": under("standard", "adafactor", "adafactor"),
    "ntk-sgd": under("ntk", "sgd", "sgd", momentum=0.9),
    "mup-adam": under("mup", "adam"),
    "mup-adafactor-unscaled": under("mup", "adafactor", parameter_scale=False),
    "mean_field-adam_atan2": under("mean_field", "adam_atan2"),
    "plain-adam_atan2": (OptimizerConfig("adam_atan2", warmup_steps=1), None),
    "plain-sgd": (OptimizerConfig("sgd", warmup_steps=1), None),
}


def rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))


def flat(tree: Any) -> dict[str, np.ndarray]:
    return dict(flatten_dict(flax.core.unfreeze(jax.device_get(tree)), sep="/"))  # pyright: ignore[reportReturnType]


def random_like(tree: Any, *, seed: int, scale: float) -> Any:
    chance = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(scale * chance.standard_normal(x.shape), x.dtype), tree)


def rows(step: int) -> np.ndarray:
    return np.random.default_rng(step).integers(2, MODEL.vocab_size, (BATCH, LENGTH)).astype(np.int32)


def compute_for(optimizer: OptimizerConfig, microbatches: int = 1, parameterization: Any = None) -> Compute:
    config = TrainConfig(
        model=MODEL, optimizer=optimizer, data="any", length=LENGTH, batch_size=BATCH, steps=STEPS,
        microbatches=microbatches, mesh_data=1, parameterization=parameterization,
    )  # fmt: skip
    return compute_of(objective_of(config), config, make_mesh(1, 1))


def t5x_trainer(
    optimizer: OptimizerConfig,
    params: Any,
    *,
    microbatches: int | None = None,
    cls: Any = None,
    parameterization: Any = None,
) -> Any:
    """T5X's Trainer over our model, beginning with these parameters."""
    from t5x import partitioning, train_state, trainer  # pyright: ignore[reportMissingImports]

    from workflows import t5x_adapter

    model = t5x_adapter.LanguageModel(
        MODEL, optimizer, steps=STEPS, microbatches=microbatches, parameterization=parameterization
    )
    variables = model.get_initial_variables(jax.random.key(1), {})
    state: Any = train_state.FlaxOptimTrainState.create(model.optimizer_def, variables).replace_params(
        flax.core.freeze(params)
    )
    partitioner = partitioning.PjitPartitioner(num_partitions=1)
    return (cls or trainer.Trainer)(
        model=model,
        train_state=state,
        partitioner=partitioner,
        eval_names=[],
        summary_dir=None,
        train_state_axes=partitioner.get_mesh_axes(state),
        rng=jax.random.key(2),
        learning_rate_fn=t5x_adapter.learning_rate(optimizer, steps=STEPS),
        num_microbatches=microbatches,
    )


def t5x_batch(targets: np.ndarray) -> dict[str, Any]:
    return {
        "decoder_target_tokens": targets,
        "decoder_input_tokens": np.array(inputs_of(jnp.asarray(targets))),
        "decoder_loss_weights": np.ones_like(targets),
    }


@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize("optimizer", [ADAFACTOR, OptimizerConfig(warmup_steps=1)], ids=["adafactor", "adamw"])
def test_one_step_has_the_same_loss_and_update(optimizer: OptimizerConfig, microbatches: int) -> None:
    assert_steps_agree(optimizer, None, microbatches)


@pytest.mark.parametrize("case", SHAPED)
def test_optimizers_under_parameterizations_have_the_same_losses_and_updates(case: str) -> None:
    optimizer, parameterization = SHAPED[case]
    begun, after, *_ = assert_steps_agree(optimizer, parameterization)
    assert rms(after["logits/kernel"] - begun["logits/kernel"]) > 0
    if parameterization:  # by any of them the embedding is as wide as at the base width: sqrt(n) times the plain one's
        plain, _ = compute_for(optimizer).start(0)
        multiplier = {"mup": 2.0}.get(parameterization.name, 1.0)
        np.testing.assert_array_equal(multiplier * begun["embedding"], 2.0 * flat(plain.params)["embedding"])


@pytest.mark.parametrize(("name", "microbatches"), [("velo", 1), ("velo", 2), ("star", 1)])
def test_learned_optimizers_are_told_the_loss(name: str, microbatches: int, tmp_path: Path) -> None:
    from t5x import trainer  # pyright: ignore[reportMissingImports]

    from workflows import t5x_adapter

    optimizer = OptimizerConfig(name, weights=learned_weights(name, tmp_path))  # pyright: ignore[reportArgumentType]
    _, _, theirs, told = assert_steps_agree(
        optimizer, None, microbatches, steps=5, cls=t5x_adapter.LossTrainer, tolerance=2e-3
    )
    state = theirs.train_state._optimizer.state.param_states
    if name == "velo":
        expected = initial_losses()
        for count, loss in enumerate(told):
            expected = next_losses(expected, jnp.float32(loss), jnp.int32(count), decays_of(STEPS))
        np.testing.assert_allclose(state.memory.losses.means, expected.means, rtol=1e-4)
        with pytest.raises(UserError, match="VeLO's update was given no loss"):  # T5X's own Trainer tells none
            assert_steps_agree(optimizer, None, steps=1, cls=trainer.Trainer)


def learned_weights(name: str, folder: Path) -> str:
    """A file of small random weights of a learned optimizer, whose steps are as long as a network can bear."""
    sizes = {"lstm_size": 8, "bank_size": 4} if name == "velo" else {"nominal_stepsize": 1e-3}
    made = theta_files.learned_optimizer(name, **sizes)
    theta_files.save(str(folder / "theta"), made, made.init_theta(jax.random.key(3)))
    return str(folder / "theta")


def assert_steps_agree(
    optimizer: OptimizerConfig, parameterization: Any, microbatches: int = 1, steps: int = 2, cls: Any = None,
    tolerance: float = 1e-4,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Any, list[float]]:  # fmt: skip
    """Both trainers' losses and changes of every parameter.

    Returns:
        The parameters before and after, T5X's trainer, and the loss of each step.
    """
    ours = compute_for(optimizer, microbatches, parameterization)
    state, gathered = ours.start(0)
    begun = jax.device_get(state.params)
    theirs = t5x_trainer(
        optimizer, begun, microbatches=None if microbatches == 1 else microbatches, parameterization=parameterization,
        cls=cls,
    )  # fmt: skip
    losses = []
    for step in range(steps):  # AdamW's first step is at a learning rate of 0
        told = theirs.train(iter([t5x_batch(rows(step))]), 1).result()
        state, gathered = ours.call(1)(state, ours.nothing(), jnp.asarray(rows(step)))
        loss = float(gathered.metrics["loss"].compute())
        losses.append(loss)
        assert told["loss"].value == pytest.approx(loss, rel=max(1e-6, tolerance / 100))
        assert told["accuracy"].value == float(gathered.metrics["accuracy"].compute())
    after, expected_after = flat(theirs.train_state.params), flat(state.params)
    assert after.keys() == expected_after.keys()
    for name, first in flat(begun).items():
        update, expected = after[name] - first, expected_after[name] - first
        assert rms(expected) > 0
        assert rms(update - expected) <= tolerance * rms(expected), name
    return flat(begun), after, theirs, losses


def test_microbatches_add_up_to_the_batchs_mean() -> None:
    """Our optimizers do not see the scale of a gradient, so that the step's parity would not show it."""
    from t5x import trainer  # pyright: ignore[reportMissingImports]

    begun, _ = compute_for(ADAFACTOR).start(0)
    params = jax.device_get(begun.params)
    whole, parts = (t5x_trainer(ADAFACTOR, params, microbatches=count) for count in (None, 2))
    gradients = [
        flat(
            trainer.accumulate_grads_microbatched(
                one._model, one.train_state, t5x_batch(rows(0)), jax.random.key(0), count
            )[0]
        )
        for one, count in ((whole, None), (parts, 2))
    ]
    for name, gradient in gradients[0].items():
        assert rms(gradients[1][name] - gradient) <= 1e-4 * rms(gradient), name


def test_our_adafactor_is_t5xs_for_20_steps() -> None:
    from flax.linen import partitioning
    from t5x import adafactor  # pyright: ignore[reportMissingImports]

    variables: Any = DecoderLM(MODEL).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    begun = variables["params"]
    definition = adafactor.Adafactor(learning_rate=0.01, logical_factor_rules=adafactor.standard_logical_factor_rules())
    definition.set_param_axes(partitioning.get_axis_names(variables["params_axes"]))
    theirs = definition.create(begun)
    optimizer = optimizer_of(OptimizerConfig("adafactor", 0.01, "constant", weight_decay=0, clip_norm=0), STEPS)
    mine: Any = begun
    state: Any = optimizer.init(begun)
    for step in range(20):
        gradient = random_like(begun, seed=step, scale=10.0 ** (step % 3 - 2))
        theirs = theirs.apply_gradient(gradient)
        updates, state = optimizer.update(gradient, state, mine)
        mine = optax.apply_updates(mine, updates)
        start, expected = flat(begun), flat(theirs.target)
        for name, value in flat(mine).items():
            assert rms(value - expected[name]) < 1e-5 * rms(expected[name] - start[name]), (step, name)
    rows_of_query = state[0][0].v_row["attention_0"]["query"]["kernel"]
    assert rows_of_query.shape == theirs.state.param_states["attention_0"]["query"]["kernel"].v_row.shape == (128,)


def test_an_optimizer_that_asks_for_the_loss_is_told_it() -> None:
    from workflows import t5x_adapter

    seen: list[float] = []

    def update(updates: Any, state: Any, params: Any = None, *, value: Any, **_: Any) -> tuple[Any, Any]:
        jax.debug.callback(lambda loss: seen.append(float(loss)), value)
        return jax.tree.map(lambda g: -0.1 * value * g, updates), state

    begun, _ = compute_for(ADAFACTOR).start(0)
    trainer = t5x_trainer(ADAFACTOR, jax.device_get(begun.params), cls=t5x_adapter.LossTrainer)
    asking = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)  # type: ignore[arg-type]
    definition = t5x_adapter.OptaxOptimizer(optax.chain(asking))
    params = trainer.train_state.params
    state = trainer.train_state.replace(_optimizer=definition.create(params))
    trainer.train_state = state
    trainer._train_state_axes = trainer._partitioner.get_mesh_axes(state)
    told = trainer.train(iter([t5x_batch(rows(0))]), 1).result()
    jax.effects_barrier()
    assert seen == [pytest.approx(float(told["loss"].value), rel=1e-6)]


@pytest.mark.parametrize(
    ("transformation", "whole"),
    [
        (lambda: optimizer_of(ADAFACTOR, STEPS), True),
        (lambda: optimizer_of(OptimizerConfig(), STEPS), False),
        (lambda: optimizer_of(OptimizerConfig("adam_atan2"), STEPS), False),
        (lambda: optimizer_of(OptimizerConfig("sgd", momentum=0.9), STEPS), False),
        (lambda: theta_files.learned_optimizer("star").optax(STAR_THETA, STEPS), False),
        (lambda: theta_files.learned_optimizer("star").optax(STAR_THETA, STEPS, max_steps=STEPS // 2), False),
        (lambda: optax.chain(optax.adam(1e-3), optax.contrib.reduce_on_plateau(patience=1)), False),
    ],
    ids=["adafactor", "adamw", "adam_atan2", "sgd", "star", "star_averaged", "plateau"],
)
def test_states_of_our_optimizers_have_partition_rules(transformation: Any, whole: bool) -> None:
    from t5x import partitioning, train_state  # pyright: ignore[reportMissingImports]

    from workflows import t5x_adapter

    model = t5x_adapter.LanguageModel(MODEL)
    variables = model.get_initial_variables(jax.random.key(1), {})
    definition = t5x_adapter.OptaxOptimizer(transformation())
    state = train_state.FlaxOptimTrainState.create(definition, variables)
    axes = partitioning.PjitPartitioner(num_partitions=1).get_mesh_axes(state)
    spec = lambda leaf: isinstance(leaf, jax.sharding.PartitionSpec)  # noqa: E731
    found = jax.tree_util.tree_leaves_with_path(axes.state_dict(), is_leaf=spec)
    sharded = {jax.tree_util.keystr(path) for path, leaf in found if spec(leaf) and "model" in leaf}
    assert any("target" in path for path in sharded)
    moments = [path for path in sharded if "param_states" in path and "attention_0']['query" in path]
    assert bool(moments) != whole  # moments lie as their matrix; Adafactor's rows and columns whole on every device


def test_states_cross_both_ways(tmp_path: Path) -> None:
    ours = compute_for(ADAFACTOR)
    state, _ = ours.start(0)
    for step in range(3):
        state, _ = ours.call(1)(state, ours.nothing(), jnp.asarray(rows(step)))
    path = exchange.write(state, str(tmp_path))
    assert path.endswith("checkpoint_3")
    back = exchange.read(path, ours.places[0])
    assert jax.tree.structure(back) == jax.tree.structure(state)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()) and a.dtype == b.dtype, back, state))
    fresh = initial_state(DecoderLM(MODEL).init(jax.random.key(9), jnp.zeros((1, 2), jnp.int32))["params"],
                          optimizer_of(ADAFACTOR, STEPS))  # fmt: skip
    assert rms(jax.tree.leaves(fresh.params)[0] - jax.tree.leaves(back.params)[0]) > 0


def test_prefixes_are_given_and_targets_predicted() -> None:
    """T5X's PrefixLM batches: only the targets count, and predictions continue the inputs."""
    import seqio

    from workflows import t5x_adapter

    model = t5x_adapter.LanguageModel(MODEL, prefix=True)
    assert model.FEATURE_CONVERTER_CLS is seqio.PrefixLMFeatureConverter
    converter = seqio.PrefixLMFeatureConverter(pack=False)
    pair = {"inputs": np.array([9, 4, 7, 5], np.int32), "targets": np.array([3, 8, 1], np.int32)}
    dataset = seqio.utils.tf.data.Dataset.from_tensors(pair)
    batch = next(converter(dataset, {"inputs": 6, "targets": 6}).batch(1).as_numpy_iterator())
    params = model.network.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    logits: Any = model.network.apply({"params": params}, jnp.array([[0, 9, 4, 7, 5, 3, 8]]))
    log_p = jax.nn.log_softmax(logits)[0, [4, 5, 6], [3, 8, 1]]
    assert float(model.score_batch(params, batch)[0]) == pytest.approx(float(log_p.sum()), rel=1e-5)
    _, metrics = model.loss_fn(params, batch, None)
    assert float(metrics["loss"].compute()) == pytest.approx(-float(log_p.mean()), rel=1e-5)
    tokens, _ = model.predict_batch_with_aux(params, batch)
    first = int(jnp.argmax(logits[0, 4]))
    assert int(tokens[0, 0]) == first
    after: Any = model.network.apply({"params": params}, jnp.array([[0, 9, 4, 7, 5, first]]))
    assert first != 1  # the end would stop the row
    assert int(tokens[0, 1]) == int(jnp.argmax(after[0, -1]))


def test_a_short_rows_prompt_is_the_row() -> None:
    from workflows import t5x_adapter

    model = t5x_adapter.LanguageModel(MODEL, prompt_tokens=6)
    params = model.network.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    targets = np.array([[9, 4, 7, 5, 8, 6, 3, 2], [9, 4, 0, 0, 0, 0, 0, 0]], np.int32)
    tokens, _ = model.predict_batch_with_aux(params, t5x_batch(targets))
    assert tokens.shape == (2, 2)
    logits: Any = model.network.apply({"params": params}, jnp.array([[0, 9, 4]]))
    assert int(tokens[1, 0]) == int(jnp.argmax(logits[0, -1]))


def test_the_rules_are_t5xs_own() -> None:
    from t5x import partitioning  # pyright: ignore[reportMissingImports]

    assert dict(partitioning.standard_logical_axis_rules()) == dict(RULES)
