// The trace page: plain JavaScript on two canvases, no library, no network.
//
// The page's data holds storages as columns (size, birth, death, label). For any moment the script sums what lives
// then: by category for the stacked timeline, by module path for the flame view. Drag on the timeline to zoom,
// double-click to see all again, click to hold a moment; click a module to look inside it, the first line to leave.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const count = data.size.length;
const NEVER = 1e15;
const LINE = 21; // height of one level of the flame view

let from = 0, to = data.events; // what the timeline shows
let moment = data.peak, held = false; // the event that flame view and tables show
let root = []; // path inside which the flame view looks
let drag = null;
let boxes = [];

const element = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
const escaped = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (Math.abs(bytes) >= 1024 && unit < 4) { bytes /= 1024; unit++; }
  return bytes.toFixed(unit > 2 ? 2 : 0) + " " + units[unit];
}

function label(storage) { // [category number, module, operator]
  return data.names[data.label[storage]];
}

function prepare(canvas) { // crisp on any screen
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = +canvas.dataset.height;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.height = height + "px";
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "12px system-ui";
  return [pen, width, height];
}

function series(columns) { // bytes by category at each of so many points between `from` and `to`
  const sums = data.categories.map(() => new Float64Array(columns + 2));
  const column = (event) => event <= from ? 0 : Math.min(columns + 1, Math.ceil((event - from) / (to - from) * columns));
  for (let i = 0; i < count; i++) {
    const death = data.death[i] < 0 ? NEVER : data.death[i];
    if (data.birth[i] >= to || death <= from) continue;
    const sum = sums[label(i)[0]];
    sum[column(data.birth[i])] += data.size[i];
    if (death < to) sum[column(death)] -= data.size[i];
  }
  for (const sum of sums) for (let i = 1; i <= columns; i++) sum[i] += sum[i - 1];
  return sums;
}

function drawTimeline() {
  const [pen, width, height] = prepare(element("time"));
  const floor = height - 22, top = Math.max(...data.reserved) * 1.04;
  const columns = Math.min(Math.floor(width), Math.max(2, to - from));
  const x = (event) => (event - from) / (to - from) * width, y = (bytes) => floor - bytes / top * floor;
  const base = new Float64Array(columns + 1);
  series(columns).forEach((sum, category) => {
    pen.fillStyle = colour("--c" + category);
    pen.beginPath();
    for (let i = 0; i <= columns; i++) pen.lineTo(i / columns * width, y(base[i]));
    for (let i = columns; i >= 0; i--) pen.lineTo(i / columns * width, y(base[i] + sum[i]));
    pen.fill();
    for (let i = 0; i <= columns; i++) base[i] += sum[i];
  });
  pen.strokeStyle = colour("--ink");
  pen.beginPath();
  for (let i = Math.floor(from / data.step); i < data.reserved.length && i * data.step <= to; i++)
    pen.lineTo(x(i * data.step), y(data.reserved[i]));
  pen.stroke();
  if (data.capacity) {
    pen.strokeStyle = colour("--bad");
    pen.setLineDash([5, 4]);
    pen.strokeRect(-2, y(data.capacity), width + 4, 2 * height);
    pen.setLineDash([]);
  }
  let free = -1;
  data.marks.forEach(([event, name], i) => {
    const end = i + 1 < data.marks.length ? data.marks[i + 1][0] : data.events;
    if (end < from || event > to) return;
    const left = Math.max(0, x(event));
    pen.fillStyle = colour("--line");
    pen.fillRect(left, 0, 1, height);
    if (left < free || x(end) - left < 12) return;
    pen.fillStyle = colour("--soft");
    pen.fillText(name, left + 4, height - 7);
    free = left + pen.measureText(name).width + 6;
  });
  pen.fillStyle = colour("--ink");
  pen.fillRect(x(moment), 0, 1.5, floor);
  pen.fillText(size(top / 1.04) + " reserved", 6, 14);
  if (drag && drag.now !== null) {
    pen.globalAlpha = 0.15;
    pen.fillRect(Math.min(drag.start, drag.now), 0, Math.abs(drag.start - drag.now), floor);
    pen.globalAlpha = 1;
  }
}

function living() {
  const found = [];
  for (let i = 0; i < count; i++)
    if (data.birth[i] <= moment && (data.death[i] < 0 || data.death[i] > moment)) found.push(i);
  return found;
}

function tree(storages) { // module path, then operator, then category
  const all = { name: "all", bytes: 0, inside: {} };
  for (const i of storages) {
    const [category, module, operator] = label(i);
    let node = all;
    node.bytes += data.size[i];
    for (const name of [...(module || "outside of any module").split("."), operator, data.categories[category]]) {
      node = node.inside[name] ??= { name, bytes: 0, inside: {}, category };
      node.bytes += data.size[i];
    }
  }
  return all;
}

function drawFlame(storages) {
  const [pen, width, height] = prepare(element("flame"));
  let top = tree(storages);
  for (const name of root) { if (!top.inside[name]) break; top = top.inside[name]; }
  boxes = [];
  const draw = (node, left, wide, level, path) => {
    if (wide < 1 || level * LINE > height) return;
    pen.fillStyle = level ? colour("--c" + (node.category ?? 6)) : colour("--line");
    pen.globalAlpha = level ? 0.4 + 0.35 * (level % 2) : 1;
    pen.fillRect(left, level * LINE, wide - 0.6, LINE - 1);
    pen.globalAlpha = 1;
    boxes.push({ left, top: level * LINE, wide, path, node });
    if (wide > 40) {
      pen.save();
      pen.beginPath();
      pen.rect(left, level * LINE, wide - 3, LINE);
      pen.clip();
      pen.fillStyle = colour("--ink");
      pen.fillText(node.name + "  " + size(node.bytes), left + 4, level * LINE + 14);
      pen.restore();
    }
    for (const child of Object.values(node.inside).sort((a, b) => b.bytes - a.bytes)) {
      const share = wide * child.bytes / node.bytes;
      draw(child, left, share, level + 1, [...path, child.name]);
      left += share;
    }
  };
  draw(top, 0, width, 0, root);
  element("path").textContent = root.length ? "inside " + root.join(".") + " (click the first line to leave)" : "";
}

function fillTables(storages) {
  const sums = data.categories.map(() => 0);
  for (const i of storages) sums[label(i)[0]] += data.size[i];
  const row = (name, bytes, category) => {
    const key = category === undefined ? "" : `<span class="key" style="background:var(--c${category})"></span>`;
    return `<tr><td>${key}${escaped(name)}</td><td class="n">${size(bytes)}</td></tr>`;
  };
  const total = sums.reduce((a, b) => a + b, 0);
  element("categories").innerHTML = sums.map((sum, c) => sum ? row(data.categories[c], sum, c) : "").join("") + row("all drawn storages", total);
  const largest = [...storages].sort((a, b) => data.size[b] - data.size[a]).slice(0, 12);
  element("largest").innerHTML = largest.map((i) => {
    const [category, module, operator] = label(i);
    return row((module || "(no module)") + " · " + operator, data.size[i], category);
  }).join("");
  const phase = data.marks.filter(([event]) => event <= moment).at(-1)?.[1] ?? "";
  const point = Math.min(data.allocated.length - 1, Math.floor(moment / data.step));
  element("moment").textContent = `${held ? "held" : "shown"}: event ${moment} of ${data.events}${phase && ", " + phase}: ` +
    `${size(data.allocated[point])} allocated, ${size(data.reserved[point])} reserved`;
}

function drawAll() {
  drawTimeline();
  const storages = living();
  drawFlame(storages);
  fillTables(storages);
}

const time = element("time"), flame = element("flame");
const eventAt = (x) => Math.max(0, Math.min(data.events - 1, Math.round(from + x / time.clientWidth * (to - from))));
const boxAt = (e) => boxes.find((b) => e.offsetX >= b.left && e.offsetX < b.left + b.wide && e.offsetY >= b.top && e.offsetY < b.top + LINE);

time.onmousedown = (e) => { drag = { start: e.offsetX, now: null }; };
time.onmousemove = (e) => {
  if (drag) { drag.now = e.offsetX; drawTimeline(); }
  else if (!held) { moment = eventAt(e.offsetX); drawAll(); }
};
window.addEventListener("mouseup", () => {
  if (!drag) return;
  const { start, now } = drag;
  drag = null;
  if (now !== null && Math.abs(start - now) > 6) {
    const first = eventAt(Math.min(start, now)), last = eventAt(Math.max(start, now));
    if (last - first > 3) { from = first; to = last + 1; }
  } else { held = !held; moment = eventAt(start); }
  drawAll();
});
time.ondblclick = () => { from = 0; to = data.events; held = false; drawAll(); };
flame.onclick = (e) => { const box = boxAt(e); if (box) { root = box.top ? box.path : []; drawAll(); } };
flame.onmousemove = (e) => { const box = boxAt(e); flame.title = box ? box.node.name + "  " + size(box.node.bytes) : ""; };
element("topeak").onclick = () => { moment = data.peak; held = true; drawAll(); };
window.addEventListener("resize", drawAll);
drawAll();
