"use strict";
// The stored slides with their pictures, all of it over DICOMweb; uploads as work items with their progress.
const PAGE = 24;
const element = (id) => document.getElementById(id);
const value = (attributes, tag) => attributes[tag]?.Value?.[0];
let shown = 0;

function make(name, text, parent) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}

async function getJson(url) {
  const answer = await fetch(url, { headers: { Accept: "application/dicom+json, application/json" } });
  if (answer.status === 204) return [];
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `status ${answer.status}`);
  return answer.json();
}

function personName(attributes, tag) {
  const name = value(attributes, tag) ?? {};
  return [name.Alphabetic, name.Ideographic].filter(Boolean).join(" · ").replaceAll("^", " ");
}

function showSlide(study) {
  const uid = value(study, "0020000D");
  const card = make("article", "", element("slides"));
  const image = make("img", "", card);
  image.loading = "lazy";
  image.alt = "The slide as a whole";
  image.src = `/dicomweb/studies/${uid}/thumbnail?viewport=480,384`;
  image.onerror = () => { image.alt = "No picture of this study"; };
  make("h2", personName(study, "00100010") || "(no name)", card);
  const list = make("dl", "", card);
  const rows = [
    ["Patient ID", value(study, "00100020")],
    ["Accession", value(study, "00080050")],
    ["Date", value(study, "00080020")?.replace(/^(\d{4})(\d\d)(\d\d)$/, "$1-$2-$3")],
    ["Modalities", study["00080061"]?.Value?.join(", ")],
    ["Instances", value(study, "00201208")],
    ["Study", uid],
  ];
  for (const [label, text] of rows) {
    if (text === undefined || text === "") continue;
    make("dt", label, list);
    make("dd", String(text), list);
  }
}

async function showPage(fresh) {
  if (fresh) { shown = 0; element("slides").replaceChildren(); }
  const query = new URLSearchParams({ limit: PAGE, offset: shown });
  const name = element("name").value.trim();
  if (name) { query.set("PatientName", name); query.set("fuzzymatching", "true"); }
  try {
    const studies = await getJson(`/dicomweb/studies?${query}`);
    studies.forEach(showSlide);
    shown += studies.length;
    element("more").hidden = studies.length < PAGE;
    element("message").textContent = shown ? "" : name ? "No slide of such a name." : "No slides yet: bring one in.";
  } catch (error) {
    element("message").textContent = `The slides cannot be listed: ${error.message}`;
  }
}

async function follow(job, row) {
  const bar = make("progress", "", row);
  const text = make("span", "", row);
  while (!["COMPLETED", "CANCELED"].includes(job.state)) {
    job = await getJson(`/api/jobs/${job.uid}?wait=20`);
    if (job.progress.total) { bar.max = job.progress.total; bar.value = job.progress.done; }
    text.textContent = job.state === "IN PROGRESS" ? job.progress.text : job.state.toLowerCase();
  }
  bar.remove();
  text.textContent = job.state === "COMPLETED" ? "stored" : `not stored: ${job.error ?? "cancelled"}`;
  if (job.state === "COMPLETED") showPage(true);
}

async function upload(file) {
  const row = make("li", "", element("jobs"));
  make("strong", file.name, row);
  const note = make("span", "uploading", row);
  try {
    const answer = await fetch(`/api/slides?filename=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    const job = await answer.json();
    if (!answer.ok) throw new Error(job.error ?? `status ${answer.status}`);
    note.remove();
    await follow(job, row);
  } catch (error) {
    note.textContent = `not taken: ${error.message}`;
  }
}

element("search").addEventListener("submit", (event) => { event.preventDefault(); showPage(true); });
element("more").addEventListener("click", () => showPage(false));
element("upload").addEventListener("change", (event) => { for (const file of event.target.files) upload(file); });
showPage(true);
