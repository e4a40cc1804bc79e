import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.composition.diffusion_config import ConditionConfig, DiffusionConfig
from models.composition.schedule import NoiseSchedule
from shammie.errors import UserError
from workflows import composition, dag, gin_config
from workflows.composition_digits import DigitSettings, NamedSampler
from workflows.composition_digits_pictures import sheet
from workflows.composition_plane import PlaneGrid
from workflows.composition_steps import read_arrays, write_arrays
from workflows.composition_training import DiffusionTrainConfig


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The finished steps of the tiny run, by name; minutes of compiling, so what stands on it is slow."""
    out = tmp_path_factory.mktemp("composition")
    gin_config.parse(["gin/composition/tiny.gin"], [], modules=("workflows.composition",))
    done = dag.run(gin_config.call(composition.steps), str(out))
    return {one.step.name: Path(one.directory) for one in done}


@pytest.mark.slow
def test_the_tiny_run_has_every_part_and_its_page_every_picture(tiny: dict[str, Path]) -> None:
    assert {"plane", "scenes", "captions", "guidance", "tapestry", "report"} <= set(tiny)
    page = (tiny["report"] / "report.html").read_text()
    assert page.count("<svg") >= 8
    for heading in ("On the plane", "Many positions", "Captions with AND and NOT", "Guided by", "Tapestries"):
        assert heading in page


@pytest.mark.slow
def test_the_result_is_what_the_steps_measured(tiny: dict[str, Path]) -> None:
    result = json.loads((tiny["report"] / "result.json").read_text())
    guidance = json.loads((tiny["guidance"] / "scores.json").read_text())
    by_hand = [row["frechet"] for row in guidance if (row["form"], row["sampler"]) == ("dae", "hmc")]
    assert result["digits_dae_hmc_w1_frechet"] == pytest.approx(np.mean(by_hand))
    scenes = json.loads((tiny["scenes"] / "scores.json").read_text())
    assert {row["sampler"] for row in scenes} == {"real", "reverse", "hmc"}
    accuracy = [row["accuracy"] for row in scenes if row["sampler"] == "hmc"]
    assert result["scenes_dae_hmc_2_accuracy"] == pytest.approx(np.mean(accuracy))
    woven = json.loads((tiny["tapestry"] / "scores.json").read_text())
    assert result["tapestry_dae_hmc_accuracy"] == next(row["accuracy"] for row in woven if row["sampler"] == "hmc")
    assert result["plane_product_dae_hmc_evaluations"] > result["plane_product_dae_reverse_evaluations"] > 0


@pytest.mark.slow
def test_tapestries_are_larger_than_the_models_images(tiny: dict[str, Path]) -> None:
    arrays = read_arrays(str(tiny["tapestry"] / "images.npz"))
    assert arrays["dae hmc"].shape == (2, 14, 20, 1)
    assert arrays["wished"].shape == (2, 6)


@pytest.mark.parametrize("size", ["main", "small", "paper"])
def test_every_size_declares_its_steps(size: str) -> None:
    gin_config.parse([f"gin/composition/{size}.gin"], [], modules=("workflows.composition",))
    names = [step.name for step in dag.in_order(gin_config.call(composition.steps))]
    assert names[-1] == "report"
    assert "plane" in names
    assert ("tapestry" in names) == (size == "small")


def test_worker_processes_are_no_part_of_what_a_run_is() -> None:
    identities = {
        composition.steps(composition.Settings(PlaneGrid(), processes=count))[-1].identity for count in (1, 3)
    }
    assert len(identities) == 1
    with pytest.raises(UserError, match="processes is 0"):
        composition.Settings(PlaneGrid(), processes=0)


def test_input_and_an_empty_run_are_refused() -> None:
    with pytest.raises(UserError, match=r"reads no --input \(got a.txt\)"):
        composition.steps(input=["a.txt"])
    with pytest.raises(UserError, match="all parts are None"):
        composition.Settings()


def test_a_guide_of_other_noise_and_a_sampler_for_no_model_are_refused() -> None:
    def run(form: Any, levels: int = 5) -> DiffusionTrainConfig:
        told = ConditionConfig("classes", 10) if form == "classifier" else ConditionConfig()
        schedule = NoiseSchedule(levels=levels)
        return DiffusionTrainConfig(
            model=DiffusionConfig((8, 8, 1), form, "unet", told, schedule),
            data="digits",
        )

    judge = run("classifier", 2)
    with pytest.raises(UserError, match=r"the guide's noise is .*levels=4.*levels=5"):
        DigitSettings([run("dae")], run("classifier", 4), judge)
    with pytest.raises(UserError, match="guide trains a 'dae'"):
        DigitSettings([run("dae")], run("dae"), judge)
    with pytest.raises(UserError, match=r"sampler ula is for \('score',\)"):
        DigitSettings([run("dae")], run("classifier"), judge, [NamedSampler("ula", forms=("score",))])


def test_a_sheet_has_each_image_at_its_place() -> None:
    x_NHWC = np.stack([np.full((2, 3, 1), value) for value in (-1.0, 0.0, 1.0)])
    whole = sheet(x_NHWC, 2)
    assert whole.shape == (5, 7, 1)
    assert whole[:2, :3].max() == 0.0
    assert np.all(whole[:2, 4:] == 0.5)
    assert np.all(whole[3:, :3] == 1.0)


def test_arrays_are_written_with_the_same_bytes_and_read_back(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(0)}
    for name in ("one", "two"):
        write_arrays(str(tmp_path / name), arrays)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    found = read_arrays(str(tmp_path / "one"))
    for (name, wanted), (read_name, read) in itertools.zip_longest(arrays.items(), found.items()):
        assert name == read_name
        np.testing.assert_array_equal(wanted, read)
