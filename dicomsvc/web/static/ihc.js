"use strict";
// A region's cells at the thresholds that stand on the sliders. The service answers which cells count; the pixels are
// drawn here, from one label and one value for each of them.
const element = (id) => document.getElementById(id);
const NEGATIVE = [0, 0, 255], POSITIVE = [255, 0, 0];
let region = null, labels = null, value = null, picture = null, added = [], classes = "";
let asked = 0, answered = 0;

async function request(url, method = "GET", body = undefined) {
  const json = body !== undefined && !(body instanceof FormData);
  const answer = await fetch(url, {
    method,
    headers: json ? { "Content-Type": "application/json" } : {},
    body: json ? JSON.stringify(body) : body,
  });
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(document.error ?? `status ${answer.status}`);
  return document;
}

async function pixels(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`a picture cannot be had: status ${answer.status}`);
  const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

function thresholds() {
  const mode = element("marker-mode").value;
  return {
    prob_thresh: Number(element("prob").value),
    size_thresh: element("size-auto").checked ? "auto" : Number(element("size").value),
    size_thresh_upper: Number(element("upper").value) || "none",
    marker_thresh: mode === "above" ? Number(element("level").value) : mode,
  };
}

function draw() {
  const view = element("view");
  const context = view.getContext("2d");
  const { width, height } = picture;
  const shown = new ImageData(new Uint8ClampedArray(picture.data), width, height);
  if (element("outlines").checked) {
    const least = Number(element("prob").value);
    const owner = new Int32Array(width * height);
    for (let at = 0; at < owner.length; at++) {
      const label = labels[at];
      if (label && value[at] > least && classes[label - 1] !== "0") owner[at] = label;
    }
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const label = owner[at];
        if (!label) continue;
        const edge = x === 0 || y === 0 || x === width - 1 || y === height - 1 ||
          owner[at - 1] !== label || owner[at + 1] !== label || owner[at - width] !== label || owner[at + width] !== label;
        if (edge) shown.data.set(classes[label - 1] === "2" ? POSITIVE : NEGATIVE, 4 * at);
      }
    }
  }
  context.putImageData(shown, 0, 0);
  if (!element("outlines").checked) return;
  context.lineWidth = 1.5;
  for (const cell of added) {
    context.strokeStyle = `rgb(${cell.class === "positive" ? POSITIVE : NEGATIVE})`;
    context.beginPath();
    cell.outline.forEach(([x, y]) => context.lineTo(x, y));
    context.closePath();
    context.stroke();
  }
}

function tell(scoring) {
  element("percent").querySelector("strong").textContent = scoring.percent_pos.toFixed(1);
  element("total").textContent = scoring.num_total;
  element("positive").textContent = scoring.num_pos;
  element("negative").textContent = scoring.num_neg;
  element("bins").textContent = Object.values(scoring.intensity.bins).join(" / ");
  element("hscore").textContent = scoring.intensity.h_score.toFixed(0);
  element("changed").textContent =
    `${scoring.num_added} added, ${scoring.num_removed} removed, ${scoring.num_reclassified} of another class`;
  element("prob-value").textContent = scoring.prob_thresh;
  element("size-value").textContent = scoring.size_thresh;
  element("upper-value").textContent = scoring.size_thresh_upper ?? "none";
  element("level-value").textContent = scoring.marker_thresh ?? "none";
  const query = new URLSearchParams(thresholds());
  element("results").href = `${region.url}/results.zip?${query}`;
}

async function score() {
  const turn = ++asked;
  const began = performance.now();
  try {
    const answer = await request(`${region.url}/scoring`, "POST", { ...thresholds(), classes: true });
    // An older answer that comes late is not shown.
    if (turn < answered) return;
    answered = turn;
    ({ classes, added } = answer);
    element("milliseconds").textContent = `${Math.round(performance.now() - began)} ms`;
    tell(answer.scoring);
    draw();
    element("message").textContent = "";
  } catch (error) {
    element("message").textContent = `Not scored: ${error.message}`;
  }
}

let waiting = false;
function scoreSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; score(); });
}

function inside(outline, x, y) {
  let odd = false;
  for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
    const [ax, ay] = outline[i], [bx, by] = outline[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}

function cellAt(x, y) {
  const own = added.find((cell) => inside(cell.outline, x, y));
  if (own) return { cell: own.cell, positive: own.class === "positive" };
  const at = Math.floor(y) * picture.width + Math.floor(x);
  const label = labels[at];
  if (!label || classes[label - 1] === "0" || value[at] <= Number(element("prob").value)) return null;
  return { cell: label, positive: classes[label - 1] === "2" };
}

async function clicked(event) {
  const view = element("view");
  const box = view.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * view.width;
  const y = ((event.clientY - box.top) / box.height) * view.height;
  const found = cellAt(x, y);
  const tool = document.querySelector('input[name="tool"]:checked').value;
  try {
    if (tool === "add") {
      const point = [(x + region.origin[0]) / region.scale[0], (y + region.origin[1]) / region.scale[1]];
      await request(`${region.url}/cells`, "POST", { ...thresholds(), point });
    } else if (!found) {
      return;
    } else if (tool === "remove") {
      await request(`${region.url}/cells/${found.cell}`, "DELETE");
    } else {
      await request(`${region.url}/cells/${found.cell}`, "PATCH", { class: found.positive ? "negative" : "positive" });
    }
    await score();
  } catch (error) {
    element("message").textContent = `Not changed: ${error.message}`;
  }
}

async function open(id) {
  region = await request(`/api/ihc/regions/${id}`);
  const images = ["picture", "labels", "value"].map((name) => pixels(`${region.url}/images/${name}`));
  const [seen, coded, values] = await Promise.all(images);
  picture = seen;
  labels = new Int32Array(seen.width * seen.height);
  value = new Uint8Array(labels.length);
  for (let at = 0; at < labels.length; at++) {
    labels[at] = coded.data[4 * at] + (coded.data[4 * at + 1] << 8) + (coded.data[4 * at + 2] << 16);
    value[at] = values.data[4 * at];
  }
  element("view").width = seen.width;
  element("view").height = seen.height;
  element("model").textContent =
    `${region.columns} x ${region.rows} pixels of ${region.mpp.toFixed(3)} µm; ${region.model} ${region.version}, ${region.backend}`;
  element("warnings").replaceChildren(...region.warnings.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  element("review").hidden = false;
  await score();
}

async function send(file) {
  const form = new FormData();
  form.append("img", file);
  const query = new URLSearchParams({ mpp: element("mpp").value, marker: element("marker").value });
  element("message").textContent = `Looking at ${file.name} …`;
  try {
    const made = await request(`/api/ihc/pictures?${query}`, "POST", form);
    history.replaceState(null, "", made.page);
    await open(made.id);
  } catch (error) {
    element("message").textContent = `Not scored: ${error.message}`;
  }
}

async function list() {
  const found = await request("/api/ihc/regions");
  element("message").textContent = found.length ? "" : "No region yet: score a picture, or make one of a stored slide.";
  for (const each of found) {
    const row = document.createElement("li");
    const link = Object.assign(document.createElement("a"), { href: each.page });
    link.textContent = `${each.columns} x ${each.rows} pixels, ${each.marker}, ${each.created.slice(0, 16).replace("T", " ")}`;
    row.append(link);
    element("regions").append(row);
  }
}

for (const id of ["prob", "size", "upper", "level", "size-auto", "marker-mode"]) {
  element(id).addEventListener("input", () => {
    element("size").disabled = element("size-auto").checked;
    element("level").disabled = element("marker-mode").value !== "above";
    scoreSoon();
  });
}
element("outlines").addEventListener("change", draw);
element("view").addEventListener("click", clicked);
element("picture").addEventListener("change", (event) => { if (event.target.files[0]) send(event.target.files[0]); });
const wanted = new URLSearchParams(location.search).get("region");
(wanted ? open(wanted) : list()).catch((error) => { element("message").textContent = error.message; });
