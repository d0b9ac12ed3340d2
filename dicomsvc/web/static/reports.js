"use strict";
// The table of reports with columns and filters of people's choice; one report with its evidence, and its review.
const PAGE = 50;
const element = (id) => document.getElementById(id);
const fields = new Map();
let columns = ["laterality", "histologic_type", "tumor_size_mm"];
let filters = [];
let shown = 0;
let asking = 0;
let report = null;
let tag = "";

function make(name, text, parent, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== "") made.textContent = text;
  if (className) made.className = className;
  parent.append(made);
  return made;
}

async function call(url, order, headers = {}) {
  const options = order && { method: "POST", body: JSON.stringify(order), headers: { "Content-Type": "application/json", ...headers } };
  const answer = await fetch(url, options);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? `status ${answer.status}`);
  if (answer.headers.get("ETag")) tag = answer.headers.get("ETag");
  return body;
}

const tell = (text) => { element("message").textContent = text; };
const title = (id) => fields.get(id)?.title.en ?? id;

function optionTitle(id, value) {
  const option = fields.get(id)?.options.find((each) => String(each.value) === String(value));
  return option ? option.title.en : String(value ?? "");
}

function query() {
  const asked = new URLSearchParams({ columns: columns.join(",") });
  if (element("words").value.trim()) asked.set("q", element("words").value.trim());
  if (element("held").checked) asked.set("held", "true");
  for (const [id, condition] of filters) asked.append(`field.${id}`, condition);
  return asked;
}

function showChosen() {
  const list = element("chosen");
  list.replaceChildren();
  const entry = (text, remove) => {
    const item = make("li", text, list);
    const button = make("button", "×", item);
    button.type = "button";
    button.setAttribute("aria-label", `Remove ${text}`);
    button.onclick = () => { remove(); refresh(); };
  };
  for (const id of columns) entry(title(id), () => { columns = columns.filter((each) => each !== id); });
  for (const one of filters) entry(`${title(one[0])} ${one[1]}`, () => { filters = filters.filter((each) => each !== one); });
  const asked = query();
  asked.set("format", "csv");
  element("csv").href = `/api/reports/export?${asked}`;
}

function showSnippet(pieces, cell) {
  for (const piece of pieces) make(piece.match ? "mark" : "span", piece.text, cell);
}

function showRow(row) {
  const line = make("tr", "", element("table").tBodies[0]);
  line.tabIndex = 0;
  line.onclick = () => open(row.url);
  line.onkeydown = (event) => { if (event.key === "Enter") open(row.url); };
  make("td", row.report_id || row.uid.slice(0, 8), line);
  make("td", row.held ? "held" : row.accession_number, line, row.held ? "held" : "").title = row.held ?? "";
  make("td", `${row.state}, ${row.review}`, line);
  for (const id of columns) {
    const cell = make("td", "", line);
    const cells = row.fields[id] ?? [];
    const ofCase = cells.filter((each) => each.part === null);
    for (const each of ofCase.length ? ofCase : cells) {
      const part = each.part ? ` (${each.part})` : "";
      make("div", `${optionTitle(id, each.value)}${each.unit ? ` ${each.unit}` : ""}${part}`, cell, each.status);
    }
  }
  showSnippet(row.snippet, make("td", "", line, "snippet"));
}

function showHead() {
  shown = 0;
  element("table").tBodies[0].replaceChildren();
  const head = element("table").tHead;
  head.replaceChildren();
  const line = make("tr", "", head);
  for (const name of ["Report", "Accession", "Standing", ...columns.map(title), ""]) make("th", name, line);
}

async function refresh(fresh = true) {
  showChosen();
  const asked = query();
  asked.set("limit", PAGE);
  asked.set("offset", fresh ? 0 : shown);
  asking += 1;
  const mine = asking;
  try {
    const page = await call(`/api/reports?${asked}`);
    // Another question was asked meanwhile: its answer is the one to show.
    if (mine !== asking) return;
    if (fresh) showHead();
    page.reports.forEach(showRow);
    shown += page.reports.length;
    element("more").hidden = shown >= page.total;
    tell(`${page.total} reports`);
  } catch (error) {
    tell(`The reports cannot be listed: ${error.message}`);
  }
}

function showText(chosen) {
  const box = element("text");
  box.replaceChildren();
  // Offsets count code points, strings UTF-16 units.
  const letters = Array.from(report.text);
  const places = report.values.filter((value) => value.review !== "removed")
    .flatMap((value) => value.evidence.map((place) => ({ ...place, value })));
  places.sort((a, b) => (b.value === chosen) - (a.value === chosen) || a.start - b.start);
  const apart = [];
  for (const place of places) if (apart.every((each) => place.end <= each.start || place.start >= each.end)) apart.push(place);
  apart.sort((a, b) => a.start - b.start);
  let at = 0;
  for (const place of apart) {
    make("span", letters.slice(at, place.start).join(""), box);
    const mark = make("mark", letters.slice(place.start, place.end).join(""), box, place.value === chosen ? "chosen" : "");
    mark.title = `${title(place.value.field)}: ${optionTitle(place.value.field, place.value.value)}`;
    if (place.value === chosen) mark.scrollIntoView({ block: "nearest" });
    at = place.end;
  }
  make("span", letters.slice(at).join(""), box);
}

async function act(...actions) {
  try {
    report = await call(`${report.url}/review`, { actions }, { "If-Match": tag });
    showReport();
    tell("");
  } catch (error) {
    tell(`Not done: ${error.message}`);
  }
}

async function match() {
  const said = prompt("Study Instance UID that this report belongs to");
  if (!said) return;
  try {
    report = await call(`${report.url}/match`, { study_instance_uid: said.trim() });
    showReport();
    tell("");
  } catch (error) {
    tell(`Not matched: ${error.message}`);
  }
}

function correct(value) {
  const options = fields.get(value.field)?.options ?? [];
  const words = options.map((option) => option.value).join(", ");
  const said = prompt(`${title(value.field)}${words ? ` (${words})` : ""}`, value.value);
  if (said === null || said.trim() === "") return;
  const isNumber = typeof value.value === "number" && said.trim() !== "" && Number.isFinite(Number(said));
  act({ action: "correct", number: value.number, value: isNumber ? Number(said) : said.trim(), evidence: value.evidence });
}

function showValue(value, signed) {
  const line = make("tr", "", element("values").tBodies[0], value.review === "removed" ? "removed" : "");
  line.onclick = () => showText(value);
  make("td", `${title(value.field)}${value.part ? ` (${value.part})` : ""}`, line);
  const unit = value.unit ? ` ${value.unit}` : "";
  make("td", `${optionTitle(value.field, value.value)}${unit}`, line, value.status).title = `${value.status}, ${value.rule}`;
  const cell = make("td", value.review === "open" ? "" : value.review, line);
  if (signed || value.review === "removed") return;
  const button = (text, work) => { make("button", text, cell).onclick = (event) => { event.stopPropagation(); work(); }; };
  if (value.review === "open") button("Accept", () => act({ action: "accept", number: value.number }));
  button("Correct", () => correct(value));
  button("Remove", () => act({ action: "remove", number: value.number }));
}

function showReport() {
  const signed = report.review === "signed";
  element("one").hidden = false;
  element("title").textContent = report.report_id || report.uid;
  const link = report.held ? `held: ${report.held.replaceAll("_", " ")}` : `study ${report.study_instance_uid}`;
  const by = signed ? ` by ${report.signed_name.replaceAll("^", " ")}, ${report.signed_organisation}` : "";
  const why = report.reason ? ` (${report.reason})` : "";
  element("standing").textContent = `${report.status}, version ${report.version} · ${report.state}${why} · ${link} · ${report.review}${by}`;
  element("match").hidden = !report.held;
  element("values").tBodies[0].replaceChildren();
  for (const value of report.values) showValue(value, signed);
  element("sign-button").textContent = signed ? "Reopen" : "Sign";
  for (const id of ["accept-all", "person", "organisation"]) element(id).hidden = signed;
  showText(null);
}

async function open(url) {
  try {
    report = await call(url);
    showReport();
    element("one").scrollIntoView({ behavior: "smooth" });
  } catch (error) {
    tell(`The report cannot be shown: ${error.message}`);
  }
}

function chosenField() {
  const said = element("field").value.trim();
  if (fields.has(said)) return said;
  tell("Choose a field of the list.");
  return null;
}

element("search").addEventListener("submit", (event) => { event.preventDefault(); refresh(); });
element("held").addEventListener("change", () => refresh());
element("more").addEventListener("click", () => refresh(false));
element("close").addEventListener("click", () => { element("one").hidden = true; });
element("match").addEventListener("click", match);
element("accept-all").addEventListener("click", () => act({ action: "accept_all" }));
element("add-column").addEventListener("click", () => {
  const id = chosenField();
  if (id && !columns.includes(id)) { columns.push(id); refresh(); }
});
element("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = chosenField();
  if (id) { filters.push([id, element("condition").value.trim() || "*"]); refresh(); }
});
element("field").addEventListener("input", () => {
  element("options").replaceChildren();
  for (const option of fields.get(element("field").value)?.options ?? []) make("option", option.title.en, element("options")).value = option.value;
});
element("sign").addEventListener("submit", (event) => {
  event.preventDefault();
  if (report.review === "signed") act({ action: "reopen" });
  else act({ action: "sign", person_name: element("person").value, organisation: element("organisation").value });
});

async function begin() {
  try {
    for (const field of await call("/api/reports/fields")) {
      fields.set(field.id, field);
      make("option", field.title.en, element("fields")).value = field.id;
    }
    columns = columns.filter((id) => fields.has(id));
  } catch (error) {
    tell(`The fields cannot be listed: ${error.message}`);
  }
  await refresh();
}

begin();
