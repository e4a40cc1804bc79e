"""Weights: the released format, what is wrong with a file, our own files."""

from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np
import pytest

from models.learned_optimizers import face
from models.learned_optimizers.interface import LearnedOptimizer
from models.learned_optimizers.mlp import MLPConfig, mlp
from models.learned_optimizers.released import from_checkpoint, load_released, load_velo, to_checkpoint
from models.learned_optimizers.released_layouts import STAR_AS_CLASS
from models.learned_optimizers.star import AdafactorMLPConfig, adafactor_mlp, star
from models.learned_optimizers.theta_files import from_bytes, learned_optimizer, load, save, to_bytes
from models.learned_optimizers.velo import VeloConfig, velo
from shammie.errors import UserError

VELO = velo(VeloConfig(lstm_size=8, bank_size=6))
ALL = [VELO, star(STAR_AS_CLASS), adafactor_mlp(AdafactorMLPConfig(hidden_size=5)), mlp(MLPConfig(hidden_size=7))]
CONFIG = """# made by training
HyperV2.lstm_hidden_size = \\
    8
HyperV2.param_inits = 6
HyperV2.use_bugged_loss_features = False
HyperV2.initial_rms_decays = (0.999,)
Adam.learning_rate = 0.0003
run_train.lopt = @HyperV2()
"""


def _theta(optimizer: LearnedOptimizer) -> Any:
    return jax.tree.map(np.asarray, optimizer.init_theta(jax.random.key(0)))


def _same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("optimizer", ALL, ids=[x.name for x in ALL])
def test_released_checkpoints_go_both_ways(optimizer: LearnedOptimizer) -> None:
    theta = _theta(optimizer)
    found = from_checkpoint(to_checkpoint(optimizer, theta, step=5620))
    _same(found.theta, theta)
    assert (found.optimizer.name, found.optimizer.config, found.step) == (optimizer.name, optimizer.config, 5620)


def test_a_released_checkpoint_is_laid_out_as_the_reference_has_it() -> None:
    """Names and shapes by hand, from HyperV2's own parameters."""
    theta = _theta(VELO)
    state: Any = flax.serialization.msgpack_restore(to_checkpoint(VELO, theta))
    bank = state["params"]["ff_mod_stack"]["~"]
    widths = [1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3]
    assert {k: v.shape for k, v in bank.items()} == {
        **{f"w0__{i}": (6, width, 4) for i, width in enumerate(widths)},
        "w1": (6, 4, 4), "w2": (6, 4, 3), "b0": (6, 4), "b1": (6, 4), "b2": (6, 3),
    }  # fmt: skip
    np.testing.assert_array_equal(bank["w0__5"], theta["bank"]["w0"][:, 7:10])
    rnn = {name: layer["w"].shape for name, layer in state["params"]["rnn_params"].items()}
    assert rnn == {
        "linear": (30, 8), "linear_1": (30, 8), "linear_2": (30, 8), "rnn/linear": (16, 32),
        "rnn_to_controls": (8, 6), "step_size": (8, 1),
    }  # fmt: skip
    assert state["params"]["lstm_init_state"]["hidden"].shape == (1, 8)


def test_older_forms_of_a_checkpoint_are_read() -> None:
    theta = _theta(VELO)
    params = flax.serialization.msgpack_restore(to_checkpoint(VELO, theta))["params"]
    hidden, cell = (params["lstm_init_state"][name] for name in ("hidden", "cell"))
    params["lstm_init_state"] = {
        "name": "LSTMState", "fields": {"0": "hidden", "1": "cell"}, "values": {"0": hidden, "1": cell + 1}
    }  # fmt: skip
    found = from_checkpoint(flax.serialization.msgpack_serialize({"0": params, "1": "", "2": 7}))
    assert found.optimizer.config == VeloConfig(lstm_size=8, bank_size=6, bugged_lstm_state=True)
    np.testing.assert_array_equal(found.theta["initial_state"]["cell"], theta["initial_state"]["cell"] + 1)
    assert found.step == 7


def test_config_gin_beside_the_weights_is_obeyed(tmp_path: Path) -> None:
    theta = _theta(VELO)
    (tmp_path / "params").write_bytes(to_checkpoint(VELO, theta))
    (tmp_path / "config.gin").write_text(CONFIG)
    for path in (tmp_path, tmp_path / "params"):
        found = load_velo(str(path))
        assert found.optimizer.config == VELO.config
        _same(found.theta, theta)
    (tmp_path / "config.gin").write_text(CONFIG.replace("HyperV2.use_bugged_loss_features = False\n", ""))
    assert load_velo(str(tmp_path)).optimizer.config.bugged_loss_features  # the class's default
    checkpoint = to_checkpoint(star(STAR_AS_CLASS), _theta(star()))
    told = {"nominal_stepsize": 0.001, "normalize_blackbox": True, "exp_mult": (0.01, 0.01, 0.01)}
    said = "\n".join(f"MLPNomLOpt.{name} = {value}" for name, value in told.items())
    config = from_checkpoint(checkpoint, said).optimizer.config
    assert (config.nominal_stepsize, config.precondition, config.nominal_controller, config.exp_mult) == (
        1e-3,
        True,
        False,
        0.01,
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("HyperV2.param_inits = 64", "bank_size 6, but its config.gin says 64"),
        ("HyperV2.with_g = False", r"HyperV2.with_g to False, which is not supported"),
        ("HyperV2.new_flag = 1", "new_flag to 1"),
        ("HyperV2.step_mult = __import__('os').getcwd()", "plain number"),
        ("run_train.lopt = @MLPLOpt()", "config.gin is of @MLPLOpt"),
    ],
)
def test_a_config_gin_that_does_not_fit_is_told(line: str, told: str) -> None:
    checkpoint = to_checkpoint(VELO, _theta(VELO))
    with pytest.raises(UserError, match=told):
        from_checkpoint(checkpoint, line)


def test_a_checkpoint_of_another_architecture_is_told(tmp_path: Path) -> None:
    theta = _theta(VELO)
    path = tmp_path / "params"
    path.write_bytes(to_checkpoint(star(), _theta(star())))
    with pytest.raises(UserError, match="weights of star, not of VeLO"):
        load_velo(str(path))
    state: Any = flax.serialization.msgpack_restore(to_checkpoint(VELO, theta))
    wrong = {**state, "params": {**state["params"], "rnn_params": {}}}
    with pytest.raises(UserError, match="lacks arrays of velo"):
        from_checkpoint(flax.serialization.msgpack_serialize(wrong))
    rnn = {
        **state["params"]["rnn_params"],
        "step_size": {"w": np.zeros((8, 2), np.float32), "b": np.zeros(1, np.float32)},
    }
    wrong = {**state, "params": {**state["params"], "rnn_params": rnn}}
    with pytest.raises(UserError, match=r"has \(8, 2\) at .*step_size"):
        from_checkpoint(flax.serialization.msgpack_serialize(wrong))
    with pytest.raises(UserError, match="has the step number 'late'"):
        from_checkpoint(flax.serialization.msgpack_serialize({**state, "step": "late"}))
    for data in (b"", b"no checkpoint", flax.serialization.msgpack_serialize({"params": {"x": np.zeros(2)}})):
        with pytest.raises(UserError, match="gs://gresearch"):
            from_checkpoint(data)


def test_where_to_get_the_released_weights_is_told(tmp_path: Path) -> None:
    for path in (str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(UserError, match=r"gs://gresearch/learned_optimization/pretrained_lopts/aug12_continue"):
            load_released(path)
    with pytest.raises(UserError, match=r"none ship with this package; give weights=PATH; .*gs://"):
        face.velo(100)


@pytest.mark.parametrize("optimizer", ALL, ids=[x.name for x in ALL])
def test_our_own_files_go_both_ways(optimizer: LearnedOptimizer, tmp_path: Path) -> None:
    theta, path = _theta(optimizer), str(tmp_path / "x.theta")
    save(path, optimizer, theta, {"seed": 3})
    found = load(path)
    _same(found.theta, theta)
    assert (found.optimizer.name, found.optimizer.config) == (optimizer.name, optimizer.config)
    assert found.made_with == {"seed": 3}
    backwards = dict(reversed(list(theta.items())))
    assert Path(path).read_bytes() == to_bytes(optimizer, backwards, {"seed": 3})


def test_damaged_and_foreign_files_are_told(tmp_path: Path) -> None:
    data = to_bytes(VELO, _theta(VELO))
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(UserError, match="damaged"):
        from_bytes(damaged)
    for foreign in (b"", b"{}", b"[]\n", data[:40], data.replace(b"optimizer 1", b"optimizer 9")):
        with pytest.raises(UserError, match=r"weights|format"):
            from_bytes(foreign)
    line, _, body = data.partition(b"\n")
    with pytest.raises(UserError, match=r"of another architecture"):
        from_bytes(line.replace(b'"lstm_size":8', b'"lstm_size":9') + b"\n" + body)
    for wrong in (b'"lstm_size":"8"', b'"lstm_size":8.5', b'"lstm_size":null', b'"lstm_size":[8]'):
        with pytest.raises(UserError, match=r"^x has a config that cannot be"):
            from_bytes(line.replace(b'"lstm_size":8', wrong) + b"\n" + body, "x")
    with pytest.raises(UserError, match="theta does not have"):
        to_bytes(VELO, {})
    with pytest.raises(UserError, match=r"'stra'.*did you mean star"):
        learned_optimizer("stra")
    with pytest.raises(UserError, match="'hiden_size'"):
        learned_optimizer("star", hiden_size=3)


def test_the_faces_take_weights_of_their_own_kind(tmp_path: Path) -> None:
    path = str(tmp_path / "velo.theta")
    save(path, VELO, _theta(VELO))
    transformation = face.velo(10, weights=path)
    p = np.ones((3, 2), np.float32)
    updates, _ = transformation.update(p, transformation.init(p), p, value=1.0)
    assert np.isfinite(updates).all()
    with pytest.raises(UserError, match="weights of velo; give weights of star"):
        face.star(10, weights=path)
    with pytest.raises(UserError, match="no weights of 'sgd'"):
        face.shipped("sgd")
