"""The steps of `composition` about scenes: one model given several positions at once, and what a judge makes of it.

A model is told the position of one object. Each of several conditions guides it, prod_i
(q(x | c_i) / q(x))^w_i on q(x), with negative w_i for what a scene should not have (arXiv:2302.11552, sections 4.3 and
5.2). A scene is right where the judge finds all that was wished; on real scenes with the same things the judge itself
is measured, and that is the most that a model can have.

N = scenes, K = conditions, H, W, C = an image's axes. `workflows.composition_captions` is of captions.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from models.composition.algebra import product_over
from models.composition.annealing import Samples, sample
from models.composition.density import Density
from models.composition.diagnostics import drawn
from models.composition.diffusion import density_of
from models.composition.diffusion_config import DiffusionConfig
from models.composition.judges import JudgeConfig, objects_at, trained
from models.composition.sampler_config import SamplerConfig
from models.composition.scenes import GREY, scene
from shammie import files
from shammie.configs import plain
from shammie.errors import UserError
from workflows.composition_digits import NamedSampler
from workflows.composition_steps import CODE, read_arrays, train_step, trained_by, write_arrays
from workflows.composition_training import DiffusionTrainConfig
from workflows.dag import Running, Step

SCORES, IMAGES, JUDGE = "scores.json", "images.npz", "judge.npz"
REAL = "real"  # the rows of real scenes
WISHES = 2**20  # apart from the keys of chains


@dataclass(frozen=True)
class SceneSettings:
    """Positions composed.

    Attributes:
        models: trainings on "scenes"; of one form several with different seeds.
        judge: of positions.
        samplers: how scenes are drawn.
        conditions: how many positions are wished at once; so many objects has the scene that they are from.
        scenes: N, for each training, sampler, number and seed.
        weight: w of the guidance.
        seeds: of wishes and chains.
        shown: scenes of each sampler and number kept for the page.
    """

    models: Sequence[DiffusionTrainConfig] = ()
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    samplers: Sequence[NamedSampler] = (NamedSampler(),)
    conditions: Sequence[int] = (1, 2, 3, 4, 5)
    scenes: int = 64
    weight: float = 1.0
    seeds: Sequence[int] = (0,)
    shown: int = 6

    def __post_init__(self) -> None:
        check_settings("SceneSettings", self.models, self.judge, "positions", self.samplers)
        for count in self.conditions:
            if not 1 <= count <= GREY.objects:
                raise UserError(f"SceneSettings.conditions has {count!r}", f"give 1 to {GREY.objects}, as scenes have")


def check_settings(
    what: str,
    models: Sequence[DiffusionTrainConfig],
    judge: JudgeConfig,
    kind: str,
    samplers: Sequence[NamedSampler],
) -> None:
    """Raises UserError where judge, trainings and samplers do not go together.

    Args:
        what: names the settings.
        models: the trainings.
        judge: the judge.
        kind: that the judge should be of.
        samplers: some form of a training must suit each.
    """
    if judge.kind != kind:
        raise UserError(f"{what}.judge is of {judge.kind}", f"make its kind {kind!r}")
    names = [model_name(kind, run) for run in models]
    if len(set(names)) < len(names):
        raise UserError(f"{what}.models are {', '.join(names)}", "give trainings of one form different seeds")
    forms = {run.model.form for run in models}
    for one in samplers:
        if models and not set(one.forms) & forms:
            raise UserError(f"sampler {one.name} is for {tuple(one.forms)}, none of {sorted(forms)}", "change forms")


def judge_step(config: JudgeConfig) -> Step:
    """The step that trains a judge: judge.npz, and scores.json with its accuracy on held-out real scenes."""

    def run(running: Running) -> dict[str, Any]:
        params, scores = trained(config)
        arrays: Any = flax.traverse_util.flatten_dict(params, sep="/")
        write_arrays(running.path(JUDGE), arrays)
        files.write_json(running.path(SCORES), scores)
        return dict(scores)

    return Step(f"judge_{config.kind}", run, config=plain(config), code=("models.composition", "models.training"))


def scene_step(settings: SceneSettings) -> Step:
    """The step "scenes", on its trainings and judge: scores.json and images.npz.

    scores.json has a row for each training, sampler, number of conditions and seed: "accuracy", the share of scenes
    that have all; "met", the share of conditions; "evaluations" of the conditional score by a chain, "acceptance" and
    "dropped" chains. Rows of the sampler "real" are of real scenes.
    """
    told = {**plain(settings), "models": [], "judge": {}}
    steps = trainings("positions", settings.models, settings.judge)
    return Step(
        "scenes", lambda running: _compose(running, settings), config=told, inputs=steps, code=(*CODE, __name__)
    )


def trainings(kind: str, models: Sequence[DiffusionTrainConfig], judge: JudgeConfig) -> dict[str, Step]:
    """The steps that sampling stands on: the trainings of models, by `model_name`, and "judge"."""
    steps = {model_name(kind, run): train_step(model_name(kind, run), run) for run in models}
    return {**steps, "judge": judge_step(judge)}


def model_name(kind: str, run: DiffusionTrainConfig) -> str:
    """The name of a training's step."""
    return f"train_{kind}_{run.model.form}_{run.seed}"


def composed(config: DiffusionConfig, params: Any, conditions_K: Any, weights_K: jax.Array) -> Density:
    """A model guided by several conditions: q(x) prod_k (q(x | c_k) / q(x))^w_k.

    Args:
        config: the model.
        params: its parameters.
        conditions_K: a pytree of arrays [K, ...].
        weights_K: w, float32 [K]: above 0 for what is wished, below for what is not.
    """
    free = density_of(config, params, name="free")
    given = product_over(lambda one: density_of(config, params, one, "given"), conditions_K, weights_K)
    return free ** (1.0 - jnp.sum(weights_K)) * given


def drawer(config: DiffusionConfig, sampler: SamplerConfig) -> Any:
    """The compiled function (params, key, conditions [N, K, ...], weights float32 [N, K]) to `Samples`."""

    def draw(params: Any, key: jax.Array, conditions_NK: Any, weights_NK: jax.Array) -> Samples:
        of_case = lambda case: composed(config, params, *case)  # noqa: E731
        return sample(key, of_case, sampler, len(weights_NK), cases=(conditions_NK, weights_NK))

    return jax.jit(draw)


def wished_scenes(seed: int, scenes: int, count: int) -> tuple[jax.Array, jax.Array]:
    """Real scenes of `count` objects, [N, H, W, C], and where these lie, [N, K, 2]: wishes that can be met."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), WISHES + count), scenes)
    made = jax.jit(jax.vmap(lambda key: scene(key, GREY, count)))(keys)
    return made.image_HWC, made.centre_N2[:, :count]


def judge_of(running: Running) -> Any:
    """The parameters of a step's judge."""
    arrays = read_arrays(files.join(running.input("judge"), JUDGE))
    return flax.traverse_util.unflatten_dict(arrays, sep="/")


def cells_of(models: Sequence[DiffusionTrainConfig], samplers: Sequence[NamedSampler]) -> list[Any]:
    """The pairs of trainings and samplers that go together."""
    return [(run, one) for run in models for one in samplers if run.model.form in one.forms]


def _compose(running: Running, settings: SceneSettings) -> dict[str, Any]:
    judge = judge_of(running)
    judged = jax.jit(lambda params, x, at: objects_at(settings.judge, params, x, at))
    rows, kept = [], {}
    cells = cells_of(settings.models, settings.samplers)
    tasks = list(itertools.product(settings.seeds, settings.conditions))
    for seed, count in tasks:
        real_NX, at_NK2 = wished_scenes(seed, settings.scenes, count)
        met_NK = np.asarray(judged(judge, real_NX, at_NK2))
        rows.append({"sampler": REAL, "form": REAL, "trained": 0, "seed": seed, "conditions": count, **_shares(met_NK)})
        if seed == settings.seeds[0]:
            kept[f"wished {count}"] = np.asarray(at_NK2[: settings.shown])
            kept[f"{REAL} {REAL} {count}"] = np.asarray(real_NX[: settings.shown])
    with running.progress("scenes: sets drawn", len(cells) * len(tasks)) as progress:
        for run, one in cells:
            model = trained_by(running, model_name("positions", run))
            draw = drawer(model.config, one.sampler)
            for seed, count in tasks:
                _, at_NK2 = wished_scenes(seed, settings.scenes, count)
                weights_NK = jnp.full((settings.scenes, count), settings.weight)
                samples = draw(model.params, jax.random.key(seed), at_NK2, weights_NK)
                finite_N = np.asarray(samples.finite_N)
                made_NX = np.clip(drawn(samples, one.sampler).x_MX, -1.0, 1.0)
                met_NK = np.asarray(judged(judge, made_NX, np.asarray(at_NK2)[finite_N]))
                told = {"sampler": one.name, "form": run.model.form, "trained": run.seed, "seed": seed}
                how = how_drawn(samples, one.sampler, model.config)
                rows.append({**told, "conditions": count, **_shares(met_NK), **how})
                if seed == settings.seeds[0] and run.seed == settings.models[0].seed:
                    kept[f"{run.model.form} {one.name} {count}"] = np.asarray(samples.x_NX[: settings.shown])
                progress.advance()
    files.write_json(running.path(SCORES), rows)
    write_arrays(running.path(IMAGES), kept)
    return {"sets": len(rows)}


def _shares(met_NK: np.ndarray) -> dict[str, Any]:
    return {"accuracy": float(met_NK.all(axis=1).mean()), "met": float(met_NK.mean()), "scenes": len(met_NK)}


def how_drawn(samples: Samples, sampler: SamplerConfig, model: DiffusionConfig) -> dict[str, Any]:
    """A chain's evaluations of the composed score, the mean acceptance (None without a test), and dropped chains."""
    acceptance_T = np.asarray(samples.acceptance_T)
    told = acceptance_T[np.isfinite(acceptance_T)]
    return {
        "evaluations": sampler.evaluations(model.schedule),
        "acceptance": float(told.mean()) if sampler.tested and len(told) else None,
        "dropped": int(np.sum(~np.asarray(samples.finite_N))),
    }


def accuracy_by(rows: Sequence[Mapping[str, Any]], form: str, sampler: str) -> dict[int, list[float]]:
    """The accuracies of a form and sampler by number of conditions, one for each training and seed."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if (row["form"], row["sampler"]) == (form, sampler):
            found.setdefault(row["conditions"], []).append(row["accuracy"])
    return found
