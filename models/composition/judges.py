"""Judges of scenes: does an object lie here, and which kinds of objects are there? Trained on the spot on real scenes.

The judge of positions looks at a small window round the place it is asked about, so that it is the same everywhere; the
judge of captions at the whole image. Both see some noise in training, as samples keep the faintest level's, and images
that are no scenes (`spoilt`), in which nothing is: a sampler that whitens the whole image has met no wish. H, W, C = an
image's axes, B = batch, N = objects or images, K = conditions, G = pixels of a window's side, S = steps.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from models.composition.captions import COLOURS, SHAPES
from models.composition.layers import Conv, Dense, Norm
from models.composition.scenes import COLOURED, GREY, Scene, SceneConfig, scene
from models.composition.unet import patched
from models.training import OptimizerConfig, Params, average, initial_state, optimizer_of, scan_steps, train_step
from shammie.errors import UserError, unknown

SCENES: Mapping[str, SceneConfig] = {"positions": GREY, "captions": COLOURED}
KINDS = len(COLOURS) * len(SHAPES)  # of objects: colour * len(SHAPES) + shape
AT_ONCE = 100  # steps of one call of the compiled program
TESTED = 2000  # held-out scenes that a judge is measured on
HELD_OUT = 2**30  # is folded into the key of these
SPOILT = 1  # likewise, of spoilt images


@dataclass(frozen=True)
class JudgeConfig:
    """A judge and its training.

    Attributes:
        kind: "positions" or "captions".
        width: of its hidden layers.
        window: G, of the judge of positions.
        near: an object "lies" at places up to this far from its centre, a share of the side.
        far: none does where all centres are this far or more; between the two the judge may say either.
        noise: deviation of the noise on its training images is drawn from 0 to this.
        spoilt: share of its training images that are no scenes.
        batch: of the training.
        steps: of the training.
        learning_rate: Adam's, that falls to 0 by a cosine.
        seed: of first parameters and scenes.

    Raises:
        UserError: an unknown kind, or distances that leave nothing to tell apart.
    """

    kind: str = "positions"
    width: int = 64
    window: int = 9
    near: float = 0.06
    far: float = 0.12
    noise: float = 0.15
    spoilt: float = 0.2
    batch: int = 128
    steps: int = 600
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in JUDGES:
            raise unknown("kind of judge", self.kind, JUDGES)
        if not 0 <= self.near < self.far:
            raise UserError(f"JudgeConfig.near and far are {self.near!r} and {self.far!r}", "give 0 <= near < far")

    @property
    def scenes(self) -> SceneConfig:
        """What it judges: the scenes that models of `sources` are trained on."""
        return SCENES[self.kind]


class PositionJudge(nn.Module):
    """Whether an object lies at a place: a perceptron on the window round it."""

    config: JudgeConfig

    @nn.compact
    def __call__(self, image_BHWC: jax.Array, position_B2: jax.Array) -> jax.Array:
        """Logits, float32 [B]."""
        window_BF = jax.vmap(functools.partial(_window, self.config.window))(image_BHWC[..., 0], position_B2)
        hidden = nn.silu(Dense(self.config.width, name="read")(window_BF))
        hidden = nn.silu(Dense(self.config.width, name="think")(hidden))
        return Dense(1, name="out")(hidden)[:, 0]


class CaptionJudge(nn.Module):
    """Which kinds of objects an image has: convolutions and the largest value over all places."""

    config: JudgeConfig

    @nn.compact
    def __call__(self, image_BHWC: jax.Array) -> jax.Array:
        """Logits, float32 [B, kinds]."""
        width = self.config.width // 2
        x = patched(image_BHWC, 2)
        for name in ("first", "second", "third"):
            x = Norm(4, name=f"norm_{name}")(nn.silu(Conv(width, name=name)(x)))
        return Dense(KINDS, name="out")(jnp.max(x, axis=(1, 2)))


JUDGES: Mapping[str, Any] = {"positions": PositionJudge, "captions": CaptionJudge}


def _window(size: int, image_HW: jax.Array, position_2: jax.Array) -> jax.Array:
    """The pixels round a place, interpolated, -1 beyond the image; float32 [G * G]."""
    height, width = image_HW.shape
    steps_G = jnp.arange(size) - (size - 1) / 2
    down_G, right_G = position_2[1] * height - 0.5 + steps_G, position_2[0] * width - 0.5 + steps_G
    tent = lambda at_G, count: jnp.maximum(0.0, 1.0 - jnp.abs(at_G[:, None] - jnp.arange(count)[None]))  # noqa: E731
    brightness_GG = tent(down_G, height) @ (image_HW + 1.0) @ tent(right_G, width).T
    return (brightness_GG - 1.0).reshape(-1)


def trained(config: JudgeConfig) -> tuple[Params, dict[str, float]]:
    """Trains a judge, and measures it on scenes that it has not seen.

    Returns:
        Its parameters; and "accuracy", the share of right answers on held-out noiseless scenes: of positions on as many
        yes as no, of captions over all kinds; "recall", of the yes, "false_alarms", the share of no answered yes; and
        "spoilt_alarms", that of images that are no scenes.
    """
    loss = _losses(config)
    schedule = OptimizerConfig(name="adam", learning_rate=config.learning_rate, factors="constant * cosine_decay")
    optimizer = optimizer_of(schedule, config.steps)
    one_step = train_step(loss, optimizer)
    key = jax.random.key(config.seed)

    @functools.partial(jax.jit, donate_argnums=0)
    def steps(state: Any, number_S: jax.Array) -> Any:
        made = lambda number: questions(  # noqa: E731
            config, jax.random.fold_in(key, number), config.batch, config.noise, config.spoilt
        )
        return scan_steps(lambda state, number: one_step(state, made(number)))(state, number_S)[0]

    state = jax.jit(lambda key: initial_state(first_params(config, key), optimizer))(key)
    for first in range(0, config.steps, AT_ONCE):
        state = steps(state, jnp.arange(first, min(first + AT_ONCE, config.steps)))
    return jax.device_get(state.params), measured(config, state.params)


def first_params(config: JudgeConfig, key: jax.Array) -> Params:
    """Parameters before training."""
    inputs, _ = questions(config, key, 1, 0.0)
    variables: Any = JUDGES[config.kind](config).init(key, *inputs)
    return variables["params"]


def questions(
    config: JudgeConfig, key: jax.Array, count: int, noise: float, share: float = 0.0
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Random scenes with what is to be answered about them.

    Args:
        config: the judge.
        key: of everything.
        count: B.
        noise: the largest deviation of noise on the images.
        share: of the images that are spoilt.

    Returns:
        The judge's inputs: images, and of positions where to look, [B, 2]; and the answers, bool [B] or [B, kinds].
    """
    scene_key, noise_key, deviation_key, ask_key = jax.random.split(key, 4)
    scenes: Scene = jax.vmap(lambda key: scene(key, config.scenes))(jax.random.split(scene_key, count))
    deviation_B = noise * jax.random.uniform(deviation_key, (count, 1, 1, 1))
    image_BHWC = scenes.image_HWC + deviation_B * jax.random.normal(noise_key, scenes.image_HWC.shape)
    spoil_key, which_key = jax.random.split(jax.random.fold_in(key, SPOILT))
    whole_B = ~jax.random.bernoulli(which_key, share, (count,))
    image_BHWC = jnp.where(whole_B[:, None, None, None], image_BHWC, spoilt(spoil_key, image_BHWC))
    if config.kind == "captions":
        return (image_BHWC,), jax.vmap(kinds_in)(scenes) & whole_B[:, None]
    ask = lambda key, made: _place(key, config, made)  # noqa: E731
    position_B2, here_B = jax.vmap(ask)(jax.random.split(ask_key, count), scenes)
    return (image_BHWC, position_B2), here_B & whole_B


def spoilt(key: jax.Array, image_BHWC: jax.Array) -> jax.Array:
    """Images that are no scenes, -1 to 1: half of them one grey, light or dark, with noise, half drowned in noise."""
    count = len(image_BHWC)
    grey_key, low_key, flat_key, noise_key = jax.random.split(key, 4)
    one_each = lambda key, least, most: jax.random.uniform(key, (count, 1, 1, 1), minval=least, maxval=most)  # noqa: E731
    flat_B111 = jax.random.bernoulli(flat_key, shape=(count, 1, 1, 1))
    deviation_B111 = one_each(low_key, jnp.where(flat_B111, 0.0, 0.5), 1.0)
    drowned_BHWC = jnp.where(flat_B111, one_each(grey_key, -1.0, 1.5), image_BHWC)
    return jnp.clip(drowned_BHWC + deviation_B111 * jax.random.normal(noise_key, image_BHWC.shape), -1.0, 1.0)


def kinds_in(made: Scene) -> jax.Array:
    """Which kinds of objects a scene has, bool [kinds]."""
    kind_N = made.colour_N * len(SHAPES) + made.shape_N
    return jnp.any((kind_N[:, None] == jnp.arange(KINDS)[None]) & made.present_N[:, None], axis=0)


def _place(key: jax.Array, config: JudgeConfig, made: Scene) -> tuple[jax.Array, jax.Array]:
    """A place to ask about, as often near an object as far from all, of the far ones half just so; and which."""
    here_key, one_key, turn_key, reach_key, any_key, close_key = jax.random.split(key, 6)
    centre_2 = made.centre_N2[jax.random.randint(one_key, (), 0, jnp.sum(made.present_N))]
    angle = 2.0 * jnp.pi * jax.random.uniform(turn_key)
    about = lambda reach: centre_2 + reach * jnp.stack([jnp.cos(angle), jnp.sin(angle)])  # noqa: E731
    share = jnp.sqrt(jax.random.uniform(reach_key))
    c = config.scenes
    anywhere_2 = jax.random.uniform(any_key, (2,), minval=c.margin, maxval=1.0 - c.margin)
    beside_2 = about(config.far * (1.0 + share))
    other_2 = jnp.where(jax.random.bernoulli(close_key), beside_2, anywhere_2)
    position_2 = jnp.where(jax.random.bernoulli(here_key), about(config.near * share), other_2)
    gaps_N = jnp.sqrt(jnp.sum((made.centre_N2 - position_2[None]) ** 2, axis=1))
    nearest = jnp.min(jnp.where(made.present_N, gaps_N, jnp.inf))
    # what lies between near and far is asked at the object's very centre, where the answer is plain
    unclear = (nearest > config.near + 1e-6) & (nearest < config.far)
    return jnp.where(unclear, centre_2, position_2), unclear | (nearest <= config.near + 1e-6)


def logits(config: JudgeConfig, params: Params, *inputs: jax.Array) -> jax.Array:
    """A judge's answers, above 0 for yes: float32 [B], or [B, kinds]."""
    answers: Any = JUDGES[config.kind](config).apply({"params": params}, *inputs)
    return answers


def _losses(config: JudgeConfig) -> Callable[[Params, Any], tuple[jax.Array, dict[str, Any]]]:
    def loss_function(params: Params, batch: Any) -> tuple[jax.Array, dict[str, Any]]:
        inputs, answers = batch
        nats = optax.sigmoid_binary_cross_entropy(logits(config, params, *inputs), answers.astype(jnp.float32))
        return jnp.mean(nats), {"loss": average(jnp.sum(nats), nats.size)}

    return loss_function


def measured(config: JudgeConfig, params: Params) -> dict[str, float]:
    """How often a judge is right on held-out scenes; see `trained`."""

    def ask(params: Params, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        inputs, answers = questions(config, key, TESTED, 0.0)
        nothing, _ = questions(config, key, TESTED, 0.0, share=1.0)
        return logits(config, params, *inputs) > 0, answers, logits(config, params, *nothing) > 0

    asked = jax.jit(ask)(params, jax.random.fold_in(jax.random.key(config.seed), HELD_OUT))
    said, answers, seen = (np.asarray(one) for one in asked)
    return {
        "accuracy": float(np.mean(said == answers)),
        "recall": float(np.mean(said[answers])),
        "false_alarms": float(np.mean(said[~answers])),
        "spoilt_alarms": float(np.mean(seen)),
    }


def objects_at(config: JudgeConfig, params: Params, image_NHWC: jax.Array, position_NK2: jax.Array) -> jax.Array:
    """Whether objects lie at places of images, bool [N, K]."""
    ask = lambda position_N2: logits(config, params, image_NHWC, position_N2) > 0  # noqa: E731
    return jax.vmap(ask, in_axes=1, out_axes=1)(position_NK2)


def kinds_seen(config: JudgeConfig, params: Params, image_NHWC: jax.Array) -> jax.Array:
    """Which kinds of objects images have, bool [N, kinds]."""
    return logits(config, params, image_NHWC) > 0
