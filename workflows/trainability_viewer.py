"""The script and the style of the page that pans and zooms (`trainability_page` fills in @TITLE@ and @DATA@).

A place at a deep zoom needs more digits than a float64 has, so the view is a whole tile and a fraction of it: the
column and row of a tile at the view's own level (whole numbers, exact up to 2^53), and how far into that tile the
middle of the window lies. Zooming in by two doubles the whole numbers; nothing is ever added up over levels.
"""

_STYLE = """
html, body { margin: 0; height: 100%; background: #14171a; color: #e8eaed; font: 14px/1.4 system-ui, sans-serif; }
canvas { position: fixed; inset: 0; width: 100%; height: 100%; touch-action: none; cursor: grab; outline: none; }
canvas:active { cursor: grabbing; }
.box { position: fixed; background: rgba(20, 23, 26, .82); border-radius: 6px; padding: .45rem .7rem; }
#head { left: 12px; top: 12px; max-width: calc(100vw - 48px); }
#head b { font-weight: 600; }
#place { font: 12px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
#bar { left: 12px; bottom: 12px; }
#bar i { display: block; height: 5px; border: 1px solid #e8eaed; border-top: 0; margin-bottom: 3px; }
#tools { right: 12px; bottom: 12px; display: flex; gap: 6px; flex-wrap: wrap; justify-content: flex-end;
         padding: .4rem; }
button { font: inherit; color: inherit; background: #2b3137; border: 1px solid #454d55; border-radius: 4px;
         padding: .2rem .6rem; cursor: pointer; }
button:hover { background: #3a424a; }
#empty { left: 50%; top: 50%; transform: translate(-50%, -50%); }
[hidden] { display: none; }
"""

_SCRIPT = r"""
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("view"), brush = canvas.getContext("2d");
const byId = (id) => document.getElementById(id);
const levels = data.levels, first = levels[0], last = levels[levels.length - 1], part = data.partPixels;
const pictures = new Map();
// the middle of the window: tile (column, row) of `level`, and (x, y) of 0 to 1 into it; a tile is part * zoom wide
let view = null, queued = false, flight = 0;

const tileSize = () => part * view.zoom;

function settle() {
  while (view.zoom >= 2 && view.level < last.level + 4) {
    view.zoom /= 2; view.level += 1;
    for (const [whole, rest] of [["column", "x"], ["row", "y"]]) {
      view[rest] *= 2; view[whole] *= 2;
    }
    carry();
  }
  while (view.zoom < 1 && view.level > 0) {
    view.zoom *= 2; view.level -= 1;
    for (const [whole, rest] of [["column", "x"], ["row", "y"]]) {
      const odd = ((view[whole] % 2) + 2) % 2;
      view[rest] = (view[rest] + odd) / 2; view[whole] = (view[whole] - odd) / 2;
    }
  }
  view.zoom = Math.min(Math.max(view.zoom, 0.5), 16);
  carry();
}

function carry() {
  for (const [whole, rest] of [["column", "x"], ["row", "y"]]) {
    const step = Math.floor(view[rest]);
    view[whole] += step; view[rest] -= step;
    if (view[whole] < 0) { view[whole] = 0; view[rest] = 0; }          // the window's ends
    if (view[whole] >= 2 ** view.level) { view[whole] = 2 ** view.level - 1; view[rest] = 1; }
  }
}

// how far a tile's left (or lower) end lies from the middle, in pixels; exact in whole numbers before the fraction
function offset(level, at, whole, rest) {
  const up = level - view.level;
  if (up <= 0) return (at * 2 ** -up - whole - rest) * tileSize();
  return ((at - whole * 2 ** up) - rest * 2 ** up) * tileSize() / 2 ** up;
}

function picture(name) {
  let found = pictures.get(name);
  if (!found) {
    found = new Image();
    found.onload = redraw;
    found.src = "tiles/" + name + ".png";
    pictures.set(name, found);
    if (pictures.size > 600) pictures.delete(pictures.keys().next().value);
  }
  return found;
}

function draw() {
  queued = false;
  const ratio = window.devicePixelRatio || 1, width = window.innerWidth, height = window.innerHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
  }
  brush.setTransform(ratio, 0, 0, ratio, 0, 0);
  brush.fillStyle = "#14171a"; brush.fillRect(0, 0, width, height);
  const shown = [];
  let covered = false;
  for (const one of levels) {
    if (one.level < view.level - 7 || one.level > view.level + 2) continue;
    const size = tileSize() * 2 ** (view.level - one.level);
    // a level that is just coming up fades in
    const fade = Math.min(1, Math.max(0, (size / part - 0.5) * 2));
    brush.globalAlpha = one === first ? 1 : fade;
    brush.imageSmoothingEnabled = size < 3 * part;
    if (brush.globalAlpha === 0) continue;
    for (let row = 0; row < one.side; row++) for (let column = 0; column < one.side; column++) {
      const left = width / 2 + offset(one.level, one.column + column, view.column, view.x);
      const low = height / 2 - offset(one.level, one.row + row, view.row, view.y);
      const a = Math.max(0, left), b = Math.min(width, left + size);
      const c = Math.max(0, low - size), d = Math.min(height, low);
      if (a >= b || c >= d) continue;
      covered = true;
      const name = one.level + "-" + (one.column + column) + "-" + (one.row + row), image = picture(name);
      shown.push(name);
      if (!image.complete || !image.naturalWidth) continue;
      const scale = part / size;  // only what is seen is drawn: a tile may be a hundred windows wide
      brush.drawImage(image, (a - left) * scale, (c - low + size) * scale, (b - a) * scale, (d - c) * scale,
                      a, c, b - a, d - c);
    }
  }
  brush.globalAlpha = 1;
  byId("empty").hidden = covered;
  tell(shown);
}

function redraw() { if (!queued) { queued = true; requestAnimationFrame(draw); } }

// a coordinate to as many digits as the view's level has, by whole numbers
function coordinate([low, lowUnder], whole, rest) {
  const bits = 20, places = Math.ceil((view.level + 10) * 0.302) + 1;
  const at = (BigInt(whole) << BigInt(bits)) + BigInt(Math.floor(rest * 2 ** bits));
  const under = (1n << BigInt(view.level + bits)) * BigInt(data.side[1]) * BigInt(lowUnder);
  let over = at * BigInt(data.side[0]) * BigInt(lowUnder)
    + BigInt(low) * (1n << BigInt(view.level + bits)) * BigInt(data.side[1]);
  const sign = over < 0n ? "-" : "";
  if (over < 0n) over = -over;
  const digits = (over * 10n ** BigInt(places) / under).toString().padStart(places + 1, "0");
  return sign + digits.slice(0, -places) + "." + digits.slice(-places);
}

function tell(shown) {
  const wide = data.side[0] / data.side[1] / 2 ** view.level / tileSize();  // the axes' unit a pixel
  let length = 10 ** Math.floor(Math.log10(wide * 160));
  for (const times of [5, 2]) if (length * times <= wide * 160) { length *= times; break; }
  byId("bar").firstChild.style.width = length / wide + "px";
  const unit = length === 1 ? data.unit.replace(/s$/, "") : data.unit;
  const text = length >= 0.001 ? String(+length.toPrecision(1)) : length.toExponential(0);
  byId("length").textContent = text + " " + unit;
  byId("place").textContent = "x " + coordinate(data.xLow, view.column, view.x) + "\n"
    + "y " + coordinate(data.yLow, view.row, view.y);
  const state = new URLSearchParams({level: view.level, column: view.column, row: view.row,
    x: +view.x.toFixed(6), y: +view.y.toFixed(6), zoom: +view.zoom.toFixed(4)});
  history.replaceState(null, "", "#" + state);
  document.body.dataset.shown = shown.join(" ");
  document.body.dataset.view = state.toString();
  document.body.dataset.loaded = shown.filter((name) => pictures.get(name)?.naturalWidth).length;
}

// zoom by a factor while the point (px, py) of the window stays where it is
function zoomBy(factor, px = window.innerWidth / 2, py = window.innerHeight / 2) {
  const dx = px - window.innerWidth / 2, dy = window.innerHeight / 2 - py;
  const before = {level: view.level, zoom: view.zoom};
  view.x += dx / tileSize(); view.y += dy / tileSize();
  view.zoom *= factor; settle();
  view.x -= dx / tileSize(); view.y -= dy / tileSize(); carry();
  if (before.level !== view.level || before.zoom !== view.zoom || dx || dy) redraw();
}

function panBy(dx, dy) { view.x -= dx / tileSize(); view.y += dy / tileSize(); carry(); redraw(); }

function showFrame(number) {
  const one = levels[Math.min(Math.max(number, 0), levels.length - 1)];
  const middle = one.side / 2;
  view = {level: one.level, column: one.column + Math.floor(middle), row: one.row + Math.floor(middle),
          x: middle % 1, y: middle % 1, zoom: 1};
  view.zoom = Math.min(window.innerWidth, window.innerHeight) / (one.side * part);
  settle(); redraw();
}

// the number of the deepest frame that is as wide as the window
function frameNow() {
  let at = 0;
  levels.forEach((one, number) => { if (one.level <= view.level + Math.log2(view.zoom) + 0.5) at = number; });
  return at;
}

// a dive: towards the last frame, a frame's step at a time, its middle drawn to the middle of the window
function dive() {
  if (flight) { cancelAnimationFrame(flight); flight = 0; byId("dive").textContent = "Dive"; return; }
  byId("dive").textContent = "Stop";
  let before = performance.now();
  const fly = (now) => {
    const seconds = Math.min(0.1, (now - before) / 1000), one = levels[Math.min(frameNow() + 1, levels.length - 1)];
    before = now;
    const pull = 1 - 0.05 ** seconds;
    const half = tileSize() * 2 ** (view.level - one.level) * one.side / 2;
    const dx = offset(one.level, one.column, view.column, view.x) + half;
    const dy = offset(one.level, one.row, view.row, view.y) + half;
    panBy(-dx * pull, dy * pull);
    if (view.level < last.level || view.zoom * part * last.side < Math.min(innerWidth, innerHeight)) {
      zoomBy(2 ** (0.8 * seconds)); flight = requestAnimationFrame(fly);
    } else { flight = 0; byId("dive").textContent = "Dive"; }
  };
  flight = requestAnimationFrame(fly);
}

function fromHash() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const number = (name) => (asked.has(name) && asked.get(name) !== "" ? Number(asked.get(name)) : NaN);
  if (Number.isInteger(number("frame"))) return showFrame(number("frame"));
  const got = {};
  for (const name of ["level", "column", "row"]) got[name] = number(name);
  for (const name of ["x", "y", "zoom"]) got[name] = asked.has(name) ? number(name) : name === "zoom" ? 1 : 0.5;
  const good = ["level", "column", "row"].every((name) => Number.isSafeInteger(got[name]) && got[name] >= 0)
    && ["x", "y", "zoom"].every((name) => Number.isFinite(got[name])) && got.zoom > 0 && got.level <= last.level + 4;
  if (!good) return showFrame(0);
  view = got; settle(); redraw();
}

const fingers = new Map();
canvas.addEventListener("pointerdown", (event) => {
  if (flight) dive();
  try { canvas.setPointerCapture(event.pointerId); } catch { /* a pointer that a test made up */ }
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
});
canvas.addEventListener("pointermove", (event) => {
  const was = fingers.get(event.pointerId);
  if (!was) return;
  const now = [event.clientX, event.clientY];
  if (fingers.size === 1) panBy(now[0] - was[0], now[1] - was[1]);
  else if (fingers.size === 2) {
    const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
    const apart = (a) => Math.max(1, Math.hypot(a[0] - other[0], a[1] - other[1]));
    panBy((now[0] - was[0]) / 2, (now[1] - was[1]) / 2);
    zoomBy(apart(now) / apart(was), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }
  fingers.set(event.pointerId, now);
});
for (const name of ["pointerup", "pointercancel"])
  canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (flight) dive();
  const lines = event.deltaMode === 1 ? 30 : 1;
  zoomBy(2 ** (-Math.max(-300, Math.min(300, event.deltaY * lines)) / 240), event.clientX, event.clientY);
}, {passive: false});
const keys = {ArrowLeft: () => panBy(80, 0), ArrowRight: () => panBy(-80, 0), ArrowUp: () => panBy(0, 80),
  ArrowDown: () => panBy(0, -80),
  "+": () => zoomBy(2 ** 0.5), "=": () => zoomBy(2 ** 0.5), "-": () => zoomBy(2 ** -0.5),
  Home: () => showFrame(0), End: () => showFrame(levels.length - 1), PageDown: () => showFrame(frameNow() + 1),
  PageUp: () => showFrame(frameNow() - 1), d: dive};
window.addEventListener("keydown", (event) => {
  const act = event.ctrlKey || event.metaKey || event.altKey ? null : keys[event.key];
  if (act) { event.preventDefault(); act(); }
});
window.addEventListener("resize", redraw);
window.addEventListener("hashchange", fromHash);
const buttons = {in: "+", out: "-", home: "Home", deeper: "PageDown", higher: "PageUp", dive: "d"};
for (const [id, key] of Object.entries(buttons)) byId(id).addEventListener("click", keys[key]);
fromHash();
draw();
"""

PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>@TITLE@</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>
<body><canvas id="view" tabindex="0" aria-label="The boundary: drag to pan, wheel or pinch to zoom"></canvas>
<div class="box" id="head"><b>@TITLE@</b><div id="place"></div></div>
<div class="box" id="bar"><i></i><span id="length"></span></div>
<div class="box" id="empty" hidden>Nothing was computed here. Home shows the whole window, Deeper the next frame.</div>
<div class="box" id="tools"><button id="in">+</button><button id="out">-</button><button id="home">Home</button>
<button id="higher">Higher</button><button id="deeper">Deeper</button><button id="dive">Dive</button></div>
<script type="application/json" id="data">@DATA@</script>
<script>{_SCRIPT}</script></body></html>
"""
