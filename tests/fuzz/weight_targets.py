"""Trained weights and checkpoints of every system."""

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.diffusion import first_variables
from models.composition.diffusion_config import ConditionConfig, DiffusionConfig
from models.composition.trained import TrainedDiffusion
from models.equal_info.m1 import M1, M1Config
from models.in_context.learner import first_params, network_of
from models.in_context.learner_config import LearnerConfig
from models.in_context.trained import TrainedLearner
from models.learned_optimizers import baseline_files, meta_checkpoints, released, theta_files
from models.learned_optimizers.released_layouts import KINDS
from models.lm import DecoderLM, LMConfig
from models.lm.artefact import TrainedLM
from tests.fuzz.codec_targets import small_m1
from tests.fuzz.loop import Case
from tests.fuzz.mutation import mutated_json_bytes
from tests.fuzz.shapes import changed_arrays, changed_line, file_of, folder, sealed_line

_IDENTITY = "0" * 64


def _made(make: Callable[[], Any]) -> Any:
    """Arrays of the shapes that a function's have; nothing is compiled."""
    return jax.tree.map(lambda x: np.full(x.shape, 0.5, np.float32), jax.eval_shape(make))


def _lm(config: LMConfig) -> Any:
    return dict(DecoderLM(config).init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32)))["params"]


@cache
def _lms() -> list[bytes]:
    config = LMConfig(vocab_size=9, width=8, layers=1, heads=2, head_width=4, mlp_width=8, max_distance=4)
    return [TrainedLM(config, _made(lambda: _lm(config)), "bytes").to_bytes()]


@cache
def _m1s() -> list[bytes]:
    small = LMConfig(vocab_size=257, width=8, layers=1, heads=1, head_width=4, mlp_width=8, max_distance=4)
    decoder = M1(M1Config(kind="decoder", decoder=small), _made(lambda: _lm(small)))
    return [small_m1().to_bytes(), decoder.to_bytes()]


@cache
def _learners() -> list[bytes]:
    sizes: dict[str, Any] = {
        "features": 3,
        "classes": 2,
        "examples": 4,
        "width": 8,
        "layers": 1,
        "heads": 2,
        "head_width": 4,
    }
    found = []
    for kind in ("transformer", "lstm", "maml"):
        config = LearnerConfig(kind=kind, mlp_width=8, **sizes)
        found.append(
            TrainedLearner(
                config, _made(partial(first_params, network_of(config), jax.random.key(0))), {"seed": 1}
            ).to_bytes()
        )
    return found


@cache
def _diffusions() -> list[bytes]:
    mlp = DiffusionConfig(width=8, blocks=1, level_width=4, condition=ConditionConfig("classes", 3, width=4))
    unet = DiffusionConfig((8, 8, 1), network="unet", widths=(8, 8), groups=4, blocks=1, level_width=4)
    return [
        TrainedDiffusion(config, _made(partial(first_variables, config, jax.random.key(0)))["params"], {}).to_bytes()
        for config in (mlp, unet)
    ]


@cache
def _thetas() -> list[bytes]:
    small = {"velo": {}, "star": {}, "adafactor_mlp": {}, "mlp": {}}
    found = []
    for name, config in small.items():
        optimizer = theta_files.learned_optimizer(name, **config)
        data = theta_files.to_bytes(optimizer, _made(partial(optimizer.init_theta, jax.random.key(0))), {"seed": 0})
        if len(data) < 200_000:  # VeLO's are large, and its layout is met under `released`
            found.append(data)
    return found


@cache
def _released() -> list[bytes]:
    made = map(theta_files.learned_optimizer, ("star", "adafactor_mlp", "mlp"))
    return [released.to_checkpoint(one, _made(partial(one.init_theta, jax.random.key(0))), 5) for one in made]


def _gins() -> list[bytes]:
    kind = KINDS["star"]
    lines = ["import x", f"run_train.lopt = @{kind.reference}()", "x.y = (1, 'a')"]
    values = [f"{kind.reference}.{name} = 1" for name in kind.ignored]
    return ["\n".join([*lines, *values[:3]]).encode()]


@cache
def _meta_checkpoints() -> list[bytes]:
    import flax.serialization

    arrays = {str(number): np.arange(4, dtype=np.float32) for number in range(3)}
    header = {"format": meta_checkpoints.FORMAT, "identity": _IDENTITY, "segment": 1, "leaves": 3, "curve": [[1, 2.0]]}
    body = flax.serialization.msgpack_serialize(arrays)
    return [sealed_line(json.dumps({**header, "sha256": ""}).encode() + b"\n" + body)]


def _changed_checkpoint(data: bytes, random: Random) -> bytes:
    return changed_arrays(data, random)


def weights() -> list[Case]:
    """Trained models as files, and checkpoints of a meta-training."""
    line = {"change": changed_line, "seal": sealed_line, "batch": 25}
    return [
        Case("language_model", _lms, TrainedLM.from_bytes, **line),
        Case("m1", _m1s, M1.from_bytes, **line),
        Case("learner", _learners, partial(TrainedLearner.from_bytes, name="learner.bin"), **{**line, "batch": 5}),
        Case("diffusion", _diffusions, partial(TrainedDiffusion.from_bytes, name="model.bin"), **{**line, "batch": 5}),
        Case("theta", _thetas, theta_files.from_bytes, **{**line, "batch": 5}),
        Case("released", _released, released.from_checkpoint, change=_changed_checkpoint, batch=10),
        Case(
            "released_gin",
            _gins,
            lambda data: released.from_checkpoint(_released()[0], data.decode("utf-8", "replace")),
            words=(b"((((", b"-" * 3000, b"(" * 3000, b"{1: ", b"9" * 5000, b"1e999", b"None", b"[[]]", b"'x'"),
            batch=20,
        ),
        Case(
            "baselines",
            lambda: [b'{"task": [[0, 1, 2], [3.0, 2.0, 1.5]], "other": [[0], [1]]}'],
            baseline_files.from_bytes,
            change=mutated_json_bytes,
        ),
        Case(
            "meta_checkpoint",
            _meta_checkpoints,
            lambda data: meta_checkpoints.read(file_of(data, "meta.msgpack"), _IDENTITY),
            **line,
        ),
    ]


def checkpoints() -> list[Case]:
    """The trainer's checkpoints, Orbax's: each input is the bytes of one of its files."""
    from workflows.train.checkpoints import Checkpoints

    home, identity = folder() / "checkpoints", {"steps": 3, "seed": 0}
    state = {"params": {"w": jnp.arange(6.0).reshape(2, 3)}, "step": jnp.int32(3)}
    made = Checkpoints(str(home), identity, keep=1)
    made.save(3, state)
    made.close()
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    whole = {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}
    paths = [path for path, data in whole.items() if data]

    def parse(data: bytes) -> None:
        place: Path = paths[data[0] % len(paths)] if data else paths[0]
        place.write_bytes(data[1:])
        try:
            opened = Checkpoints(str(home), identity, keep=1)
            try:
                step = opened.latest()
                if step is not None:
                    opened.check(step)
                    opened.restore(step, like)
            finally:
                opened.close()
        finally:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(whole[place])

    def change(data: bytes, random: Random) -> bytes:
        return data[:1] + mutated_json_bytes(data[1:], random)

    return [
        Case(
            "trainer", lambda: [bytes([n]) + whole[path] for n, path in enumerate(paths)], parse, change=change, batch=5
        )
    ]
