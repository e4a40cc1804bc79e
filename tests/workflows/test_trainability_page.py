"""The page that pans and zooms, driven in a headless Chromium: which tiles it shows, where, and by which gesture."""

import json
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
from PIL import Image

from beam_jobs.trainability.zooming import about_frame
from models.trainability.planes import Plane
from models.trainability.refinement import Frame
from models.trainability.zoom import Zoom
from shammie.files import join, make_directory, write_json
from workflows import trainability_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FRAMES, PIXELS = 38, 512
WIDTH, HEIGHT = 900, 700
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a zoom whose frames are made up, 37 halvings deep: each lies at a quarter of the one before."""
    zoom = Zoom(frames=FRAMES, frame_pixels=PIXELS, tile_pixels=8)
    folder = tmp_path_factory.mktemp("zoom")
    frames = []
    make_directory(join(str(folder), "frames"))
    column = row = 0
    values = np.add.outer(np.arange(PIXELS), np.arange(PIXELS)) - PIXELS + 0.5  # converges at the lower left
    for number in range(FRAMES):
        if number:
            column, row = 2 * column + 32, 2 * row + 16 * (number % 3)
        frame = Frame(6 + number, column, row, values, np.ones((64, 64), bool))
        frames.append(about_frame(frame, tiles=1, pixel_steps=1))
        np.save(folder / "frames" / f"{number:02}.npy", values.astype(np.float32))
    write_json(str(folder / "zoom.json"), {"plane": Plane("tanh").to_json(), "zoom": zoom.to_json(), "frames": frames})
    out = tmp_path_factory.mktemp("view")
    trainability_page.write(str(folder), str(out))
    return out


def _levels(page: Path) -> list[dict[str, int]]:
    text = (page / "index.html").read_text()
    return json.loads(text.split('id="data">')[1].split("</script>")[0])["levels"]


def _seen(page: Path, tmp_path: Path, state: str = "", script: str = "") -> dict[str, Any]:
    """What the page says it shows after a script has run in it."""
    assert CHROMIUM is not None
    text = (page / "index.html").read_text()
    assert text.count("<head>") == text.count("</body>") == 1
    # without a display Chromium draws no frames to speak of: time makes them
    frames = "window.requestAnimationFrame = (act) => setTimeout(() => act(performance.now()), 16);"
    text = text.replace("<head>", f"<head><script>{frames}</script>")
    index = page / "driven.html"
    index.write_text(text.replace("</body>", f"<script>setTimeout(() => {{ {script} }}, 300);</script></body>"))
    words = [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={WIDTH},{HEIGHT}"]
    words += ["--virtual-time-budget=4000", "--dump-dom"]
    ran = subprocess.run(
        [CHROMIUM, *FLAGS, *words, f"{index.as_uri()}{state}"], capture_output=True, text=True, timeout=120, check=True
    )
    body = ran.stdout.split("<body")[1].split(">")[0]
    told = dict(part.split("=", 1) for part in body.strip().replace('" ', '"\n').splitlines())
    view = parse_qs(unescape(told["data-view"].strip('"')))
    length = ran.stdout.split('id="length">')[1].split("<")[0]
    return {
        "shown": told["data-shown"].strip('"').split(),
        "loaded": int(told["data-loaded"].strip('"')),
        "place": ran.stdout.split('id="place">')[1].split("<")[0],
        "bar": length,
        "empty": 'id="empty" hidden' not in ran.stdout,
        **{name: float(value[0]) for name, value in view.items()},
    }


def _middle(seen: dict[str, Any]) -> tuple[float, float]:
    """The view's middle in the window's unit, where the window is shallow enough for float64."""
    side = 2 ** seen["level"]
    return (seen["column"] + seen["x"]) / side, (seen["row"] + seen["y"]) / side


def test_the_folder_holds_every_tile_it_lists_and_needs_no_network(page: Path) -> None:
    text = (page / "index.html").read_text()
    assert "http" not in text.replace("http-equiv", "")
    levels = _levels(page)
    assert [one["level"] for one in levels] == list(range(2, 2 + FRAMES))
    names = {path.name for path in (page / "tiles").iterdir()}
    assert len(names) == FRAMES * 16
    for one in levels:
        for row in range(one["side"]):
            for column in range(one["side"]):
                assert f"{one['level']}-{one['column'] + column}-{one['row'] + row}.png" in names
    with Image.open(page / "tiles" / "2-0-0.png") as opened:
        assert opened.size == (128, 128)
        lower_left = np.asarray(opened).reshape(-1, 3).mean(axis=0)
    with Image.open(page / "tiles" / "2-3-3.png") as opened:
        upper_right = np.asarray(opened).reshape(-1, 3).mean(axis=0)
    assert lower_left[2] > lower_left[0]  # converges: blue
    assert upper_right[0] > upper_right[2]  # diverges: red


@in_browser
def test_it_opens_on_the_whole_window(page: Path, tmp_path: Path) -> None:
    seen = _seen(page, tmp_path)
    assert {f"2-{column}-{row}" for column in range(4) for row in range(4)} <= set(seen["shown"])
    assert seen["loaded"] == len(seen["shown"])
    assert _middle(seen) == pytest.approx((0.5, 0.5), abs=1e-6)
    assert seen["place"].split() == ["x", "1.50000", "y", "1.50000"]
    assert seen["bar"] == "2 decades"
    assert not seen["empty"]


@in_browser
def test_a_deep_frame_is_found_by_its_number_and_by_its_address(page: Path, tmp_path: Path) -> None:
    last = _levels(page)[-1]
    seen = _seen(page, tmp_path, f"#frame={FRAMES - 1}")
    deepest = {name for name in seen["shown"] if name.startswith(f"{last['level']}-")}
    assert deepest == {
        f"{last['level']}-{last['column'] + column}-{last['row'] + row}" for column in range(4) for row in range(4)
    }
    assert seen["loaded"] == len(seen["shown"])
    assert not any(name.startswith("2-") for name in seen["shown"])  # too far above to matter
    assert seen["bar"].startswith("2e-11") or seen["bar"].startswith("1e-11")
    # the place has the digits that it takes, as the exact fraction has them
    middle = 9 * (last["column"] + 2) * 10**14 // 2 ** last["level"] - 3 * 10**14
    assert abs(int(seen["place"].split()[1].replace(".", "")[:15]) - middle) <= 1
    address = f"#level={last['level']}&column={last['column'] + 1}&row={last['row'] + 2}&x=0.25&y=0.5&zoom=1.5"
    there = _seen(page, tmp_path, address)
    assert (there["level"], there["column"], there["row"]) == (last["level"], last["column"] + 1, last["row"] + 2)
    assert (there["x"], there["y"], there["zoom"]) == (0.25, 0.5, 1.5)


@in_browser
@pytest.mark.parametrize("state", ["#level=4&column=-1&row=2", "#level=99&column=1&row=1", "#frame=x", "#nonsense"])
def test_a_wrong_address_shows_the_whole_window(page: Path, tmp_path: Path, state: str) -> None:
    seen = _seen(page, tmp_path, state)
    assert _middle(seen) == pytest.approx((0.5, 0.5), abs=1e-6)
    assert {"2-0-0", "2-3-3"} <= set(seen["shown"])


@in_browser
def test_gestures_pan_and_zoom(page: Path, tmp_path: Path) -> None:
    start = "#level=3&column=4&row=4&x=0.5&y=0.5&zoom=1"
    event = "const c = document.getElementById('view'); const send = (kind, id, x, y) => c.dispatchEvent("
    event += "new PointerEvent(kind, {pointerId: id, clientX: x, clientY: y, bubbles: true}));"
    dragged = _seen(
        page, tmp_path, start, f"{event} send('pointerdown', 1, 400, 300); send('pointermove', 1, 336, 332);"
    )
    # 64 pixels to the left and 32 down: the middle goes to the right and up
    assert (dragged["column"] + dragged["x"], dragged["row"] + dragged["y"]) == pytest.approx((5.0, 4.75), abs=1e-4)
    pinched = _seen(
        page,
        tmp_path,
        start,
        f"{event} const w = innerWidth / 2, h = innerHeight / 2;"
        "send('pointerdown', 1, w - 50, h); send('pointerdown', 2, w + 50, h);"
        "send('pointermove', 1, w - 100, h); send('pointermove', 2, w + 100, h);",
    )
    assert pinched["zoom"] * 2 ** (pinched["level"] - 3) == pytest.approx(2, rel=1e-3)
    assert _middle(pinched)[1] == pytest.approx(4.5 / 8, abs=1e-5)
    assert _middle(pinched)[0] == pytest.approx(4.5 / 8, abs=1e-3)
    wheel = (
        "const c = document.getElementById('view'); c.dispatchEvent(new WheelEvent('wheel', {deltaY: -240,"
        " clientX: innerWidth / 2 + 128, clientY: innerHeight / 2, bubbles: true, cancelable: true}));"
    )
    turned = _seen(page, tmp_path, start, wheel)
    assert turned["level"] == 4
    assert turned["zoom"] == pytest.approx(1, abs=1e-3)
    # what lay one tile to the right of the middle is still 128 pixels to its right: half a tile of level 3
    assert _middle(turned)[0] == pytest.approx((4.5 + 0.5) / 8, abs=1e-5)
    assert _middle(turned)[1] == pytest.approx(4.5 / 8, abs=1e-3)  # a wheel's place is in whole pixels


@in_browser
def test_keys_go_from_frame_to_frame_and_home(page: Path, tmp_path: Path) -> None:
    press = "const press = (key) => window.dispatchEvent(new KeyboardEvent('keydown', {key}));"
    down = _seen(page, tmp_path, "", f"{press} for (let i = 0; i < 20; i++) press('PageDown');")
    levels = _levels(page)
    assert any(name.startswith(f"{levels[20]['level']}-{levels[20]['column']}-") for name in down["shown"])
    up = _seen(page, tmp_path, "#frame=20", f"{press} press('PageUp');")
    assert f"{levels[19]['level']}-{levels[19]['column']}-{levels[19]['row']}" in up["shown"]
    home = _seen(page, tmp_path, "#frame=20", f"{press} press('Home');")
    assert _middle(home) == pytest.approx((0.5, 0.5), abs=1e-6)
    nearer = _seen(page, tmp_path, "#level=3&column=4&row=4&zoom=1", f"{press} press('+'); press('+');")
    assert (nearer["level"], nearer["column"], nearer["row"]) == (4, 9, 9)
    right = _seen(page, tmp_path, "#level=3&column=4&row=4&zoom=1", f"{press} press('ArrowRight');")
    assert right["column"] + right["x"] == pytest.approx(4.5 + 80 / 128, abs=1e-4)


@in_browser
def test_away_from_the_path_it_says_that_nothing_was_computed(page: Path, tmp_path: Path) -> None:
    seen = _seen(page, tmp_path, "#level=30&column=5&row=5&zoom=1")
    assert seen["empty"]
    assert seen["shown"] == []


@in_browser
def test_a_dive_goes_down(page: Path, tmp_path: Path) -> None:
    seen = _seen(page, tmp_path, "#frame=3", "document.getElementById('dive').click();")
    assert seen["level"] >= _levels(page)[4]["level"]
    assert seen["shown"]
    assert not seen["empty"]
