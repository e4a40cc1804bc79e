"""The steps of `composition` about labelled images: guidance by a classifier, and tapestries of many conditions.

A model that knows no labels is multiplied with a power of a classifier, and sampled for every label in turn. A second
classifier, trained apart on nearly clean images, judges: the share of images that it takes for what was wished, and in
its features' space how far made images are from real ones and how many kinds of these they cover.

N = images, C = classes, F = features, W = windows.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from models.composition.algebra import likelihood, tapestry
from models.composition.annealing import sample
from models.composition.classifier import features_of, log_probability
from models.composition.density import Density
from models.composition.diagnostics import drawn
from models.composition.diffusion import density_of
from models.composition.feature_distances import coverage, frechet_distance
from models.composition.sampler_config import SamplerConfig
from models.composition.trained import TrainedDiffusion
from seqio_tasks.composition_images import resident_images
from shammie import files
from shammie.configs import plain
from shammie.errors import UserError
from workflows.composition_steps import CODE, train_step, trained_by, write_arrays
from workflows.composition_training import DiffusionTrainConfig
from workflows.dag import Running, Step

SCORES, IMAGES = "scores.json", "images.npz"
GUIDE, JUDGE = "train_guide", "train_judge"
SHOWN = 4  # images of each class that are kept for the page
REAL = "real"  # the row of held-out real images


@dataclass(frozen=True)
class NamedSampler:
    """A sampler under the name that tables and pictures have for it.

    Attributes:
        name: one word.
        sampler: its settings.
        forms: the forms of models that it samples; those with a Metropolis test need energies.
    """

    name: str = "hmc"
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    forms: Sequence[str] = ("dae",)


@dataclass(frozen=True)
class DigitSettings:
    """Guidance on labelled images.

    Attributes:
        models: trainings of unconditional models, of different forms.
        guide: the training of the classifier that guides, under the models' noise.
        judge: the training of the one that judges, under hardly any.
        samplers: how images are drawn.
        weights: of the guidance.
        images_per_class: that are drawn, for each sampler, weight and seed.
        seeds: of the drawing.
        canvas: of tapestries, (height, width, channels).
        corners: of their windows.
        tapestries: how many are drawn.
        tapestry_weight: of the guidance in each window.
    """

    models: Sequence[DiffusionTrainConfig] = ()
    guide: DiffusionTrainConfig = field(default_factory=DiffusionTrainConfig)
    judge: DiffusionTrainConfig = field(default_factory=DiffusionTrainConfig)
    samplers: Sequence[NamedSampler] = (NamedSampler(),)
    weights: Sequence[float] = (1.0, 3.0)
    images_per_class: int = 30
    seeds: Sequence[int] = (0,)
    canvas: Sequence[int] = (14, 20, 1)
    corners: Sequence[Sequence[int]] = ((0, 0, 0), (0, 6, 0), (0, 12, 0), (6, 0, 0), (6, 6, 0), (6, 12, 0))
    tapestries: int = 8
    tapestry_weight: float = 2.0

    def __post_init__(self) -> None:
        for what, run in (("guide", self.guide), ("judge", self.judge)):
            if run.model.form != "classifier":
                raise UserError(f"DigitSettings.{what} trains a {run.model.form!r}", "make its form 'classifier'")
        for run in self.models:
            if run.model.schedule != self.guide.model.schedule:
                raise UserError(
                    f"the guide's noise is {self.guide.model.schedule}, a model's {run.model.schedule}",
                    "give both one schedule: a classifier guides at the levels it was trained on",
                )
        known = {run.model.form for run in self.models}
        for one in self.samplers:
            if not set(one.forms) & known:
                raise UserError(
                    f"sampler {one.name} is for {tuple(one.forms)}, none of {sorted(known)}", "change forms"
                )

    @property
    def pairs(self) -> list[tuple[str, NamedSampler]]:
        """The forms and samplers that go together."""
        forms = [run.model.form for run in self.models]
        return [(form, one) for one in self.samplers for form in forms if form in one.forms]


def guided_steps(settings: DigitSettings) -> dict[str, Step]:
    """The steps "guidance" and "tapestry", which stand on the trainings."""
    trainings: dict[str, Step] = {
        _model(run.model.form): train_step(_model(run.model.form), run) for run in settings.models
    }
    trainings |= {GUIDE: train_step(GUIDE, settings.guide), JUDGE: train_step(JUDGE, settings.judge)}
    told = plain(settings)
    shared: dict[str, Any] = {"inputs": trainings, "code": (*CODE, __name__)}
    tapestry_keys = ("canvas", "corners", "tapestries", "tapestry_weight")
    samplers = plain(list(settings.samplers))
    guidance = {name: told[name] for name in ("weights", "images_per_class", "seeds")} | {"samplers": samplers}
    canvases = {name: told[name] for name in tapestry_keys} | {"samplers": samplers}
    return {
        "guidance": Step("guidance", lambda running: _guide(running, settings), config=guidance, **shared),
        "tapestry": Step("tapestry", lambda running: _weave(running, settings), config=canvases, **shared),
    }


def _model(form: str) -> str:
    return f"train_digits_{form}"


def guided_density(
    model: TrainedDiffusion,
    guide: TrainedDiffusion,
    params: Mapping[str, Any],
    label: jax.Array,
    weight: float | jax.Array,
) -> Density:
    """A model guided towards a label: q(x) p(label | x)^weight.

    Args:
        model: the unconditional model.
        guide: the classifier.
        params: "model" and "guide", their parameters as they are within a compiled program.
        label: int32 [].
        weight: of the guidance.
    """
    free = density_of(model.config, params["model"], name=model.config.form)
    c = guide.config
    given = likelihood(
        lambda x, level: log_probability(c, params["guide"], x, level, label), c.shape, c.schedule, "label"
    )
    return free * given**weight


def judged(judge: TrainedDiffusion, x_NX: np.ndarray, wished_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the judge makes of images.

    Args:
        judge: a classifier.
        x_NX: images, float32 from -1 to 1.
        wished_N: the label of each.

    Returns:
        Features, float [N, F], and whether it gives the image its label, bool [N].
    """
    features_NF, logits_NC = jax.jit(lambda params, x: features_of(judge.config, params, x))(judge.params, x_NX)
    return np.asarray(features_NF), np.asarray(logits_NC).argmax(axis=1) == wished_N


def _guide(running: Running, settings: DigitSettings) -> dict[str, Any]:
    guide, judge = trained_by(running, GUIDE), trained_by(running, JUDGE)
    classes = guide.config.condition.size
    real_NX, labels_N, train_NX = _real(settings, guide)
    real_NF, right_N = judged(judge, real_NX, labels_N)
    wished_N = np.tile(np.arange(classes, dtype=np.int32), settings.images_per_class)

    def row(form: str, sampler: str, made_NF: np.ndarray, right_N: np.ndarray, **more: Any) -> dict[str, Any]:
        near = {"frechet": frechet_distance(real_NF, made_NF), "coverage": coverage(real_NF, made_NF)}
        return {"form": form, "sampler": sampler, "accuracy": float(right_N.mean()), **near, **more}

    # the best that so many images can have: as many real ones beside the held-out ones
    some_N = np.random.default_rng(0).choice(len(train_NX), min(len(wished_N), len(train_NX)), replace=False)
    some_NF, _ = judged(judge, train_NX[some_N], np.zeros(len(some_N)))
    rows = [row(REAL, REAL, some_NF, right_N, weight=0.0, seed=0, evaluations=0, dropped=0)]
    kept = {REAL: _some_of_each(real_NX, labels_N, classes)}
    total = len(settings.pairs) * len(settings.weights) * len(settings.seeds)
    with running.progress("guidance: sets drawn", total) as progress:
        for form, one in settings.pairs:
            model = trained_by(running, _model(form))
            params = {"model": model.params, "guide": guide.params}
            draw = _drawer(model, guide, one.sampler, len(wished_N))
            for weight, seed in itertools.product(settings.weights, settings.seeds):
                samples = draw(params, jax.random.key(seed), jnp.asarray(wished_N), jnp.float32(weight))
                made_NX, wished = drawn(samples, one.sampler).x_MX, wished_N[np.asarray(samples.finite_N)]
                made_NF, right_N = judged(judge, np.clip(made_NX, -1.0, 1.0), wished)
                cost = {"evaluations": one.sampler.evaluations(model.config.schedule)}
                dropped = len(wished_N) - len(wished)
                rows.append(row(form, one.name, made_NF, right_N, weight=weight, seed=seed, dropped=dropped, **cost))
                if seed == settings.seeds[0]:
                    kept[f"{form} {one.name} {weight:g}"] = _some_of_each(made_NX, wished, classes)
                progress.advance()
    files.write_json(running.path(SCORES), rows)
    write_arrays(running.path(IMAGES), kept)
    return {"sets": total}


def _drawer(model: TrainedDiffusion, guide: TrainedDiffusion, sampler: SamplerConfig, chains: int) -> Any:
    """The compiled function from parameters, key, labels [N] and weight to samples."""

    def draw(params: Any, key: jax.Array, labels_N: jax.Array, weight: jax.Array) -> Any:
        of_label = lambda label: guided_density(model, guide, params, label, weight)  # noqa: E731
        return sample(key, of_label, sampler, chains, cases=labels_N)

    return jax.jit(draw)


def _weave(running: Running, settings: DigitSettings) -> dict[str, Any]:
    guide, judge = trained_by(running, GUIDE), trained_by(running, JUDGE)
    classes, size = guide.config.condition.size, (settings.tapestries, len(settings.corners))
    wished_NW = np.random.default_rng(0).integers(0, classes, size, dtype=np.int32)
    rows, kept = [], {}
    with running.progress("tapestries: samplers", len(settings.pairs)) as progress:
        for form, one in settings.pairs:
            model = trained_by(running, _model(form))

            def draw(params: Any, key: jax.Array, cases_NW: jax.Array, model: Any = model, one: Any = one) -> Any:
                of_label = lambda label: guided_density(model, guide, params, label, settings.tapestry_weight)  # noqa: E731
                woven = lambda labels_W: tapestry(of_label, settings.canvas, settings.corners, labels_W)  # noqa: E731
                return sample(key, woven, one.sampler, settings.tapestries, cases=cases_NW)

            params = {"model": model.params, "guide": guide.params}
            samples = jax.jit(draw)(params, jax.random.key(0), jnp.asarray(wished_NW))
            made_NX = drawn(samples, one.sampler).x_MX
            right_NW = _judged_windows(judge, made_NX, wished_NW[np.asarray(samples.finite_N)], settings.corners)
            rows.append({"form": form, "sampler": one.name, "accuracy": float(right_NW.mean())})
            kept[f"{form} {one.name}"] = made_NX
            progress.advance()
    kept["wished"] = wished_NW
    files.write_json(running.path(SCORES), rows)
    write_arrays(running.path(IMAGES), kept)
    return {"tapestries": settings.tapestries}


def _judged_windows(
    judge: TrainedDiffusion, made_NX: np.ndarray, wished_NW: np.ndarray, corners: Sequence[Sequence[int]]
) -> np.ndarray:
    """Whether each window holds the label that it should, bool [N, W]."""
    right = []
    for place, corner in enumerate(corners):
        window = tuple(slice(at, at + size) for at, size in zip(corner, judge.config.shape, strict=True))
        right.append(judged(judge, np.clip(made_NX[(slice(None), *window)], -1.0, 1.0), wished_NW[:, place])[1])
    return np.stack(right, axis=1)


def _real(settings: DigitSettings, guide: TrainedDiffusion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Held-out images and their labels, and those of training."""
    images = resident_images(settings.guide.data, guide.config.shape)
    first = len(images.x_MX) - int(images.held_out)
    return images.x_MX[first:], images.condition_M[first:], images.x_MX[:first]


def _some_of_each(x_NX: np.ndarray, labels_N: np.ndarray, classes: int) -> np.ndarray:
    """The first few images of each class that has so many, float32 [classes * SHOWN, X]; black where there are none."""
    shown = np.full((classes, SHOWN, *x_NX.shape[1:]), -1.0, np.float32)
    for label in range(classes):
        of_label = x_NX[labels_N == label][:SHOWN]
        shown[label, : len(of_label)] = of_label
    return shown.reshape(-1, *x_NX.shape[1:])
