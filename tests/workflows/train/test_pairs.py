"""Fine-tuning on packed prompts and targets: only targets count, neighbours are unseen, a run begins with a model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.equal_info.ids import ids_of_codes
from models.equal_info.plain import BytesCodec
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from models.training import (
    OptimizerConfig,
    cross_entropy,
    initial_state,
    lm_loss,
    optimizer_of,
    packed_batch,
    train_step,
)
from seqio_tasks.pair_rows import write_pairs
from seqio_tasks.pairs import write_pairs_text
from seqio_tasks.token_files import open_tokens
from shammie.errors import UserError
from workflows.train import TrainConfig, train
from workflows.train.data import load, made_with, tokens_of, validation_of, windows_of
from workflows.train.export import export
from workflows.train.stopping import Stop

MODEL = LMConfig(vocab_size=64, width=16, layers=2, heads=2, head_width=8, mlp_width=32, max_distance=8)
LENGTH = 24
Example = tuple[np.ndarray, np.ndarray]


def examples(count: int = 40, seed: int = 0) -> list[Example]:
    """Prompts of 0 to 6 ids and targets of 0 to 8."""
    chance = np.random.default_rng(seed)
    return [(chance.integers(2, 64, chance.integers(7)), chance.integers(2, 64, chance.integers(9)))
            for _ in range(count)]  # fmt: skip


def write(folder: Any, split: str, pairs: list[Example], **about: Any):
    told = {"length": LENGTH, "vocab_size": 64, "made_with": "toy", "text_bytes": 100, **about}
    return write_pairs(str(folder), split, pairs, **told)


@pytest.fixture(scope="module")
def params() -> Any:
    return jax.jit(DecoderLM(MODEL).init)(jax.random.key(5), jnp.zeros((1, 2), jnp.int32))["params"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pairs")
    write(folder, "train", examples(160))
    write(folder, "validation", examples(34, seed=1))
    return str(folder)


@pytest.fixture
def lm_bin(params: Any, tmp_path: Path) -> str:
    path = tmp_path / "lm.bin"
    path.write_bytes(TrainedLM(MODEL, jax.device_get(params), "toy").to_bytes())
    return str(path)


def config(data: str, **settings: Any) -> TrainConfig:
    small: dict[str, Any] = {
        "model": MODEL, "optimizer": OptimizerConfig(learning_rate=1e-2, warmup_steps=2), "length": LENGTH,
        "batch_size": 4, "steps": 8, "log_every": 2, "eval_every": 0, "checkpoint_every": 0,
    }  # fmt: skip
    return TrainConfig(data=data, **{**small, **settings})


def losses_alone(params: Any, pairs: list[Example]) -> list[np.ndarray]:
    """Nats of each example's target ids and end, each example computed by itself behind the start id."""
    rows = np.zeros((len(pairs), LENGTH), np.int32)  # a row each: what pads it comes behind
    for row, (prompt, target) in zip(rows, pairs, strict=True):
        row[: len(prompt) + len(target) + 1] = [*prompt, *target, 1]
    nats = np.asarray(_nats_alone(params, jnp.asarray(rows)))
    return [one[len(prompt) : len(prompt) + len(target) + 1]
            for one, (prompt, target) in zip(nats, pairs, strict=True)]  # fmt: skip


@jax.jit
def _nats_alone(params: Any, rows_BL: jax.Array) -> jax.Array:
    logits: Any = DecoderLM(MODEL).apply({"params": params}, jnp.pad(rows_BL[:, :-1], ((0, 0), (1, 0))))
    return cross_entropy(logits, rows_BL)[0]


packed_loss = jax.jit(lambda params, rows: lm_loss(DecoderLM(MODEL))(params, packed_batch(rows))[1])


def test_a_packed_batch_has_the_loss_of_its_examples_alone(params: Any, data: str) -> None:
    rows = open_tokens(data, "train", packed=True).ids.reshape(-1, LENGTH)
    loss = packed_loss(params, jnp.asarray(rows))["loss"]
    alone = np.concatenate(losses_alone(params, examples(160)))
    assert len(rows) < 160 / 1.5  # several in a row
    assert float(loss.count) == len(alone)
    assert float(loss.compute()) == pytest.approx(alone.mean(), rel=1e-6)


def test_only_targets_count(params: Any) -> None:
    prompt, target = np.array([9, 4, 7, 5]), np.array([3, 8])
    stored = lambda ids: jnp.asarray(np.array([[*-ids, *target, 1, 0, 0]], np.int32))  # noqa: E731
    batch = packed_batch(stored(prompt))
    assert np.asarray(batch["weights"], int).tolist() == [[0, 0, 0, 0, 1, 1, 1, 0, 0]]
    assert batch["targets"].tolist() == [[9, 4, 7, 5, 3, 8, 1, 0, 0]]
    assert batch["inputs"].tolist() == [[0, 9, 4, 7, 5, 3, 8, 0, 0]]
    assert batch["segments"].tolist() == [[0, 0, 0, 0, 0, 0, 0, 1, 1]]
    assert np.asarray(packed_batch(stored(prompt), 2)["weights"], int).sum() == 2  # without the end
    one, other = (packed_loss(params, stored(ids))["loss"] for ids in (prompt, prompt[::-1]))
    assert float(one.count) == float(other.count) == 3
    assert float(one.compute()) != float(other.compute())  # though the prompt is read
    # no gradient comes from predicting the prompt: one that is not followed by a target gives none
    nothing = packed_batch(jnp.asarray([[-9, -4, -7, 0]]))
    gradient = jax.jit(jax.grad(lambda p: lm_loss(DecoderLM(MODEL))(p, nothing)[0]))(params)
    assert all(float(jnp.abs(leaf).max()) == 0 for leaf in jax.tree.leaves(gradient))


def test_an_example_does_not_see_its_neighbours(params: Any) -> None:
    first, second = np.array([-9, -4, 7, 5, 1]), np.array([-8, 6, 3, 1])
    nats = lambda *parts: np.asarray(_nats(params, np.concatenate(parts)))  # noqa: E731
    before = nats(first, second)
    np.testing.assert_array_equal(nats(np.array([-2, -3, 30, 9, 1]), second)[5:], before[5:])
    np.testing.assert_array_equal(nats(first, np.array([-20, 31, 2, 1]))[:5], before[:5])
    assert (nats(np.array([-2, -3, 30, 9, 1]), second)[:5] != before[:5]).all()
    # where the end did not part them, they would
    assert (nats(np.array([-9, -4, 7, 5, 2]), second)[5:] != before[5:]).any()


@jax.jit
def _nats(params: Any, row: np.ndarray) -> jax.Array:
    batch = packed_batch(jnp.asarray(row, jnp.int32)[None])
    logits: Any = DecoderLM(MODEL).apply({"params": params}, batch["inputs"], segments_BL=batch["segments"])
    return cross_entropy(logits, batch["targets"])[0][0]


def test_a_run_begins_with_the_models_loss(params: Any, data: str, lm_bin: str, tmp_path: Path) -> None:
    rows = tokens_of(data, "train").ids.reshape(-1, LENGTH)
    run = config(data, start_params=lm_bin, batch_size=len(rows), steps=1, log_every=1, eval_every=1)
    result = train(run, str(tmp_path / "out"))
    base = np.concatenate(losses_alone(params, examples(160))).mean()
    assert result.rows[0]["loss"] == pytest.approx(base, rel=1e-6)  # of the batch before the first update
    assert int(result.state.step) == 1
    scratch = train(replace(run, start_params=""), str(tmp_path / "scratch"))
    assert scratch.rows[0]["loss"] != pytest.approx(base, rel=1e-3)
    optimizer = optimizer_of(run.optimizer, run.steps)
    state = initial_state(params, optimizer)
    assert jax.tree.structure(state) == jax.tree.structure(result.state)
    step = jax.jit(train_step(lm_loss(DecoderLM(MODEL), run.z_loss), optimizer))
    expected, _ = step(state, packed_batch(jnp.asarray(rows)))
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(result.state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_validation_loss_is_the_mean_over_all_targets(params: Any, data: str, lm_bin: str, tmp_path: Path) -> None:
    frozen = OptimizerConfig(learning_rate=1e-30, weight_decay=0.0)
    run = config(data, start_params=lm_bin, optimizer=frozen, steps=1, eval_every=1)
    batches = validation_of(run, packed=True)
    count = len(tokens_of(data, "validation").ids) // LENGTH
    assert count % 4 > 0
    assert len(batches) == count // 4 + 1  # the last one is filled up
    result = train(run, str(tmp_path / "out"))
    alone = np.concatenate(losses_alone(params, examples(34, seed=1)))
    assert result.rows[-1]["validation_loss"] == pytest.approx(alone.mean(), rel=1e-6)


def test_few_rows_fill_a_batch_by_turns(params: Any, lm_bin: str, tmp_path: Path) -> None:
    few = [(np.array([number + 2] * 9), np.array([number + 3] * 9)) for number in range(3)]  # a row each
    write(tmp_path / "few", "train", few)
    run = config(str(tmp_path / "few"), start_params=lm_bin, batch_size=6, steps=2, log_every=1)
    rows = load(run, windows_of(run, "train")[0], 0, 2)
    assert sorted(rows[..., 0].ravel().tolist()) == [-4] * 4 + [-3] * 4 + [-2] * 4
    base = np.concatenate(losses_alone(params, few)).mean()
    assert train(run, str(tmp_path / "out")).rows[0]["loss"] == pytest.approx(base, rel=1e-6)


@pytest.mark.parametrize("per_call", [1, 2])
def test_a_resumed_run_is_unbroken(data: str, lm_bin: str, tmp_path: Path, monkeypatch, per_call: int) -> None:
    run = config(data, start_params=lm_bin, eval_every=4, checkpoint_every=4, steps_per_call=per_call)
    whole = train(run, str(tmp_path / "whole"))
    assert whole.rows[-1]["loss"] < whole.rows[0]["loss"]
    with monkeypatch.context() as patch:
        patch.setattr(Stop, "requested", True)  # each call of train ends after one call of steps
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                train(run, str(tmp_path / "broken"))
    moved = tmp_path / "moved.bin"
    Path(lm_bin).rename(moved)  # a run knows its beginning by content
    rest = train(replace(run, start_params=str(moved)), str(tmp_path / "broken"))
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(rest.state), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    kept = ("step", "loss", "validation_loss", "gradient_norm")
    told = [[{name: row.get(name) for name in kept} for row in one.rows] for one in (whole, rest)]
    assert told[0] == told[1]


def test_pairs_of_text_are_packed_by_the_trainer_itself(own_cache: Path, tmp_path: Path) -> None:
    chance = np.random.default_rng(3)
    text = [(f"{a}+{b}=", str(a + b)) for a, b in chance.integers(0, 100, (60, 2))]
    codec = BytesCodec()
    for split, part in (("train", text[:48]), ("validation", text[48:])):
        write_pairs_text(str(tmp_path / "pairs"), split, part, codec)
    assert made_with(str(tmp_path / "pairs")) == codec.fingerprint
    model = replace(MODEL, vocab_size=258)
    run = config(str(tmp_path / "pairs"), model=model, tokenizer=codec.fingerprint, eval_every=4)
    result = train(run, str(tmp_path / "out"))
    assert result.rows[-1]["loss"] < result.rows[0]["loss"]
    tokens = tokens_of(run.data, "validation", LENGTH)
    losses = jax.jit(lambda p, rows: lm_loss(DecoderLM(model))(p, packed_batch(rows))[1]["loss"].compute())  # 258 ids
    rows = jnp.asarray(tokens.ids.reshape(-1, LENGTH))
    assert result.rows[-1]["validation_loss"] == pytest.approx(float(losses(result.state.params, rows)), rel=1e-5)
    ids = ids_of_codes(codec.encode(text[50][1].encode()), end=True)
    assert " ".join(map(str, ids)) in " ".join(map(str, tokens.ids))
    with pytest.raises(UserError, match=r"has a pair of \d+ tokens, more than a row of length=6; set length to"):
        train(replace(run, length=6), str(tmp_path / "other"))


def test_a_models_file_becomes_the_checkpoint_before_the_first_step(data: str, lm_bin: str, tmp_path: Path) -> None:
    run = config(data, start_params=lm_bin)
    path = export(str(tmp_path / "base"), lm=lm_bin, config=config(data))
    assert path == f"{tmp_path}/base/checkpoint_0"
    one = train(run, str(tmp_path / "one"))
    other = train(replace(run, start_params="", start_from=path), str(tmp_path / "other"))
    for a, b in zip(jax.tree.leaves(one.state), jax.tree.leaves(other.state), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    with refused(r"--to=x.bin: --lm=.*lm.bin is a model's file already; name a folder"):
        export("x.bin", lm=lm_bin, config=config(data))
    with refused(r"--run=None, --t5x=None and --lm=x; give --run, or one of the others and --gin_file"):
        export(str(tmp_path), lm="x")
    with refused(r"lm.bin reads ids of toy, but the data was made with abacus"):
        export(str(tmp_path), lm=lm_bin, config=config(data, tokenizer="abacus"))


def refused(words: str):
    return pytest.raises(UserError, match=words)


def test_what_does_not_fit_is_named(params: Any, data: str, lm_bin: str, toy: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    run = config(data, start_params=lm_bin)
    with refused(r"split train of .* is packed into rows of 24 tokens, not of length=16; set length=24"):
        train(replace(run, length=16), out)
    with refused(r"start_params=.*lm.bin has model.width=16, not 32; set model.width to 16"):
        train(replace(run, model=replace(MODEL, width=32)), out)
    with refused(r"start_params=.*lm.bin has model.vocab_size=64, not 128"):
        train(replace(run, model=replace(MODEL, vocab_size=128)), out)
    write(tmp_path / "other", "train", examples(60), made_with="abacus")
    with refused(r"start_params=.*lm.bin reads ids of toy, but the data was made with abacus; make the data with"):
        train(replace(run, data=str(tmp_path / "other")), out)
    with refused(r"start_params=nowhere is not there; name the lm.bin"):
        train(replace(run, start_params="nowhere"), out)
    (tmp_path / "bad.bin").write_bytes(b"{}\n")
    with refused(r"not a trained language model: KeyError; give the lm.bin of a run"):
        train(replace(run, start_params=str(tmp_path / "bad.bin")), out)
    with refused(r"start_from=x and start_params=.*; give one"):
        replace(run, start_from="x")
    (tmp_path / "other" / "validation.tokens").write_bytes(Path(toy, "validation.tokens").read_bytes())
    (tmp_path / "other" / "validation.tokens.json").write_bytes(Path(toy, "validation.tokens.json").read_bytes())
    with refused(r"split validation of .* holds a stream of tokens, but train holds rows of packed pairs; make both"):
        train(config(str(tmp_path / "other"), eval_every=2), out)
    train(run, out)
    other = TrainedLM(MODEL, jax.tree.map(lambda x: x + 1, jax.device_get(params)), "toy")
    Path(lm_bin).write_bytes(other.to_bytes())
    with refused(r"holds a run with start_params_sha256="):
        train(run, out)


def test_a_run_without_a_beginning_keeps_the_identity_that_it_had(data: str) -> None:
    told = config(data).identity(tokens_sha256="abc", start_params_sha256="")
    assert not {name for name in told if name.startswith("start")}
    assert config(data).identity(tokens_sha256="abc", start_params_sha256="d")["start_params_sha256"] == "d"
