"""The `trainability` DAG from end to end at toy size, its report, its film, and what its gin files promise."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from beam_jobs.trainability.zooming import read_frame, read_zoom
from models.trainability.colours import colours_of
from models.trainability.conditions import CONDITIONS
from models.trainability.planes import Plane
from models.trainability.zoom import Zoom
from shammie.errors import UserError
from workflows import gin_config, trainability, trainability_film
from workflows.cli import main
from workflows.dag import Step, load_records, plan
from workflows.dag_step import in_order
from workflows.trainability import Look, Settings, steps

TINY = ["--size", "tiny"]


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trainability")
    assert main(["run", "trainability", *TINY, "--out", str(out)]) == 0
    return out


def _steps(size: str, *bindings: str) -> list[Step]:
    gin_config.parse([f"gin/trainability/{size}.gin"], bindings, modules=["workflows.trainability"])
    return in_order(gin_config.call(trainability.steps))


def _record(out: Path, name: str, condition: str) -> Path:
    for record in load_records(str(out)):
        if record["name"] == f"{name}_{condition}":
            return Path(record["directory"])
    raise AssertionError(f"no {name} of {condition}")


def test_the_result_is_flat_and_what_the_zooms_counted(tiny_run: Path) -> None:
    result = json.loads((tiny_run / "result.json").read_text())
    assert all(isinstance(value, int | float) for value in result.values())
    about = read_zoom(str(_record(tiny_run, "zoom", "tanh_single")))
    slopes = np.concatenate([frame["slopes"] for frame in about["frames"]])
    assert result["tanh_single_n8_dimension"] == pytest.approx(np.median(slopes))
    assert result["tanh_single_n8_paper_dimension"] == 1.41
    assert (result["tanh_single_n8_frames"], result["mandelbrot_frames"]) == (5, 5)
    assert result["tanh_single_n8_decades"] == pytest.approx(4 * np.log10(2), abs=1e-3)
    tiles = sum(frame["tiles"] for frame in about["frames"])
    assert result["tanh_single_n8_tiles_share"] == pytest.approx(tiles / (5 * 256))
    assert result["control_sierpinski_triangle_dyadic_dimension"] == pytest.approx(np.log2(3))
    assert result["mandelbrot_dimension_low"] <= result["mandelbrot_dimension"] <= result["mandelbrot_dimension_high"]


def test_a_frame_in_full_costs_more_and_has_what_refinement_found(tiny_run: Path) -> None:
    (row,) = json.loads((_record(tiny_run, "full", "tanh_single") / "full.json").read_text())
    assert row["full_tiles"] == 256 > row["tiles"] > 0
    assert row["cheaper_ratio"] == pytest.approx(row["full_pixel_steps"] / row["pixel_steps"])
    assert row["cheaper_ratio"] > 1.5
    assert row["full_edges"] * (1 - row["missed_share"]) == pytest.approx(row["edges"])
    result = json.loads((tiny_run / "result.json").read_text())
    assert result["tanh_single_n8_frame_0_cheaper_ratio"] == row["cheaper_ratio"]


def test_the_report_has_pictures_tables_links_and_a_film(tiny_run: Path) -> None:
    page = (tiny_run / "report.html").read_text()
    assert page.count("<svg") == 4  # the planes, two ways down, dimensions
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert headings[0] == "The zoom"
    assert {"Dimensions", "Known sets", "Where float64 ends"} <= set(headings)
    assert not re.search(r'(src|href)="?http', page)
    links = re.findall(r'href="(view_[^"]*)"', page)
    assert len(links) == 4
    assert all((tiny_run / link).exists() for link in links)
    assert "log10 learning rate of the output layer" in page
    assert "data:image/webp;base64," in page


def test_the_film_zooms_from_frame_to_frame(tiny_run: Path) -> None:
    film = _record(tiny_run, "view", "tanh_single") / "zoom.webp"
    zoom = str(_record(tiny_run, "zoom", "tanh_single"))
    with Image.open(io.BytesIO(film.read_bytes())) as opened:
        assert opened.n_frames == 4 * 4 + 1  # type: ignore[attr-defined]
        assert opened.size == (96, 96)
        pictures = []
        for number in (0, 8, 16):
            opened.seek(number)
            pictures.append(np.asarray(opened.convert("RGB"), float))
    for picture, number in zip(pictures, (0, 2, 4), strict=True):
        expected = trainability_film.picture_of(
            read_frame(zoom, number), trainability_film.reference_of(zoom, number)
        ).resize((96, 96))
        errors = [np.abs(picture - np.asarray(one, float)).mean() for one in (expected, expected.rotate(180))]
        assert errors[0] < 12 < errors[1], number  # y is up, and it is this frame


def test_a_film_keeps_the_point_that_both_frames_show_at_one_place() -> None:
    outer = {"column": 8, "row": 4, "level": 5}
    inner = {"column": 18, "row": 10, "level": 6}
    place = trainability_film.inner_place(outer, inner, 8)
    assert place == (2 / 16, 0.5 - 2 / 16)
    assert trainability_film.view_box(place, 0.0) == (0.0, 0.0, 1.0, 1.0)
    assert trainability_film.view_box(place, 1.0) == pytest.approx((place[0], place[1], place[0] + 0.5, place[1] + 0.5))
    fixed = (2 * place[0], 2 * place[1])
    for shown in (0.25, 0.5, 0.9):
        left, top, right, bottom = trainability_film.view_box(place, shown)
        assert right - left == pytest.approx(bottom - top) == pytest.approx(2**-shown)
        assert ((fixed[0] - left) / (right - left), (fixed[1] - top) / (bottom - top)) == pytest.approx(fixed)


def test_a_frames_colours_are_ranked_among_its_neighbours(tiny_run: Path) -> None:
    zoom = str(_record(tiny_run, "zoom", "tanh_single"))
    reference = trainability_film.reference_of(zoom, 3)
    assert len(reference) == 3 * 64 * 64
    assert len(trainability_film.reference_of(zoom, 4)) == 2 * 64 * 64
    values = read_frame(zoom, 3)
    whole = np.asarray(trainability_film.picture_of(values, reference))
    np.testing.assert_array_equal(whole[::-1], colours_of(values, reference))
    red, blue = (whole[::-1][mask].mean(axis=0) for mask in (values > 0, values < 0))
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_a_second_run_does_nothing_and_a_deeper_one_keeps_the_tiles(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "trainability", *TINY, "--out", str(tiny_run)]) == 0
    assert "running" not in capsys.readouterr().err
    assert main(["plan", "trainability", *TINY, "--out", str(tiny_run), "--gin.FRAMES=6"]) == 0
    shown = " ".join(re.sub(r"[│┃]", " ", capsys.readouterr().out).split())  # a table's cells, wherever they wrap
    assert shown.count("5 of 6 frames done; ") == 2


def test_float64_ends_where_the_report_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["plan", "trainability", *TINY, *out, "--gin.FRAMES=49"]) == 2
    assert "too deep: in float64 neighbouring pixels become the same number" in capsys.readouterr().err


def test_bad_settings_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trainability reads no --input"):
        steps(Settings(), input=["data.txt"])
    with pytest.raises(UserError, match=r"Settings.looks is empty"):
        Settings(looks=())
    with pytest.raises(UserError, match=r"Settings.control_pixels is 100"):
        Settings(control_pixels=100)
    with pytest.raises(UserError, match="names frame 4 of 3"):
        Look(zoom=Zoom(frames=3), full_frames=(4,))
    with pytest.raises(UserError, match=r"more_seeds has a seed twice: \[0, 1, 0\]"):
        Look(more_seeds=(1, 0))
    with pytest.raises(UserError, match=r"seed=-1"):
        Look(more_seeds=(-1,))
    wrong = "--gin.tanh_single/planes.Plane.condition='sigmoid'"
    assert main(["plan", "trainability", *TINY, "--out", str(tmp_path / "out"), wrong]) == 2
    assert "unknown condition 'sigmoid'; there are: tanh, relu" in capsys.readouterr().err


def test_further_seeds_are_zooms_of_their_own_with_an_interval_over_them(tmp_path: Path) -> None:
    frames = ["--gin.FRAMES=3", "--gin.LOOKS=(%TANH_SINGLE,)", "--gin.CONTROL_PIXELS=0", "--gin.FULL_FRAMES=()"]
    more = "--gin.tanh_single/trainability_settings.Look.more_seeds=(1, 2)"
    assert main(["run", "trainability", *TINY, "--out", str(tmp_path), *frames, more]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    found = [result[f"tanh_single_n8{seed}_dimension"] for seed in ("", "_seed_1", "_seed_2")]
    assert len(set(found)) == 3
    assert result["tanh_single_n8_seeds"] == 3
    assert result["tanh_single_n8_seeds_dimension"] == pytest.approx(np.mean(found))
    half = 4.302653 * np.std(found, ddof=1) / np.sqrt(3)  # Student's t, two degrees of freedom
    assert result["tanh_single_n8_seeds_dimension_high"] - np.mean(found) == pytest.approx(half, rel=1e-5)
    page = (tmp_path / "report.html").read_text()
    assert "tanh single, n = 8, mean of 3 seeds" in page
    assert "settled after the rules had been tried and their numbers seen" in page
    assert page.count("view_tanh_single-") == 2  # one page and one film: the first seed's


def test_the_dag_has_a_chain_for_each_plane_and_what_does_not_change_results_changes_no_identity() -> None:
    tiny = _steps("tiny")
    of_each = [f"{what}_{plane}" for what in ("full", "view", "zoom") for plane in ("mandelbrot", "tanh_single")]
    assert sorted(step.name for step in tiny) == sorted(["controls", "report", *of_each])
    films = _steps("tiny", "FILM_STEPS=2")
    same = {step.identity for step in tiny} & {step.identity for step in films}
    kept = [step.name for step in in_order(tiny) if step.identity in same]
    assert sorted(kept) == sorted(["controls", *(name for name in of_each if not name.startswith("view"))])


@pytest.mark.parametrize(
    ("size", "planes", "pixels", "frames"), [("main", 1, 512, 35), ("small", 7, 512, 35), ("paper", 7, 4096, 43)]
)
def test_sizes_are_what_they_say(size: str, planes: int, pixels: int, frames: int, tmp_path: Path) -> None:
    found = [step for step in _steps(size) if step.name.startswith("zoom_")]
    seeded = [step for step in found if "_seed_" in step.name]
    assert len(found) - len(seeded) == planes
    names = [f"zoom_tanh_single_seed_{seed}" for seed in (1, 2, 3, 4)]
    assert sorted(step.name for step in seeded) == (names if size == "small" else [])
    for step in found:
        zoom: Any = step.config["zoom"]
        # small goes to the tenth decade for the cheapest condition alone
        deep = size != "small" or "tanh_single" in step.name
        assert (zoom["frame_pixels"], zoom["frames"]) == (pixels, frames if deep else 12)
        assert Zoom(frames=frames).decades > 10
    if size != "main":
        assert {step.config["plane"]["condition"] for step in found} == set(CONDITIONS)  # type: ignore[index]
    if size == "paper":
        assert all(step.config["plane"]["width"] == 16 for step in found)  # type: ignore[index]
    rows = [row for row in plan(_steps(size), str(tmp_path / "out")) if row.step.name.startswith("zoom_")]
    assert len(rows) == len(found)
    assert all(re.search(r"\d", row.step.lasts) for row in rows)


def test_estimates_differ_by_condition() -> None:
    costs = {step.config["plane"]["condition"]: step.lasts for step in _steps("paper") if step.name.startswith("zoom_")}  # type: ignore[index]
    assert Plane("tanh").pixel_seconds > 20 * Plane("tanh_single").pixel_seconds
    assert costs["tanh"] != costs["tanh_single"]
