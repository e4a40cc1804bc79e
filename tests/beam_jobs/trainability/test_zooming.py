"""Tiles as cells of the sweep engine: their addresses, a zoom's folder, and that nothing is computed twice."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_jobs.sweep.job import read_cells, run_sweep
from beam_jobs.sweep.kinds import load_kind
from beam_jobs.sweep.ways import Ways
from beam_jobs.trainability.__main__ import main
from beam_jobs.trainability.cells import ADDRESS, TILES, tile_config
from beam_jobs.trainability.zooming import (
    NotDone,
    Tiles,
    estimated_bytes,
    estimated_seconds,
    read_frame,
    read_zoom,
    run_zoom,
    zoom_outlook,
)
from models.trainability.box_counting import edges_of
from models.trainability.planes import Plane
from models.trainability.windows import Tile
from models.trainability.zoom import Zoom
from shammie.errors import UserError
from shammie.progress import duration

SINGLE = Plane("tanh_single", width=4, steps=60)
MANDELBROT = Plane("mandelbrot", steps=100)
ZOOM = Zoom(frames=4, frame_pixels=64, start_pixels=32, tile_pixels=4)


def _ran(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tiles_are_a_kind_and_a_tile_is_the_same_beside_any_others() -> None:
    assert load_kind(ADDRESS) is TILES
    tiles = [Tile(4, 7, row) for row in range(16)]
    configs = [tile_config(SINGLE, 4, tile) for tile in tiles]
    assert len({json.dumps(TILES.group_key(config)) for config in configs}) == 1
    together = TILES.run(configs, Ways())
    alone = [TILES.run([config], Ways())[0] for config in reversed(configs)][::-1]
    for one, other in zip(together, alone, strict=True):
        assert one["values"].tobytes() == other["values"].tobytes()
        assert one["pixel_steps"] == other["pixel_steps"] <= 16 * 60
    values = np.concatenate([one["values"] for one in together])
    assert (values > 0).any()
    assert (values < 0).any()
    x, y = SINGLE.window.tile_grid(tiles[3], 4)
    np.testing.assert_array_equal(SINGLE.values(x, y)[0], together[3]["values"])


def test_groups_share_a_frame_among_cores() -> None:
    dear = tile_config(Plane("tanh", width=16), 8, Tile(0, 0, 0))
    cheap = tile_config(Plane("tanh_single", width=8), 8, Tile(0, 0, 0))
    assert TILES.cost(dear) > 100 * TILES.cost(cheap)
    assert 1 <= TILES.group_size(dear) < TILES.group_size(cheap) <= 128
    assert TILES.row_bytes(cheap) == 8 * 64 + 8


def test_a_tile_outside_of_the_window_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    good, bad = (tile_config(MANDELBROT, 4, tile) for tile in (Tile(2, 1, 1), Tile(2, 4, 1)))
    outcome = run_sweep(str(tmp_path), ADDRESS, [good, bad], what="tiles", max_bad_share=0.5)
    assert outcome.done == outcome.failed == 1
    assert "tile 2/4/1 lies outside of the window" in outcome.dead[0].reason
    assert len(read_cells(str(tmp_path), ADDRESS, [good, bad])) == 1


def test_a_zooms_folder_holds_its_frames_and_what_was_counted(tmp_path: Path) -> None:
    tiles = Tiles(str(tmp_path / "store"), MANDELBROT, 4)
    about = run_zoom(ZOOM, tiles, str(tmp_path / "zoom"))
    assert about == read_zoom(str(tmp_path / "zoom"))
    assert [frame["level"] for frame in about["frames"]] == [4, 5, 6, 7]
    assert sum(frame["tiles"] for frame in about["frames"]) == tiles.tiles
    assert sum(frame["pixel_steps"] for frame in about["frames"]) == tiles.pixel_steps > 0
    for number, frame in enumerate(about["frames"]):
        values = read_frame(str(tmp_path / "zoom"), number)
        assert values.shape == (64, 64)
        assert values.dtype == np.float32
        assert frame["edges"] == edges_of(values).sum() > 0
        assert frame["diverged_share"] == (values > 0).mean()
        assert 1 <= frame["dyadic"] < 2
    # the tiles beneath are the set's
    values = read_frame(str(tmp_path / "zoom"), 3)
    frame = about["frames"][3]
    for row, column in ((0, 0), (7, 9)):
        grid = MANDELBROT.window.tile_grid(Tile(7, frame["column"] + column, frame["row"] + row), 4)
        expected = MANDELBROT.values(*grid)[0].reshape(4, 4)
        found = values[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4]
        assert (np.sign(found) == np.sign(expected)).all()


def test_a_zoom_that_was_stopped_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_zoom(ZOOM, Tiles(str(tmp_path / "store"), SINGLE, 4), str(tmp_path / "whole"))
    ran: list[int] = []
    run = type(TILES).run

    def counting(self: Any, configs: Any, ways: Any) -> Any:
        ran.append(len(configs))
        if stop and sum(ran) > 150:
            raise KeyboardInterrupt
        return run(self, configs, ways)

    monkeypatch.setattr(type(TILES), "run", counting)
    monkeypatch.setattr(type(TILES), "group_size", lambda self, config: 20)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        run_zoom(ZOOM, Tiles(str(tmp_path / "other"), SINGLE, 4), str(tmp_path / "stopped"))
    stop = False
    done = Tiles(str(tmp_path / "other"), SINGLE, 4)
    first = sum(ran)
    run_zoom(ZOOM, done, str(tmp_path / "stopped"))
    assert sum(ran) < first + done.tiles  # some were there
    assert _files(tmp_path / "stopped") == _files(tmp_path / "whole")
    before = sum(ran)
    assert run_zoom(ZOOM, Tiles(str(tmp_path / "other"), SINGLE, 4), str(tmp_path / "again")) == whole
    assert sum(ran) == before  # all were there


def _slow_down(store: Path, *, seconds: float) -> None:
    """Has every record say that its group took so long."""
    for record in store.glob("*/*/tile-v1/cells/*.json"):
        told = json.loads(record.read_text())
        record.write_text(json.dumps({**told, "seconds": seconds, "at_once": 1}))


def test_the_outlook_tells_how_far_a_zoom_is(tmp_path: Path) -> None:
    looking = Tiles(str(tmp_path), MANDELBROT, 4, only_look=True)
    assert zoom_outlook(ZOOM, looking) == ""
    run_sweep(looking.folder(3), ADDRESS, [tile_config(MANDELBROT, 4, Tile(3, 0, 1))], what="one")
    assert zoom_outlook(ZOOM, looking).startswith("0 of 4 frames done; 1 of 64 tiles of the next, about 0 s left of")
    with pytest.raises(NotDone):
        looking([Tile(3, 0, 0)])
    run_zoom(
        Zoom(frames=2, frame_pixels=64, start_pixels=32, tile_pixels=4),
        Tiles(str(tmp_path), MANDELBROT, 4),
        str(tmp_path / "two"),
    )
    assert zoom_outlook(ZOOM, Tiles(str(tmp_path), MANDELBROT, 4, only_look=True)).startswith("2 of 4 frames done; ")
    _slow_down(tmp_path, seconds=100.0)
    told = zoom_outlook(ZOOM, Tiles(str(tmp_path), MANDELBROT, 4, only_look=True))
    groups = len(list(tmp_path.glob("*/*/tile-v1/cells/*.json")))
    assert told.endswith(f", about {duration(2 * groups * 100.0 / 2)} left")  # two more frames like the two before
    run_zoom(ZOOM, Tiles(str(tmp_path), MANDELBROT, 4), str(tmp_path / "four"))
    assert zoom_outlook(ZOOM, Tiles(str(tmp_path), MANDELBROT, 4, only_look=True)) == "4 of 4 frames done"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--frame_pixels", "64", "--start_pixels", "32", "--tile_pixels", "4", "--output", str(tmp_path)]
    assert main(["--condition", "mandelbrot", "--steps", "100", "--frames", "3", *small]) == 0
    shown = _ran(capsys)
    assert shown["frames"] == 3
    assert 0.9 < shown["dimension_low"] <= shown["dimension"] <= shown["dimension_high"] < 2
    assert len(list((tmp_path / "frames").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--condition", "mandelbort"], "unknown condition 'mandelbort'; did you mean mandelbrot?"),
        (["--frames", "90"], "too deep"),
        (["--path", "west"], "unknown Zoom.path 'west'"),
        (["--frames", "many"], "--frames"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--output", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_estimates_grow_with_the_work() -> None:
    small = estimated_seconds(ZOOM, SINGLE)
    assert 0 < small < estimated_seconds(Zoom(frames=40), SINGLE) < estimated_seconds(Zoom(frames=40), Plane("tanh"))


def test_a_zoom_that_the_disk_cannot_hold_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**6, 10**6, 10**5))
        said = r"4 frames of 64 pixels need about 0.1 MB of disk, and .* has 0.1 MB free; take less, free some room"
        with pytest.raises(UserError, match=said):
            run_zoom(ZOOM, Tiles(str(tmp_path / "store"), MANDELBROT, 4), str(tmp_path / "zoom"))
    assert list(tmp_path.iterdir()) == []
    here = run_zoom(ZOOM, Tiles(str(tmp_path / "store"), MANDELBROT, 4), str(tmp_path / "zoom"))
    assert 0.3 < sum(8 * 16 * one["tiles"] + 4 * 64**2 for one in here["frames"]) / estimated_bytes(ZOOM) < 1.5


def test_a_failed_tile_ends_a_zoom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(TILES), "run", lambda self, configs, ways: 1 / 0)
    with pytest.raises(UserError, match="64 of 64 cells failed"):
        run_zoom(ZOOM, Tiles(str(tmp_path / "store"), MANDELBROT, 4), str(tmp_path / "zoom"))
    assert not (tmp_path / "zoom" / "zoom.json").exists()
