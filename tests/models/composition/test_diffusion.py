"""Learned models: what each form's energy is, what its gradient is, and that densities are these, point by point."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.composition.conditions import place_maps
from models.composition.diffusion import density_of, energy, first_variables, noise_of, output, parameter_count
from models.composition.diffusion_config import ConditionConfig, DiffusionConfig
from models.composition.unet import doubled, halved, patched, unpatched
from shammie.configs import plain
from shammie.errors import UserError
from tests.models.composition.toys import CONDITIONS, MLP, SCHEDULE, UNET, params_of, points, quick

FORMULAS = {
    "dae": lambda x, f: np.sum((x - f) ** 2),
    "dae_half": lambda x, f: 0.5 * np.sum((x - f) ** 2),
    "l2": lambda x, f: 0.5 * np.sum(f**2),
    "inner": lambda x, f: np.sum(x * f),
}


def of_form(config: DiffusionConfig, form: str) -> DiffusionConfig:
    return dataclasses.replace(config, form=form)


def test_the_notebooks_network_has_its_size() -> None:
    """Four blocks of 128, widened twice, an embedding of 32 for 100 levels (composition.md section 2)."""
    assert parameter_count(DiffusionConfig()) == 565_506


@pytest.mark.parametrize("form", FORMULAS)
def test_energies_are_their_formulas_and_noise_their_gradient(form: str) -> None:
    config, params = of_form(MLP, form), params_of(MLP)
    x_BX, level_B = points(config)

    @quick
    def told(x_BX: jax.Array) -> tuple[jax.Array, ...]:
        f_BX = output(config, params, x_BX, level_B)
        return f_BX, energy(config, params, x_BX, level_B), noise_of(config, params, x_BX, level_B)

    f_BX, energy_B, eps_BX = told(x_BX)
    expected_B = [FORMULAS[form](x.astype(np.float64), f) for x, f in zip(x_BX, np.asarray(f_BX), strict=True)]
    np.testing.assert_allclose(energy_B, expected_B, rtol=2e-5)
    for seed in range(3):  # along a direction, of all points at once: points do not know each other
        way_BX = np.random.default_rng(seed).standard_normal(x_BX.shape).astype(np.float32)
        step = 5e-3
        change_B = (told(x_BX + step * way_BX)[1] - told(x_BX - step * way_BX)[1]) / (2 * step)
        slope_B = np.sum(eps_BX * way_BX, axis=tuple(range(1, x_BX.ndim)))
        np.testing.assert_allclose(change_B, slope_B, rtol=1e-2, atol=1e-2 * np.abs(slope_B).max())


@pytest.mark.parametrize(("config", "form"), [*((MLP, form) for form in FORMULAS), (UNET, "dae"), (MLP, "score")])
def test_only_energies_have_no_curl(config: DiffusionConfig, form: str) -> None:
    config, params = of_form(config, form), params_of(config)
    x_BX, level_B = points(config, 1)
    noise = lambda x: noise_of(config, params, x.reshape(1, *config.shape), level_B).reshape(-1)  # noqa: E731
    jacobian = np.asarray(quick(jax.jacfwd(noise))(x_BX.reshape(-1)))
    asymmetry = np.abs(jacobian - jacobian.T).max() / np.abs(jacobian).max()
    assert asymmetry > 0.05 if form == "score" else asymmetry < 1e-4


@pytest.mark.parametrize(
    ("config", "form"), [(MLP, "score"), (MLP, "dae"), pytest.param(UNET, "dae", marks=pytest.mark.slow)]
)
def test_densities_are_the_batch_point_by_point(config: DiffusionConfig, form: str) -> None:
    given, condition_B = CONDITIONS["vector"]
    config = dataclasses.replace(of_form(config, form), condition=given)
    params, (x_BX, level_B) = params_of(config), points(config)

    def batch(params: Any, x_BX: jax.Array, level_B: jax.Array, condition_B: jax.Array) -> Any:
        return noise_of(config, params, x_BX, level_B, condition_B)

    def chains(params: Any, x_BX: jax.Array, level_B: jax.Array, condition_B: jax.Array) -> Any:
        score = lambda x, level, condition: density_of(config, params, condition).score(x, level)  # noqa: E731
        return jax.vmap(score)(x_BX, level_B, condition_B)

    arguments = (params, x_BX, level_B, condition_B)
    compiled = [jax.jit(one).lower(*arguments).compile() for one in (batch, chains)]
    eps_BX, score_BX = (one(*arguments) for one in compiled)
    noise_B = np.sqrt(SCHEDULE.noise_variances_T)[level_B]
    expected_BX = -np.asarray(eps_BX) / noise_B.reshape(-1, *(1,) * len(config.shape))
    np.testing.assert_allclose(score_BX, expected_BX, rtol=1e-4, atol=1e-4 * np.abs(expected_BX).max())
    density = density_of(config, params, condition_B[1], "it")
    if form == "dae":
        energy_B = energy(config, params, x_BX[1:2], level_B[1:2], condition_B[1:2])
        np.testing.assert_allclose(density.log_density(x_BX[1], level_B[1]), -energy_B[0] / noise_B[1], rtol=1e-5)
    else:
        assert density.score_only == ("it",)
    # chains become rows of plain matrix products and convolutions, as a batch's points do
    texts = [str(one.as_text()) for one in compiled]
    heavy = [{name: len(re.findall(rf" {name}\(", text)) for name in ("dot", "convolution", "while")} for text in texts]
    assert heavy[0] == heavy[1]
    assert heavy[0]["dot"] > 3
    assert heavy[0]["while"] == 0


@pytest.mark.parametrize(
    ("config", "kind"), [*((MLP, kind) for kind in CONDITIONS if kind != "place"), (UNET, "vector"), (UNET, "place")]
)
def test_conditions_are_heard_and_their_absence_is_the_unconditional_model(config: DiffusionConfig, kind: str) -> None:
    given, condition_B = CONDITIONS[kind]
    config = dataclasses.replace(config, form="score", condition=given)
    params, (x_1X, level_1) = params_of(config), points(config, 1)
    x_BX, level_B = jnp.repeat(x_1X, 4, axis=0), jnp.repeat(level_1 + 2, 4)
    asked = quick(lambda *told: output(config, params, x_BX, level_B, *told))
    told_BX, mixed_BX = np.asarray(asked(condition_B)), np.asarray(asked(condition_B, jnp.array([1, 0, 1, 0], bool)))
    nothing_BX = np.asarray(asked())
    np.testing.assert_array_equal(nothing_BX, np.broadcast_to(nothing_BX[:1], nothing_BX.shape))
    np.testing.assert_allclose(mixed_BX[::2], told_BX[::2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mixed_BX[1::2], nothing_BX[1::2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(told_BX[3], told_BX[0], rtol=1e-4, atol=1e-5)
    for a, b in ((told_BX[0], nothing_BX[0]), (told_BX[0], told_BX[1]), (told_BX[0], told_BX[2])):
        assert np.abs(a - b).max() > 1e-3  # of words, the order alone differs
    assert np.isfinite(told_BX).all()  # of no words too


def test_a_place_is_drawn_where_it_lies_and_nothing_where_none_is_told() -> None:
    place_B2, told_B = jnp.array([[0.25, 0.625], [0.5, 0.5], [0.3, 0.4]]), jnp.array([True, True, False])
    maps_BHWC = np.asarray(place_maps(place_B2, told_B, 12, 8))
    assert maps_BHWC.shape == (3, 12, 8, 3)
    # middles of pixels lie at (i + 1/2) / size: x .25 lies between columns 1 and 2, y .625 in row 7's upper edge
    down, right = (7 + 0.5) / 12 - 0.625, (1 + 0.5) / 8 - 0.25
    for channel, reach in enumerate((0.07, 0.2)):
        bump_HW = maps_BHWC[0, ..., channel]
        assert bump_HW[7, 1] == bump_HW.max() == pytest.approx(np.exp(-(down**2 + right**2) / (2 * reach**2)), rel=1e-5)
        np.testing.assert_allclose(bump_HW[7, 1], bump_HW[7, 2], rtol=1e-5)
        np.testing.assert_allclose(maps_BHWC[1, ..., channel], maps_BHWC[1, ::-1, ::-1, channel], rtol=1e-5)
    assert (maps_BHWC[:2, ..., 2] == 1.0).all()
    assert (maps_BHWC[2] == 0.0).all()


def test_a_unet_sees_places_beside_the_image() -> None:
    """Its first convolution has three channels more: they move what it says though the vector is silenced."""
    config = dataclasses.replace(UNET, form="score", condition=CONDITIONS["place"][0])
    params = params_of(config)
    assert params["into"]["kernel"].shape == (3, 3, UNET.shape[-1] + 3, UNET.widths[0])
    (silent,) = [name for name in params if "condition" in name]
    params[silent] = jax.tree.map(np.zeros_like, params[silent])
    x_BX, level_B = points(config, 2)
    x_BX = jnp.repeat(x_BX[:1], 2, axis=0)
    said_BX = np.asarray(output(config, params, x_BX, 0 * level_B, np.array([[0.1, 0.2], [0.9, 0.5]], np.float32)))
    assert np.abs(said_BX[0] - said_BX[1]).max() > 1e-3


def test_the_l2_energy_begins_with_a_gradient() -> None:
    """Its noise is quadratic in the last layer, which must therefore not begin as zeros, as the others' do."""
    l2, (x_BX, level_B) = of_form(MLP, "l2"), points(MLP)

    @quick
    def largest(key: jax.Array) -> jax.Array:
        params = first_variables(l2, key)["params"]
        loss = lambda params: jnp.mean((noise_of(l2, params, x_BX, level_B) - 1.0) ** 2)  # noqa: E731
        return jnp.stack([jnp.abs(leaf).max() for leaf in jax.tree.leaves(jax.grad(loss)(params))]).max()

    assert float(largest(jax.random.key(0))) > 1e-3
    for config in (MLP, UNET):
        for form, begins_as_zeros in (("l2", False), ("dae", True)):
            first = quick(lambda key, one: first_variables(one, key)["params"]["out"]["kernel"], static_argnums=1)
            assert bool(np.any(first(jax.random.key(0), of_form(config, form)))) != begins_as_zeros


def test_images_shrink_grow_and_are_cut_to_patches() -> None:
    x_BHWC = jnp.arange(2.0 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    np.testing.assert_array_equal(halved(x_BHWC)[1, 1, 2], x_BHWC[1, 2:4, 4:6].mean(axis=(0, 1)))
    np.testing.assert_array_equal(halved(doubled(x_BHWC)), x_BHWC)
    np.testing.assert_array_equal(patched(x_BHWC, 2)[0, 1, 2].reshape(2, 2, 3), x_BHWC[0, 2:4, 4:6])
    np.testing.assert_array_equal(unpatched(patched(x_BHWC, 2), 2), x_BHWC)
    config = dataclasses.replace(UNET, patch=2)
    shapes = jax.eval_shape(lambda: output(config, params_of(config), *points(config)))
    assert shapes.shape == (4, 4, 4, 2)


def test_configs_go_through_json() -> None:
    for config in (DiffusionConfig(), dataclasses.replace(UNET, condition=CONDITIONS["words"][0])):
        again = DiffusionConfig.from_json(plain(config))
        assert again == config
        assert hash(again) == hash(config)
    assert DiffusionConfig(shape=[2]) == DiffusionConfig()  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DiffusionConfig(form="daee"), "unknown form 'daee'; did you mean dae"),  # pyright: ignore
        (lambda: DiffusionConfig(shape=(4, 4, 1)), "an MLP's points have shape (4, 4, 1)"),
        (lambda: DiffusionConfig(network="unet"), "a U-Net has points of shape (2,)"),
        (lambda: dataclasses.replace(UNET, shape=(6, 5, 2)), "images of 6 x 5 in patches of 1 cannot be halved 1"),
        (lambda: dataclasses.replace(UNET, groups=3), "3 groups do not divide width 4"),
        (lambda: dataclasses.replace(UNET, heads=3), "3 heads do not divide width 4"),
        (lambda: dataclasses.replace(UNET, attention=(2,)), "attention names resolution 2; give 0 to 1"),
        (lambda: DiffusionConfig(form="classifier"), "a classifier's condition is 'none'"),
        (lambda: ConditionConfig("words", 5), "ConditionConfig.length of 'words' is 0"),
        (lambda: DiffusionConfig(condition=ConditionConfig("place")), "an MLP has no places"),
        (lambda: ConditionConfig("class", 5), "unknown kind of condition 'class'"),  # pyright: ignore
        (lambda: DiffusionConfig(blocks=0), "DiffusionConfig.blocks is 0"),
        (lambda: energy(of_form(MLP, "score"), {}, *points(MLP)), "a model of the form 'score' has no energy"),
        (lambda: output(MLP, {}, *points(MLP), jnp.zeros(4)), "a model without conditions is given one"),
        (lambda: density_of(MLP, {}, jnp.zeros(2), "ring"), "ring takes no condition"),
        (lambda: DiffusionConfig.from_json({"widht": 3}), "unknown setting of a diffusion model 'widht'"),
    ],
)
def test_what_cannot_be_says_so(make: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)
