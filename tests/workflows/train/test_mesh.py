"""Several devices and several processes compute what one does."""

import json
import socket
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from models.lm import DecoderLM, LMConfig, logical_axes
from models.training import OptimizerConfig, initial_state, optimizer_of
from workflows.train.mesh import RULES, make_mesh, sharding, state_shardings

RUN = """
import sys, dataclasses, jax, numpy as np
sys.path.insert(0, {tests!r})
from conftest import MODEL, OPTIMIZER
from workflows.train import TrainConfig, train
from workflows.train.__main__ import join_processes
join_processes({address!r}, {count!r}, {index!r})
for name, mesh in {meshes!r}.items():
    config = TrainConfig(data={data!r}, model=MODEL, optimizer=OPTIMIZER, length=16, batch_size=4, steps=6, log_every=3,
        eval_every=6, checkpoint_every=3, **mesh)
    result = train(config, {out!r} + "/" + name)
    again = train(dataclasses.replace(config, log_every=1), {out!r} + "/" + name)  # from the checkpoint
    for a, b in zip(jax.tree.leaves(result.state), jax.tree.leaves(again.state), strict=True):
        assert a.sharding == b.sharding
        for one, other in zip(a.addressable_shards, b.addressable_shards, strict=True):
            assert np.asarray(one.data).tobytes() == np.asarray(other.data).tobytes()
    params = result.state.params
    if mesh.get("mesh_model") == 2:
        assert params["logits"]["kernel"].addressable_shards[0].data.shape == (16, 32), params["logits"]
        assert len(params["embedding"].sharding.device_set) == 2
    if jax.process_index() == 0:
        leaves = [np.asarray(leaf.addressable_data(0) if {count!r} else leaf) for leaf in jax.tree.leaves(params)]
        np.savez({out!r} + "/" + name + ".npz", *leaves)
"""


EIGHT = """
import json, sys, jax
sys.path.insert(0, {tests!r})
from conftest import OPTIMIZER
from models.lm import LMConfig
from workflows.train import TrainConfig, train
model = LMConfig(vocab_size=64, width=16, layers=2, heads=4, head_width=8, mlp_width=32, max_distance=8)
found = {{}}
for data, parts in ((1, 1), (8, 1), (4, 2), (2, 4)):
    config = TrainConfig(data={data!r}, model=model, optimizer=OPTIMIZER, length=16, batch_size=8, steps=20,
        log_every=1, eval_every=0, checkpoint_every=0, mesh_data=data, mesh_model=parts)
    result = train(config, f"{out}/{{data}}x{{parts}}")
    held = {{}}
    for leaf in jax.tree.leaves(result.state.params):
        for shard in leaf.addressable_shards:
            held[shard.device.id] = held.get(shard.device.id, 0) + shard.data.nbytes
    found[f"{{data}}x{{parts}}"] = [[row["loss"] for row in result.rows], sorted(set(held.values())), len(held)]
print(json.dumps(found))
"""


def run_text(toy: str, out: Path, meshes: dict, address=None, count=None, index=None) -> str:
    tests = str(Path(__file__).parent)
    return RUN.format(tests=tests, data=toy, out=str(out), meshes=meshes, address=address, count=count, index=index)


def params_of(out: Path, name: str) -> list[np.ndarray]:
    return list(np.load(out / f"{name}.npz").values())


def rows_of(out: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (out / name / "metrics.jsonl").read_text().splitlines()]


def assert_alike(out: Path, one: str, other: str) -> None:
    for a, b in zip(params_of(out, one), params_of(out, other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5)
    for a, b in zip(rows_of(out, one), rows_of(out, other), strict=True):
        assert a["step"] == b["step"]
        for name in a.keys() - {"steps_per_s", "tokens_per_s"}:
            assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-6)


def test_the_rules_are_t5xs() -> None:
    """t5x.partitioning.standard_logical_axis_rules at commit cc342d4, activations and parameters over one axis each.

    The last two are ours; gin/t5x/in_context.gin adds them to T5X's.
    """
    assert dict(RULES) == {
        "batch": "data",
        **dict.fromkeys(("vocab", "mlp", "heads", "joined_kv"), "model"),
        **dict.fromkeys(("kv", "embed", "relpos_buckets", "abspos_buckets", "length", "layers", "stack")),
        "mlp_activations": None,
        **dict.fromkeys(("features", "classes")),
    }


def test_two_devices_compute_what_one_does(kit, toy, tmp_path: Path) -> None:
    meshes = {
        "one": {"mesh_data": 1, "mesh_model": 1},
        "data": {"mesh_data": 2, "mesh_model": 1},
        "model": {"mesh_data": 1, "mesh_model": 2},
        "micro": {"mesh_data": 2, "mesh_model": 1, "microbatches": 2},
    }
    process = kit.start(run_text(toy, tmp_path, meshes), devices=2)
    _, told = process.communicate()
    assert process.returncode == 0, told
    for name in ("data", "model", "micro"):
        assert_alike(tmp_path, "one", name)


@pytest.mark.slow
def test_eight_devices_compute_what_one_does(kit, toy, tmp_path: Path) -> None:
    code = EIGHT.format(tests=str(Path(__file__).parent), data=toy, out=str(tmp_path))
    process = kit.start(code, devices=8)
    printed, told = process.communicate()
    assert process.returncode == 0, told
    found = json.loads(printed.splitlines()[-1])
    losses, (whole,), _ = found["1x1"]
    assert len(losses) == 20
    assert losses[-1] < 0.8 * losses[0]
    model = LMConfig(vocab_size=64, width=16, layers=2, heads=4, head_width=8, mlp_width=32, max_distance=8)
    matrices = 4 * (model.block_parameters() + 2 * model.vocab_size * model.width)  # bytes
    for mesh, parts in (("8x1", 1), ("4x2", 2), ("2x4", 4)):
        assert found[mesh][0] == pytest.approx(losses, rel=1e-4)
        assert found[mesh][1:] == [[whole - matrices + matrices // parts], 8]


@pytest.mark.slow
def test_two_processes_compute_what_one_does(kit, toy, tmp_path: Path) -> None:
    with socket.socket() as chosen:
        chosen.bind(("localhost", 0))
        address = f"localhost:{chosen.getsockname()[1]}"
    both = {"two": {}}
    processes = [kit.start(run_text(toy, tmp_path, both, address, 2, index)) for index in range(2)]
    alone = kit.start(run_text(toy, tmp_path, {"one": {}}))
    for process in (*processes, alone):
        _, told = process.communicate()
        assert process.returncode == 0, told
    assert_alike(tmp_path, "one", "two")


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_the_optimizers_arrays_lie_where_their_parameters_do(config, name: str) -> None:
    model = config().model
    optimizer = optimizer_of(OptimizerConfig(name=name), 10)  # pyright: ignore[reportArgumentType]

    def start():
        params = DecoderLM(model).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
        return initial_state(params, optimizer)

    state = jax.eval_shape(start)
    mesh = make_mesh(1, 1)
    found = state_shardings(mesh, state, logical_axes(model))
    assert found.params["embedding"].spec == PartitionSpec("model", None)
    assert found.params["mlp_0"]["gate"]["kernel"].spec == PartitionSpec(None, "model")
    assert found.params["mlp_0"]["out"]["kernel"].spec == PartitionSpec("model", None)
    assert found.params["attention_0"]["query"]["kernel"].spec == PartitionSpec(None, "model", None)
    assert found.params["final_norm"]["scale"].spec == PartitionSpec(None)
    assert found.step == sharding(mesh)
    expected = {
        leaf.shape: place.spec
        for leaf, place in zip(jax.tree.leaves(state.params), jax.tree.leaves(found.params), strict=True)
    }
    split = 0
    for leaf, place in zip(jax.tree.leaves(state.optimizer_state), jax.tree.leaves(found.optimizer_state), strict=True):
        assert place.spec == (expected[leaf.shape] if leaf.shape in expected else PartitionSpec())
        split += "model" in place.spec
    # Adafactor sees attention's kernels as matrices: of small ones it keeps whole moments, in another shape
    kept = [spec for shape, spec in expected.items() if name == "adamw" or len(shape) < 3]
    assert split >= sum("model" in spec for spec in kept) > 3


def test_a_name_without_a_rule_is_an_error() -> None:
    with pytest.raises(KeyError):
        sharding(make_mesh(1, 1), ("batch", "colour"))
