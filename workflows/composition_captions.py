"""The steps of `composition` about captions: scenes of what is wanted AND wanted and NOT wanted, from one model.

The model is told a caption of one object or of two. Each caption that is wished guides it with a weight above 0, each
that is not with one below (`composition_scenes.composed`); a judge says which kinds of objects a scene has.

N = scenes, K = captions of a wish, L = words of a caption, C = kinds of objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.captions import LENGTH, objects_of, words_of
from models.composition.diagnostics import drawn
from models.composition.judges import JudgeConfig, kinds_in, kinds_seen
from models.composition.scenes import COLOURED, scene
from shammie import files
from shammie.configs import plain
from shammie.errors import UserError
from workflows.composition_digits import NamedSampler
from workflows.composition_scenes import (
    IMAGES,
    REAL,
    SCORES,
    WISHES,
    cells_of,
    check_settings,
    drawer,
    how_drawn,
    judge_of,
    model_name,
    trainings,
)
from workflows.composition_steps import CODE, trained_by, write_arrays
from workflows.composition_training import DiffusionTrainConfig
from workflows.dag import Running, Step


@dataclass(frozen=True)
class Wish:
    """What a scene should have, and what not.

    Attributes:
        wanted: captions, such as "red disc"; AND.
        unwanted: captions of one object each; NOT.
    """

    wanted: Sequence[str] = ("red disc",)
    unwanted: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.wanted and not self.unwanted:
            raise UserError("a Wish has no captions", "give one or more of wanted and unwanted")
        for text in (*self.wanted, *self.unwanted):
            words_of(text)
        for text in self.unwanted:
            if words_of(text)[2]:
                raise UserError(f"a Wish does not want {text!r}", "name one object: which of two is wrong is not said")

    @property
    def text(self) -> str:
        """As people say it."""
        return " AND ".join([*self.wanted, *[f"NOT {text}" for text in self.unwanted]])


@dataclass(frozen=True)
class CaptionSettings:
    """Captions composed.

    Attributes:
        models: trainings on "captions"; of one form several with different seeds.
        judge: of captions.
        samplers: how scenes are drawn.
        wishes: what is composed.
        scenes: N, for each training, sampler, wish and seed.
        weight: of what is wanted.
        unwanted_weight: of what is not; 0 leaves NOT out.
        seeds: of chains.
        shown: scenes of each sampler and wish kept for the page.
    """

    models: Sequence[DiffusionTrainConfig] = ()
    judge: JudgeConfig = field(default_factory=lambda: JudgeConfig(kind="captions"))
    samplers: Sequence[NamedSampler] = (NamedSampler(),)
    wishes: Sequence[Wish] = (Wish(),)
    scenes: int = 32
    weight: float = 1.0
    unwanted_weight: float = 0.5
    seeds: Sequence[int] = (0,)
    shown: int = 4

    def __post_init__(self) -> None:
        check_settings("CaptionSettings", self.models, self.judge, "captions", self.samplers)


def caption_step(settings: CaptionSettings) -> Step:
    """The step "captions", on its trainings and judge: scores.json and images.npz.

    scores.json has a row for each training, sampler, wish and seed: "accuracy", the share of scenes with all that is
    wanted and nothing unwanted; "wanted" and "unwanted", the shares of scenes with all of the one and any of the other.
    """
    told = {**plain(settings), "models": [], "judge": {}}
    steps = trainings("captions", settings.models, settings.judge)
    run = lambda running: _caption(running, settings)  # noqa: E731
    return Step("captions", run, config=told, inputs=steps, code=(*CODE, __name__))  # fmt: skip


def cases_of(
    wishes: Sequence[Wish], scenes: int, weight: float, unwanted_weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """The conditions of chains, `scenes` of each wish in turn, padded to the longest.

    Returns:
        Captions, int32 [N, K, L]; and their weights, float32 [N, K], 0 for padding.
    """
    longest = max(len(wish.wanted) + len(wish.unwanted) for wish in wishes)
    words = np.tile(words_of("red disc"), (len(wishes), longest, 1))  # padding too must be a caption: its weight is 0
    weights = np.zeros((len(wishes), longest), np.float32)
    for number, wish in enumerate(wishes):
        texts = [*wish.wanted, *wish.unwanted]
        words[number, : len(texts)] = [words_of(text) for text in texts]
        weights[number, : len(texts)] = [weight] * len(wish.wanted) + [-unwanted_weight] * len(wish.unwanted)
    return np.repeat(words, scenes, axis=0), np.repeat(weights, scenes, axis=0)


def fulfilled(wish: Wish, kinds_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether scenes have all objects that a wish wants, and any that it does not; bool [N] each.

    Args:
        wish: what is looked for; how objects lie to each other is not judged.
        kinds_NC: which kinds of objects scenes have, bool [N, kinds].
    """

    def named(texts: Sequence[str]) -> list[int]:
        words_ML = jnp.asarray([words_of(text) for text in texts], jnp.int32).reshape(-1, LENGTH)
        kinds_M2, named_M2 = jax.vmap(objects_of)(words_ML)
        return np.asarray(kinds_M2)[np.asarray(named_M2)].tolist()

    wanted_N = np.asarray(kinds_NC[:, named(wish.wanted)].all(axis=1))
    return wanted_N, np.asarray(kinds_NC[:, named(wish.unwanted)].any(axis=1))


def _caption(running: Running, settings: CaptionSettings) -> dict[str, Any]:
    judge, wishes = judge_of(running), settings.wishes
    judged = jax.jit(lambda params, x: kinds_seen(settings.judge, params, x))
    rows, kept = _real_captions(wishes), {}
    words_NKL, weights_NK = cases_of(wishes, settings.scenes, settings.weight, settings.unwanted_weight)
    cells = cells_of(settings.models, settings.samplers)
    with running.progress("captions: sets drawn", len(cells) * len(settings.seeds)) as progress:
        for run, one in cells:
            model = trained_by(running, model_name("captions", run))
            draw = drawer(model.config, one.sampler)
            for seed in settings.seeds:
                samples = draw(model.params, jax.random.key(seed), jnp.asarray(words_NKL), jnp.asarray(weights_NK))
                drawn(samples, one.sampler)  # warns of what went wrong
                finite_N, x_NX = np.asarray(samples.finite_N), np.clip(np.asarray(samples.x_NX), -1.0, 1.0)
                kinds_NC = np.asarray(judged(judge, x_NX))
                how = how_drawn(samples, one.sampler, model.config)
                for number, wish in enumerate(wishes):
                    own = np.arange(number * settings.scenes, (number + 1) * settings.scenes)
                    own = own[finite_N[own]]
                    told = {"sampler": one.name, "form": run.model.form, "trained": run.seed, "seed": seed}
                    rows.append({**told, **_outcome(wish, kinds_NC[own]), **how, "dropped": settings.scenes - len(own)})
                    if seed == settings.seeds[0] and run.seed == settings.models[0].seed:
                        kept[f"{run.model.form} {one.name} {number}"] = x_NX[own][: settings.shown]
                progress.advance()
    files.write_json(running.path(SCORES), rows)
    write_arrays(running.path(IMAGES), kept)
    return {"sets": len(rows)}


def _outcome(wish: Wish, kinds_NC: np.ndarray) -> dict[str, Any]:
    wanted_N, unwanted_N = fulfilled(wish, kinds_NC)
    share = lambda found_N: float(np.mean(found_N)) if len(found_N) else None  # noqa: E731
    outcome = {"accuracy": wanted_N & ~unwanted_N, "wanted": wanted_N, "unwanted": unwanted_N}
    return {"wish": wish.text, "scenes": len(kinds_NC), **{name: share(found) for name, found in outcome.items()}}


def _real_captions(wishes: Sequence[Wish], scenes: int = 4096) -> list[dict[str, Any]]:
    """How often random real scenes fulfil each wish just so: what composing has to beat."""
    made = jax.jit(jax.vmap(lambda key: scene(key, COLOURED)))(jax.random.split(jax.random.key(WISHES), scenes))
    kinds_NC = np.asarray(jax.jit(jax.vmap(kinds_in))(made))
    told = {"sampler": REAL, "form": REAL, "trained": 0, "seed": 0}
    return [{**told, **_outcome(wish, kinds_NC)} for wish in wishes]
