"use strict";

const $ = (id) => document.getElementById(id);
const MAX_SEED = 2 ** 32, MOST_KEPT = 400, QUICK = 150; // thumbnails; milliseconds of a picture
const page = Array.from(crypto.getRandomValues(new Uint32Array(3)), (number) => number.toString(16)).join("");
const thumbnails = new Map(); // of the map, by their text
let notes, network, number = 0; // what the server has, the network shown, pictures asked for
let state; // what is shown, by the names that texts of pictures have
let wanted = 0, shown = null, resting = 0; // changes to show, the last picture, a timer
let times = []; // milliseconds to compute pictures of the network

// ---------------------------------------------------------------------------
// The state, and its text.

const fresh = (index = 0) => ({ network: index, seed: 0, x: 0, y: 0, space: "w", vector: "", noise: "const", class: null,
  psi: notes.networks[index].psi, cutoff: notes.networks[index].cutoff, mix: 1, mixVector: "", layers: [], moves: {} });

function textOf(from) {
  const { network, seed, x, y, space, vector, noise, psi, cutoff, mix, mixVector, layers, moves } = from;
  const text = new URLSearchParams();
  if (network) text.set("network", network);
  if (vector) text.set("vector", vector); else text.set("seed", seed);
  if (!vector && (x || y)) for (const [name, value] of Object.entries({ x, y, space })) text.set(name, value);
  for (const [name, value] of Object.entries({ psi, cutoff, noise })) text.set(name, value);
  if (from.class !== null) text.set("class", from.class);
  if (layers.length) {
    if (mixVector) text.set("mix-vector", mixVector); else text.set("mix", mix);
    text.set("layers", layers.join(","));
  }
  for (const [index, strength] of Object.entries(moves)) if (strength) text.append("direction", `${index}:${strength}`);
  return text.toString();
}

function layersOf(text) {
  return text.split(",").filter(Boolean).flatMap((part) => {
    const [first, last = first] = part.split("-").map(Number);
    return last - first < 100 ? Array.from({ length: last - first + 1 }, (_, i) => first + i) : [];
  });
}

function read(text) { // What a text says, as far as it can be; the server has the last word.
  const values = new URLSearchParams(text);
  const index = Number(values.get("network") || 0);
  state = fresh(notes.networks[index] ? index : 0);
  for (const name of ["seed", "x", "y", "psi", "cutoff", "class", "mix"]) {
    if (values.has(name) && Number.isFinite(Number(values.get(name)))) state[name] = Number(values.get(name));
  }
  for (const name of ["space", "vector", "noise"]) if (values.has(name)) state[name] = values.get(name);
  if (values.has("mix-vector")) state.mixVector = values.get("mix-vector");
  if (values.has("layers")) state.layers = layersOf(values.get("layers"));
  for (const move of values.getAll("direction")) state.moves[move.split(":")[0]] = Number(move.split(":")[1]);
}

function fileName() { // As `generate-images` calls its files.
  const seed = (value) => `seed${String(value).padStart(4, "0")}`;
  const between = state.x || state.y ? `-${state.x}-${state.y}` : "";
  const base = state.vector || seed(state.seed) + between;
  return state.layers.length ? `${base}-${state.mixVector || seed(state.mix)}` : base;
}

// ---------------------------------------------------------------------------
// From the server.

const say = (textContent, className = "") => Object.assign($("status"), { textContent, className });

async function ask(path, headers = {}) {
  const answer = await fetch(path, { headers }).catch(() => null);
  if (!answer) throw new Error("The server does not answer. Was it stopped?");
  if (!answer.ok) throw Object.assign(new Error(await answer.text()), { status: answer.status });
  return answer;
}

function measured(answer) {
  times = [...times, Number(answer.headers.get("Milliseconds"))].slice(-5);
  return times.at(-1);
}

const areQuick = () => times.length < 3 || Math.min(...times) < QUICK; // the first ones are slower

async function paint() { // What the state says now.
  const text = textOf(state), name = fileName();
  const late = setTimeout(() => { say("computing…"); $("picture").classList.add("stale"); }, 400);
  try {
    const answer = await ask(`picture?${text}`, { View: `${page} ${++number}` }), blob = await answer.blob();
    const url = URL.createObjectURL(blob), image = $("picture"), last = image.src;
    image.src = url;
    await image.decode();
    if (last) URL.revokeObjectURL(last);
    const { naturalWidth: width, naturalHeight: height } = image;
    const took = measured(answer);
    shown = { text, blob, name };
    const parts = decodeURIComponent(answer.headers.get("Command")).split(/(?<= )(?=--)/); // lines break between them
    $("command").replaceChildren(...parts.map((textContent) => element("span", { textContent })));
    image.style.setProperty("--ratio", width / height);
    image.className = `${width < 256 ? "small" : ""} ${network.channels === 4 ? "transparent" : ""}`;
    say(`${width}×${height} in ${Math.round(took)} ms`);
  } finally {
    clearTimeout(late);
  }
}

async function changed() { // Paints; of what changes meanwhile only the last is painted after it.
  show();
  if (wanted++) return;
  for (let painted = 0; painted < wanted;) {
    painted = wanted;
    await paint().catch((error) => error.status === 409 || say(error.message, "error"));
  }
  wanted = 0;
  clearTimeout(resting);
  resting = setTimeout(rested, 200);
}

function rested() { // The address keeps the picture; the map gets what is missing, while there is nothing else to do.
  if (shown) history.replaceState(null, "", `#${shown.text}`);
  fill();
}

// ---------------------------------------------------------------------------
// The map: seeds around the place that is shown, which is its middle.

const seedAt = (column, row) => (((state.seed + column + row * notes.row) % MAX_SEED) + MAX_SEED) % MAX_SEED;
const ofMap = (seed) => textOf({ ...state, seed, x: 0, y: 0, vector: "", layers: [], moves: {}, noise: "const" });
const around = () => { // [column, row] of what is seen, the nearest first
  const { clientWidth: width, clientHeight: height } = $("map"), cell = cellSize();
  const columns = Math.ceil(width / cell / 2), rows = Math.ceil(height / cell / 2), places = [];
  for (let row = -rows; row <= rows + 1; row++) {
    for (let column = -columns; column <= columns + 1; column++) places.push([column, row]);
  }
  const distance = ([column, row]) => (column - state.x) ** 2 + (row - state.y) ** 2;
  return places.sort((a, b) => distance(a) - distance(b));
};
const cellSize = () => Math.max(56, $("map").clientWidth / 5);

function drawMap() {
  const canvas = $("map"), { clientWidth: width, clientHeight: height } = canvas, cell = cellSize();
  const ratio = devicePixelRatio || 1, style = getComputedStyle(canvas), context = canvas.getContext("2d");
  Object.assign(canvas, { width: width * ratio, height: height * ratio });
  context.scale(ratio, ratio);
  context.globalAlpha = state.vector ? 0.35 : 1;
  context.font = `10px ${style.fontFamily}`;
  context.textAlign = "center";
  const ofHeight = network.width / network.height, side = cell * 0.72;
  const fits = Math.min(1, ofHeight), tall = Math.min(1, 1 / ofHeight);
  for (const [column, row] of around()) {
    const x = width / 2 + (column - state.x) * cell, y = height / 2 + (row - state.y) * cell, seed = seedAt(column, row);
    const picture = thumbnails.get(ofMap(seed));
    context.imageSmoothingEnabled = network.width >= 64;
    if (picture) context.drawImage(picture, x - side * fits / 2, y - side * tall / 2 - 7, side * fits, side * tall);
    else {
      context.strokeStyle = style.getPropertyValue("--line");
      context.strokeRect(x - side * fits / 2, y - side * tall / 2 - 7, side * fits, side * tall);
    }
    context.fillStyle = style.getPropertyValue("--dim");
    context.fillText(seed, x, y + side * tall / 2 + 8, cell - 6);
  }
  if (state.vector) return;
  const exact = !state.x && !state.y; // a frame around a seed, a cross between them
  context.lineJoin = "round";
  for (const [colour, line] of [[style.getPropertyValue("--card"), 6], [style.getPropertyValue("--accent"), 3]]) {
    Object.assign(context, { strokeStyle: colour, lineWidth: line });
    context.beginPath();
    if (exact) {
      const left = width / 2 - side * fits / 2, top = height / 2 - side * tall / 2;
      context.rect(left - 1, top - 8, side * fits + 2, side * tall + 2);
    } else {
      context.arc(width / 2, height / 2, 9, 0, 7);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(width / 2 + 5 * dx, height / 2 + 5 * dy);
        context.lineTo(width / 2 + 14 * dx, height / 2 + 14 * dy);
      }
    }
    context.stroke();
  }
}

async function fill() { // Pictures of the map, one after the other, where they are quick to have.
  while (areQuick() && !wanted) {
    const missing = around().map(([column, row]) => ofMap(seedAt(column, row))).find((text) => !thumbnails.has(text));
    if (!missing || fill.busy) return;
    fill.busy = true;
    try {
      const answer = await ask(`picture?${missing}`), blob = await answer.blob();
      const most = Math.min(128, Math.max(network.width, network.height));
      measured(answer);
      const resizeWidth = Math.round(network.width * most / Math.max(network.width, network.height));
      const small = resizeWidth < network.width ? { resizeWidth, resizeQuality: "high" } : {};
      thumbnails.set(missing, await createImageBitmap(blob, small));
    } catch {
      return;
    } finally {
      fill.busy = false;
    }
    for (const text of thumbnails.keys()) {
      if (thumbnails.size <= MOST_KEPT) break;
      thumbnails.get(text).close();
      thumbnails.delete(text);
    }
    drawMap();
  }
}

function moveTo(x, y) { // A place, from that of the seed on.
  const round = (value) => Math.round(value * 1000) / 1000, column = Math.floor(round(x)), row = Math.floor(round(y));
  Object.assign(state, { seed: seedAt(column, row), x: round(round(x) - column), y: round(round(y) - row), vector: "" });
  changed();
}

const step = (dx, dy, isSmall) => isSmall ? moveTo(state.x + dx / 10, state.y + dy / 10)
  : moveTo(Math.round(state.x) + dx, Math.round(state.y) + dy);

function startDrag(event) {
  const map = $("map"), cell = cellSize(), { clientX, clientY } = event;
  const { width, height, left, top } = map.getBoundingClientRect();
  let lastX = clientX, lastY = clientY, moved = false;
  map.setPointerCapture(event.pointerId);
  map.onpointermove = ({ clientX: x, clientY: y }) => {
    moved ||= Math.hypot(x - clientX, y - clientY) > 4;
    if (!moved) return;
    map.classList.add("dragged");
    moveTo(state.x - (x - lastX) / cell, state.y - (y - lastY) / cell);
    [lastX, lastY] = [x, y];
  };
  map.onpointerup = map.onpointercancel = ({ type }) => {
    map.onpointermove = map.onpointerup = map.onpointercancel = null;
    map.classList.remove("dragged");
    if (!moved && type === "pointerup") { // a click: the seed that is there
      const column = state.x + (clientX - left - width / 2) / cell, row = state.y + (clientY - top - height / 2) / cell;
      moveTo(Math.round(column), Math.round(row));
    }
  };
}

// ---------------------------------------------------------------------------
// The controls.

function show() { // What the state says, in the controls.
  const set = (id, value) => { if ($(id).value !== String(value)) $(id).value = value; };
  for (const id of ["network", "seed", "space", "vector", "psi", "cutoff", "noise", "mix"]) set(id, state[id]);
  set("psi-number", state.psi);
  set("mix-vector", state.mixVector);
  set("class", state.class ?? "");
  $("cutoff-shown").value = `${state.cutoff} of ${network.num_layers}`;
  $("of-mix").hidden = Boolean(state.mixVector);
  for (const [i, box] of $("layers").querySelectorAll("input").entries()) box.checked = state.layers.includes(i);
  for (const [i, slider] of $("directions").querySelectorAll("input").entries()) {
    set(slider.id, state.moves[i] ?? 0);
    slider.nextElementSibling.value = state.moves[i] ?? 0;
  }
  drawMap();
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function build() { // The controls that a network has.
  network = notes.networks[state.network];
  times = [];
  document.title = $("title").textContent = network.title;
  $("cutoff").max = network.num_layers;
  $("of-class").hidden = !network.label_size;
  Object.assign($("class"), { max: network.label_size - 1, required: network.needs_class });
  if (network.label_size && network.needs_class) state.class ??= 0;
  const vectors = network.vectors.map((name) => new Option(name, name));
  $("vector").replaceChildren(new Option("no vector", ""), ...vectors);
  $("mix-vector").replaceChildren(new Option("a seed", ""), ...vectors.map((option) => option.cloneNode(true)));
  $("of-vector").hidden = !vectors.length;
  $("layers").replaceChildren(...Array.from({ length: network.num_layers }, (_, i) =>
    element("label", {}, element("input", { type: "checkbox", value: i }), element("span", { textContent: i }))));
  $("of-directions").hidden = !network.directions.length;
  const slider = (name, i) => element("label", { className: "slider", title: name },
    element("span", { className: "name", textContent: name }),
    element("input", { type: "range", id: `direction${i}`, min: -5, max: 5, step: 0.1 }), element("output"));
  $("directions").replaceChildren(...network.directions.map(slider));
}

function choose(index) { // Another network: the place stays, as far as it has what is shown.
  const next = notes.networks[index], { psi, cutoff } = fresh(index);
  Object.assign(state, { network: index, psi, cutoff, class: null, moves: {} });
  if (!next.vectors.includes(state.vector)) state.vector = "";
  if (!next.vectors.includes(state.mixVector)) state.mixVector = "";
  state.layers = state.layers.filter((layer) => layer < next.num_layers);
  build();
  changed();
}

function entered(event) { // One of the controls was changed.
  const { id, value, type, validity, validationMessage } = event.target;
  if (id === "network") return choose(Number(value));
  if (validity && !validity.valid) return say(`${id.replace("-number", "")}: ${validationMessage}`, "error");
  if (event.target.closest("#layers")) {
    state.layers = Array.from($("layers").querySelectorAll("input:checked"), (box) => Number(box.value));
  } else if (id.startsWith("direction")) state.moves[Number(id.slice(9))] = Number(value);
  else if (id === "seed") Object.assign(state, { seed: Number(value), x: 0, y: 0, vector: "" });
  else if (id === "class") state.class = value === "" ? null : Number(value);
  else if (id === "psi-number") state.psi = Number(value);
  else if (id === "mix-vector") state.mixVector = value;
  else state[id] = type === "range" || type === "number" ? Number(value) : value;
  changed();
}

// ---------------------------------------------------------------------------
// Saving.

function save(blob, download) {
  const href = URL.createObjectURL(blob);
  element("a", { href, download }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}

const saveImage = () => shown && save(shown.blob, `${shown.name}.png`);

async function saveVector() {
  const download = `${fileName()}.npz`;
  try {
    save(await (await ask(`vector?${textOf(state)}`)).blob(), download);
  } catch (error) {
    say(error.message, "error");
  }
}

async function copy() {
  const text = $("command").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // only pages of this machine may use the clipboard so
    getSelection().selectAllChildren($("command"));
    document.execCommand("copy");
  }
  say("The command is copied.");
}

// ---------------------------------------------------------------------------

const random = () => changed(Object.assign(state, { seed: Math.floor(Math.random() * MAX_SEED), x: 0, y: 0, vector: "" }));
const KEYS = {
  ArrowLeft: (small) => step(-1, 0, small), ArrowRight: (small) => step(1, 0, small),
  ArrowUp: (small) => step(0, -1, small), ArrowDown: (small) => step(0, 1, small),
  r: random, s: saveImage, v: saveVector, c: copy,
  n: () => notes.networks.length > 1 && choose((state.network + 1) % notes.networks.length),
};

function pressed(event) {
  const { key, shiftKey, ctrlKey, metaKey, altKey, target } = event;
  if (ctrlKey || metaKey || altKey || target.matches("input, select")) return;
  const action = KEYS[key] || (key.length === 1 && KEYS[key.toLowerCase()]);
  if (action) {
    event.preventDefault();
    action(shiftKey);
  }
}

async function start() {
  notes = await (await ask("networks.json")).json();
  $("network").replaceChildren(...notes.networks.map(({ name }, i) => new Option(name, i)));
  $("of-network").hidden = notes.networks.length < 2;
  const begin = (text) => { read(text); build(); changed(); };
  $("controls").oninput = $("network").oninput = entered;
  $("controls").onsubmit = (event) => event.preventDefault();
  $("map").onpointerdown = startDrag;
  $("random").onclick = random;
  $("save-image").onclick = saveImage;
  $("save-vector").onclick = saveVector;
  $("copy").onclick = copy;
  $("no-directions").onclick = () => { state.moves = {}; changed(); };
  document.onkeydown = pressed;
  window.onhashchange = () => begin(location.hash.slice(1));
  new ResizeObserver(() => state && drawMap()).observe($("map"));
  matchMedia("(prefers-color-scheme: dark)").onchange = drawMap;
  begin(location.hash.slice(1) || notes.state);
}

start().catch((error) => say(error.message, "error"));
