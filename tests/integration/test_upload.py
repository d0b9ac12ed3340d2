"""Uploads to a running service, as clients send them."""

import base64
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import RunningService
from tests.instances import part10, wsi_dataset

TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def client(service: RunningService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


def metadata(**entries: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in entries.items())


def create(client: httpx.Client, name: str, length: int, **entries: str) -> str:
    headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": metadata(filename=name, **entries)}
    answer = client.post("/api/uploads", headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def send(client: httpx.Client, url: str, offset: int, content: bytes) -> httpx.Response:
    return client.patch(url, headers={**PIECE, "Upload-Offset": str(offset)}, content=content)


def job_done(client: httpx.Client, url: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job: dict[str, Any] = client.get(url, params={"wait": 20}).raise_for_status().json()
        if job["state"] in ("COMPLETED", "CANCELED"):
            return job
    raise AssertionError("the job does not end")


def test_a_slide_sent_whole_becomes_a_series(client: httpx.Client, cmu_small_region: Path) -> None:
    options = json.dumps({"metadata": {"patient_id": "U-1"}})
    with cmu_small_region.open("rb") as file:
        answer = client.post("/api/slides", params={"filename": "Case 7.svs", "options": options}, content=file)
    assert answer.status_code == 202, answer.text
    job = job_done(client, answer.headers["Location"])
    assert job["state"] == "COMPLETED", job["error"]
    assert "path" not in job["inputs"]
    found = client.get("/dicomweb/studies", params={"PatientID": "U-1"}).json()
    assert [study["0020000D"]["Value"][0] for study in found] == [job["outputs"]["study_instance_uid"]]


def test_an_upload_in_pieces_is_resumed_where_it_stands(client: httpx.Client) -> None:
    content = part10(wsi_dataset(frames=20))
    half = len(content) // 2
    url = create(client, "one.dcm", len(content))
    first = send(client, url, 0, content[:half])
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, str(half))
    assert "Content-Location" not in first.headers
    stand = client.head(url)
    assert (stand.headers["Upload-Offset"], stand.headers["Upload-Length"]) == (str(half), str(len(content)))
    assert send(client, url, 0, content[:half]).status_code == 409
    last = send(client, url, half, content[half:])
    assert last.status_code == 204
    job = job_done(client, last.headers["Content-Location"])
    assert job["outputs"]["stored"] == 1
    assert client.head(url).headers["Content-Location"] == last.headers["Content-Location"]
    assert client.get(url).json()["job"]["uid"] == job["uid"]


def test_what_came_before_the_connection_broke_is_kept(client: httpx.Client, service: RunningService) -> None:
    content = part10(wsi_dataset(frames=20))
    half = len(content) // 2
    url = create(client, "one.dcm", len(content))
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"PATCH {url} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        head += f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content[:half])
        time.sleep(0.3)
    deadline = time.monotonic() + 10
    while client.head(url).headers["Upload-Offset"] != str(half):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    last = send(client, url, half, content[half:])
    assert job_done(client, last.headers["Content-Location"])["outputs"]["stored"] == 1


def test_a_set_of_files_is_one_import_once_it_is_finished(client: httpx.Client) -> None:
    url = client.post("/api/upload-sets", json={}).json()["url"]
    set_id = url.rpartition("/")[2]
    assert client.post(f"{url}/finish").status_code == 400
    contents = [part10(wsi_dataset()) for _ in range(3)]
    urls = [create(client, f"Mr X/{number}.dcm", len(content), set=set_id) for number, content in enumerate(contents)]
    for one, content in zip(urls[:2], contents, strict=False):
        assert "Content-Location" not in send(client, one, 0, content).headers
    assert client.post(f"{url}/finish").status_code == 409
    send(client, urls[2], 0, contents[2])
    done = client.post(f"{url}/finish")
    assert done.status_code == 202
    assert client.post(f"{url}/finish").json()["uid"] == done.json()["uid"]
    assert job_done(client, done.headers["Location"])["outputs"]["stored"] == 3
    late = {**TUS, "Upload-Length": "1", "Upload-Metadata": metadata(filename="late.dcm", set=set_id)}
    assert client.post("/api/uploads", headers=late).status_code == 409


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b.svs", "..\\b.svs", "a//b", "x\0y"])
def test_no_name_leads_out_of_the_upload(client: httpx.Client, name: str) -> None:
    headers = {**TUS, "Upload-Length": "1", "Upload-Metadata": metadata(filename=name)}
    assert client.post("/api/uploads", headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 412),
        ({**TUS, "Upload-Metadata": metadata(filename="a.svs")}, 400),
        ({**TUS, "Upload-Length": "-1", "Upload-Metadata": metadata(filename="a.svs")}, 400),
        ({**TUS, "Upload-Length": "5", "Upload-Metadata": "filename ???"}, 400),
        ({**TUS, "Upload-Length": "5"}, 400),
        ({**TUS, "Upload-Length": "5", "Upload-Metadata": metadata(filename="a.zip")}, 415),
        ({**TUS, "Upload-Length": str(1 << 50), "Upload-Metadata": metadata(filename="a.svs")}, 413),
        ({**TUS, "Upload-Length": "5", "Upload-Metadata": metadata(filename="a.svs", options='{"mpp": "x"}')}, 400),
        ({**TUS, "Upload-Length": "5", "Upload-Metadata": metadata(filename="a.svs", set="0" * 32)}, 404),
    ],
)
def test_a_wrong_request_gets_the_right_status(client: httpx.Client, headers: dict[str, str], status: int) -> None:
    answer = client.post("/api/uploads", headers=headers)
    assert answer.status_code == status, answer.text


def test_more_bytes_than_announced_are_refused(client: httpx.Client) -> None:
    url = create(client, "a.dcm", 10)
    assert send(client, url, 0, b"x" * 11).status_code == 413
    assert client.patch(url, headers={**TUS, "Upload-Offset": "0"}, content=b"x").status_code == 415


def test_an_upload_that_was_given_up_is_gone(client: httpx.Client) -> None:
    url = create(client, "a.dcm", 10)
    assert client.delete(url).status_code == 204
    assert client.head(url).status_code == 404
    assert client.delete(url).status_code == 404


def test_what_cannot_be_imported_fails_with_a_reason_and_may_be_tried_again(client: httpx.Client) -> None:
    answer = client.put("/api/slides", params={"filename": "slide.svs"}, content=b"no slide" * 500)
    job = job_done(client, answer.headers["Location"])
    assert (job["state"], job["error_kind"]) == ("CANCELED", "UnknownSlideFormat")
    again = client.post(f"{job['url']}/retry")
    assert again.status_code == 201 and again.json()["retry_of"] == job["uid"]
    assert job_done(client, again.json()["url"])["error_kind"] == "UnknownSlideFormat"


def test_progress_comes_as_events_until_the_end(client: httpx.Client, cmu_small_region: Path) -> None:
    answer = client.post("/api/slides", params={"filename": "s.svs"}, content=cmu_small_region.read_bytes())
    states = []
    with client.stream("GET", f"{answer.headers['Location']}/events") as events:
        assert events.headers["content-type"].startswith("text/event-stream")
        for line in events.iter_lines():
            if line.startswith("data: "):
                states.append(json.loads(line.removeprefix("data: "))["state"])
    assert states[-1] == "COMPLETED"


def test_jobs_are_listed_by_state_and_kind_and_unknown_ones_are_not_found(client: httpx.Client) -> None:
    jobs = client.get("/api/jobs", params={"state": "COMPLETED", "kind": "convert", "limit": 2}).json()
    assert all(job["state"] == "COMPLETED" and job["kind"] == "convert" for job in jobs)
    assert client.get("/api/jobs/1.2.3").status_code == 404
    assert client.post("/api/jobs/1.2.3/cancel").status_code == 404
    assert client.get("/api/jobs", params={"state": "RUNNING"}).status_code == 422
