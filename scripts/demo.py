"""The main job on a real slide, step by step: ``make demo``.

Starts a service of its own with an empty store in ``demo/``, brings one slide in as a vendor file and a second one with
C-STORE, asks for both over DICOMweb with the clients that others use, has models on Triton find tissue and nuclei on
one, clicks nuclei, reads the pathology reports of both, in English and Chinese, lets another archive query and fetch,
exports a de-identified copy, and writes pictures.
"""

import json
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
from dicomweb_client import DICOMwebClient
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import JPEGBaseline8Bit
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    VLWholeSlideMicroscopyImageStorage,
)
from rich.console import Console
from rich.markup import escape
from wsidicom import WsiDicom, WsiDicomWebClient

REPOSITORY = Path(__file__).parents[1]
SLIDE = REPOSITORY / "tests" / "data" / "CMU-1-Small-Region.svs"
FOLDER = REPOSITORY / "demo"
DICOMSVC = (sys.executable, "-m", "dicomsvc")
REPORTS = {
    "A-2026-1": """SURGICAL PATHOLOGY REPORT. CLINICAL HISTORY: Left renal mass; carcinoma of the breast in 2009.
FINAL DIAGNOSIS:
A. KIDNEY, LEFT, RADICAL NEPHRECTOMY: Clear cell renal cell carcinoma, WHO/ISUP grade 3, 6.2 x 5.0 x 4.8 cm.
- Tumor extends into perinephric fat; renal sinus fat is not involved.
- No lymphovascular invasion. Resection margins are free of tumor.
B. LYMPH NODES, HILAR: Four lymph nodes, negative for tumor (0/4). AJCC 8th edition: pT3a.""",
    "A-2026-2": """（左肾）透明细胞型肾细胞癌，WHO/ISUP 2级，大小4.5×3.2×3.0cm，侵及肾周脂肪，
脉管内见癌栓，切缘阴性，淋巴结0/5。""",
}
"""Made up, as the slides' patients are."""
console = Console(highlight=False, soft_wrap=True)


def step(text: str) -> None:
    console.print(f"\n[bold cyan]== {text}[/]")


def run(*arguments: str) -> Any:
    """Run a ``dicomsvc`` command and return its JSON."""
    console.print(f"[dim]$ dicomsvc {' '.join(arguments)}[/]")
    ended = subprocess.run([*DICOMSVC, *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ended.stdout)


def start_service() -> tuple["subprocess.Popen[str]", str, str]:
    """Start the service; return its process, the root URL, the address of its DICOM port."""
    arguments = ("serve", "--data", str(FOLDER / "data"), "--http", "127.0.0.1:0", "--dimse", "127.0.0.1:0")
    console.print(f"[dim]$ dicomsvc {' '.join(arguments)}[/]")
    service = subprocess.Popen([*DICOMSVC, *arguments, "--json"], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    line = service.stdout.readline()
    if not line:
        sys.exit("the service did not start; its messages are above")
    addresses = json.loads(line)
    return service, addresses["web"], addresses["dimse"].partition("@")[2]


def show_studies(client: DICOMwebClient) -> list[dict[str, Any]]:
    studies = client.search_for_studies(search_filters={"ModalitiesInStudy": "SM"})
    for study in studies:
        name = study["00100010"].get("Value", [{}])[0].get("Alphabetic", "")
        instances = study["00201208"]["Value"][0]
        console.print(f"  {study['0020000D']['Value'][0]}  {name or '(no name)'}  {instances} instances")
    return cast(list[dict[str, Any]], studies)


def show_slide(client: DICOMwebClient, study_uid: str, name: str) -> None:
    """Read the slide over DICOMweb as a viewer does; write a region at full size and the whole slide."""
    [series] = client.search_for_series(study_uid, search_filters={"Modality": "SM"})
    series_uid = series["0020000E"]["Value"][0]
    with WsiDicom.open_web(WsiDicomWebClient(client), study_uid, series_uid) as slide:
        for level in slide.levels:
            console.print(f"  level {level.level}: {level.size.width} x {level.size.height}, {level.mpp.width:.3f} um")
        region = slide.read_region((800, 1200), 0, (768, 512)).convert("RGB")
        whole = slide.read_thumbnail((768, 768)).convert("RGB")
    if np.asarray(region).std() < 1 or np.asarray(whole).std() < 1:
        sys.exit("the pictures are empty: something is wrong")
    for kind, picture in (("region", region), ("whole", whole)):
        path = FOLDER / f"{name}-{kind}.png"
        cast(Image.Image, picture).save(path)
        console.print(f"  written: {path.relative_to(REPOSITORY)} ({picture.width} x {picture.height})")


def show_analysis(url: str, study_uid: str, model: str, region: str | None) -> None:
    """Run a model over the slide; draw what was stored over the slide, and print the report."""
    [analysis] = run("analyze", study_uid, "--model", model, "--data", str(FOLDER / "data"))
    outputs = analysis["outputs"]
    console.print(
        f"  {outputs['summary']}\n  {outputs['tiles']} tiles, {outputs['megapixels']:g} megapixels by "
        f"{outputs['backend']} in {outputs['seconds']:g} s; {len(outputs['instances'])} objects stored"
    )
    root = f"{url}/api/analyses/{analysis['uid']}"
    path = FOLDER / f"{model}-overlay.png"
    picture = httpx.get(f"{root}/overlay.png", params={"region": region} if region else {}, timeout=60)
    path.write_bytes(picture.raise_for_status().content)
    console.print(f"  written: {path.relative_to(REPOSITORY)}\n")
    console.print(httpx.get(f"{root}/report.txt").raise_for_status().text, markup=False, style="dim")


def show_clicks(client: DICOMwebClient, url: str, study_uid: str) -> None:
    """Click two nuclei and a place without one, as a person in a viewer does; time the second request."""
    [series] = client.search_for_series(study_uid, search_filters={"Modality": "SM"})
    address = f"{url}/api/slides/{series['0020000E']['Value'][0]}/clicks"
    with httpx.Client(timeout=60) as person:
        person.post(address, json={"points": [[935, 1414]]}).raise_for_status()
        began = time.monotonic()
        answer = person.post(address, json={"points": [[935, 1414], [1047, 1520], [2100, 100]]}).raise_for_status()
    console.print(f"  answered in {1000 * (time.monotonic() - began):.0f} ms")
    document = answer.json()
    for click in document["clicks"]:
        row = click["instance"]
        area = "" if row is None else f"{document['instances'][row]['measurements']['area_um2']:.1f} um2"
        console.print(f"  {click['point']}: {area or click['reason']}")


def show_reports(url: str, client: DICOMwebClient) -> None:
    """Bring the reports in, print what they say and where they say so; store one in its study as DICOM SR."""
    with httpx.Client(base_url=url, timeout=60) as person:
        for accession_number, text in REPORTS.items():
            sent = person.post(
                "/api/reports",
                params={"accession_number": accession_number},
                content=text.encode(),
                headers={"Content-Type": "text/plain; charset=utf-8"},
            ).raise_for_status()
            report = person.get(sent.json()["url"]).raise_for_status().json()
            console.print(f"\n  {accession_number}: study {report['study_instance_uid']}", markup=False)
            for value in report["values"]:
                [place, *_] = value["evidence"]
                said = escape(text[place["start"] : place["end"]])
                console.print(f"  {value['field']:25}{value['value']!s:33}{value['status']:9}[dim]{said}[/]")
            stored = person.post(f"{sent.json()['url']}/sr").raise_for_status().json()
        series = client.search_for_series(report["study_instance_uid"], search_filters={"Modality": "SR"})
    if not series:
        sys.exit("the report is not in its study")
    console.print(f"\n  stored in the study as DICOM SR: {stored['sop_instance_uid']}")


def show_archive(dimse: str) -> None:
    """Query the node (C-FIND) and fetch a slide from it (C-GET), as another archive does, by pynetdicom."""
    host, _, port = dimse.rpartition(":")
    fetched: list[Dataset] = []

    def keep(event: evt.Event) -> int:
        fetched.append(event.dataset)
        return 0

    archive = AE("ARCHIVE")
    archive.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    archive.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    archive.add_requested_context(VLWholeSlideMicroscopyImageStorage, JPEGBaseline8Bit)
    association = archive.associate(
        host,
        int(port),
        ext_neg=[build_role(VLWholeSlideMicroscopyImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    query = Dataset()
    query.QueryRetrieveLevel, query.AccessionNumber, query.StudyInstanceUID = "STUDY", "A-2026-2", ""
    answers = association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind)
    [study] = [found for _, found in answers if found is not None]
    console.print(f"  C-FIND by accession number: {study.StudyInstanceUID}")
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study.StudyInstanceUID
    *_, (final, _) = association.send_c_get(query, StudyRootQueryRetrieveInformationModelGet)
    association.release()
    slides = [found for found in fetched if found.SOPClassUID == VLWholeSlideMicroscopyImageStorage]
    if not slides:
        sys.exit("nothing was fetched")
    frames = sum(int(found.get("NumberOfFrames", 1)) for found in slides)
    console.print(
        f"  C-GET: {len(slides)} instances of the slide with {frames} frames; "
        f"{final.get('NumberOfFailedSuboperations', 0)} of other classes were not asked for"
    )


def show_export(study_uid: str) -> None:
    """Export a study without what tells whose it is, and look whether it still says so."""
    folder = FOLDER / "deidentified"
    run("export", study_uid, "--out", str(folder), "--deidentify", "basic", "--data", str(FOLDER / "data"))
    files = sorted(folder.rglob("*.dcm"))
    if not files or any(b"DEMO-1" in path.read_bytes() or b"Slide^First" in path.read_bytes() for path in files):
        sys.exit("the export is empty, or names the patient")
    for path in files:
        head = dcmread(path, stop_before_pixels=True)
        console.print(f"  {head.Modality:4}{head.PatientID[:16]:18}{head.SOPInstanceUID}")
    console.print(f"  {len(files)} files; none holds the patient's name or number")


def main() -> None:
    started = time.monotonic()
    # pydicom remarks on each bulk data element that metadata only points to, as it should.
    warnings.filterwarnings("ignore", message="No bulk data URI handler")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    step("The service starts: its own PostgreSQL, HTTP, DICOM, a worker, Triton")
    service, url, dimse = start_service()
    try:
        console.print(f"  DICOMweb {url}/dicomweb   DICOM DICOMSVC@{dimse}")
        client = DICOMwebClient(f"{url}/dicomweb")

        step("A slide comes in as the scanner's file, is converted and stored")
        (FOLDER / "first.json").write_text(json.dumps(metadata("DEMO-1", "Slide^First", "A-2026-1")))
        run("import", str(SLIDE), "--metadata", str(FOLDER / "first.json"), "--data", str(FOLDER / "data"))

        step("A second slide is converted elsewhere and sent with C-STORE")
        (FOLDER / "second.json").write_text(json.dumps(metadata("DEMO-2", "Slide^Second", "A-2026-2")))
        run("convert", str(SLIDE), "--out", str(FOLDER / "second"), "--metadata", str(FOLDER / "second.json"))
        sent = run("send", dimse, str(FOLDER / "second"), "--called", "DICOMSVC", "--calling", "SCANNER")
        console.print(f"  {len(sent)} instances acknowledged, so they are durable")

        step("dicomweb-client asks what is there")
        studies = show_studies(client)
        if len(studies) != 2:
            sys.exit(f"2 studies were stored, {len(studies)} are found")

        step("wsidicom reads both over DICOMweb, as a viewer does")
        for study in studies:
            name = "first" if "DEMO-1" in study["00100020"]["Value"] else "second"
            show_slide(client, study["0020000D"]["Value"][0], name)

        step("Two models look at the first slide, on Triton")
        first = next(study for study in studies if "DEMO-1" in study["00100020"]["Value"])
        for model, region in (("tissue", None), ("nuclei", "800,1200,768,512")):
            show_analysis(url, first["0020000D"]["Value"][0], model, region)

        step("A person clicks two nuclei, and glass")
        show_clicks(client, url, first["0020000D"]["Value"][0])

        step("Their pathology reports come in as free text and become fields")
        show_reports(url, client)

        step("Another archive queries and fetches")
        show_archive(dimse)

        step("A de-identified copy for research")
        show_export(first["0020000D"]["Value"][0])

        step("Every stored file still has the bytes it came with, and the audit trail is whole")
        console.print(f"  {run('verify', '--data', str(FOLDER / 'data'))['checked']} files verified")
        trail = run("audit", "verify", "--data", str(FOLDER / "data"))
        console.print(f"  {trail['checked']} audit messages, each chained to the one before")
    finally:
        service.terminate()
        service.wait(60)
    console.print(
        f"\n[bold green]Done in {time.monotonic() - started:.0f} s.[/] Pictures and store are in demo/. To go on:\n"
        "  .venv/bin/dicomsvc serve --data demo/data   the service with these slides, then:\n"
        "    http://127.0.0.1:8080/                    the slides, in a browser\n"
        "    http://127.0.0.1:8080/dicomweb            for a DICOMweb viewer\n"
        "    http://127.0.0.1:8080/docs                the API of ours, to try\n"
        "  make serve                                  a service with an empty store in ./data"
    )


def metadata(patient_id: str, patient_name: str, accession_number: str) -> dict[str, str]:
    return {"patient_id": patient_id, "patient_name": patient_name, "accession_number": accession_number}


if __name__ == "__main__":
    main()
