"""Instances and requests made to do harm: UIDs that are paths, endless nesting, files that are two things at once."""

import gzip
import http.client
import struct
from pathlib import Path

import httpx
import pytest
from pydicom.encaps import encapsulate

from dicomsvc.dimse import pdu
from tests.conftest import RunningService
from tests.faults.node import (
    c_store,
    failure_reasons,
    instance_url,
    resident_bytes,
    retrieve,
    stow,
    withstand,
)
from tests.instances import VL_WHOLE_SLIDE, part10, wsi_dataset
from tests.unit.dimse.wire import EXPLICIT_LITTLE, associate_request, data_set, data_set_of, store_request, wire

INVALID_INSTANCE, NOT_PARSEABLE = 0xA900, 0xC000
SPARE_BYTES = 150 << 20
PATHS = (
    "../../../../tmp/dicomsvc-escaped",
    "/tmp/dicomsvc-escaped",
    "..",
    "1.2/../../3",
    "1.2.%2e%2e%2f3",
    "1.2\0.3",
    "1.2\n.3",
    "1.2;rm -rf 3",
    "C:\\dicomsvc-escaped",
    "1." * 200 + "1",
)


def tree(folder: Path) -> set[str]:
    """Return the names of all files below a folder but those of the database and of spools, which come and go."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if "postgres" not in name and "/spool/" not in name}


def with_uid(element: str, value: str) -> bytes:
    """Return an instance with something else than a UID in one of its UIDs, of the same length where that fits."""
    ds = wsi_dataset(frames=1)
    original = str(ds[element].value)
    content = part10(ds)
    old, new = original.encode(), value.encode("latin-1")
    head_old = struct.pack("<H", len(old) + len(old) % 2) + old + b"\0" * (len(old) % 2)
    head_new = struct.pack("<H", len(new) + len(new) % 2) + new + b"\0" * (len(new) % 2)
    at = content.rindex(b"UI" + head_old)
    assert head_old in content
    return content[: at + 2] + head_new + content[at + 2 + len(head_old) :]


@pytest.mark.parametrize("element", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_uid_that_is_a_path_is_refused_and_steers_nothing(node: RunningService, element: str) -> None:
    before = tree(node.data.parent)

    def abuse() -> None:
        for value in PATHS:
            content = with_uid(element, value)
            answer = stow(node, content)
            assert answer.status_code in (400, 409), (value, answer.status_code)
            assert set(failure_reasons(answer)) <= {INVALID_INSTANCE, NOT_PARSEABLE}, value
            assert c_store(node, content) in (INVALID_INSTANCE, NOT_PARSEABLE), value

    withstand(node, f"paths as {element}", abuse)
    assert tree(node.data.parent) == before
    assert not Path("/tmp/dicomsvc-escaped").exists()


def test_a_request_that_names_a_path_is_refused(node: RunningService) -> None:
    before = tree(node.data.parent)
    content = data_set_of(part10(wsi_dataset(frames=1)))
    with wire(node.dimse_port) as peer:
        peer.associate()
        for value in PATHS[:6]:
            peer.send(store_request(value.replace("\n", " ")) + data_set(content))
            assert peer.response().status == INVALID_INSTANCE, value
    assert tree(node.data.parent) == before


def test_a_url_that_climbs_reaches_nothing(node: RunningService) -> None:
    climbs = (
        "/dicomweb/studies/..%2f..%2f..%2fetc%2fpasswd",
        "/dicomweb/studies/1.2/series/..%2f..%2f/instances/..%2f..%2fetc%2fpasswd",
        "/dicomweb/studies/1.2/series/1.3/instances/..%2f..%2f..%2fetc%2fpasswd/frames/1",
        "/dicomweb/studies/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/pages/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/pages/%2e%2e/%2e%2e/gate.py",
        "/swagger/..%2f..%2fetc%2fpasswd",
        "/pages//etc/passwd",
        "/dicomweb/studies/1.2%00.3",
    )
    for climb in climbs:
        # Not by a client that tidies paths up.
        link = http.client.HTTPConnection(node.url.removeprefix("http://"), timeout=30)
        link.request("GET", climb)
        answer = link.getresponse()
        body = answer.read()
        link.close()
        assert answer.status in (400, 404, 406), (climb, answer.status)
        assert b"root:" not in body and b"import " not in body, climb


def sequence(depth: int, *, defined: bool) -> bytes:
    """Return a Content Sequence within a Content Sequence, ``depth`` times, in Explicit VR Little Endian."""
    tag = struct.pack("<HH2sH", 0x0040, 0xA730, b"SQ", 0)
    if not defined:
        head = tag + b"\xff\xff\xff\xff" + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        tail = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        return head * depth + tail * depth
    heads, length = [], 0
    for _ in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, length)
        length += len(item)
        heads.append(tag + struct.pack("<I", length) + item)
        length += 12
    return b"".join(reversed(heads))


def nested(depth: int, *, defined: bool) -> bytes:
    """Return an instance with a sequence nested so deep."""
    ds = wsi_dataset(frames=1)
    content = part10(ds)
    at = content.index(struct.pack("<HH", 0x0048, 0x0006))
    return content[:at] + sequence(depth, defined=defined) + content[at:]


@pytest.mark.parametrize("defined", [False, True], ids=["undefined length", "defined length"])
def test_sequences_without_end_are_answered(node: RunningService, defined: bool) -> None:
    before = {role: resident_bytes(node, role) for role in ("web", "dimse")}

    def abuse() -> None:
        for depth in (50, 1_000, 20_000, 200_000):
            content = nested(depth, defined=defined)
            answer = stow(node, content)
            assert answer.status_code in (200, 400, 409), (depth, answer.status_code)
            assert set(failure_reasons(answer)) <= {NOT_PARSEABLE}, depth
            assert c_store(node, nested(depth, defined=defined)) in (0, 0xB007, NOT_PARSEABLE), depth
            if answer.status_code == 200:
                assert httpx.get(f"{node.dicomweb}/studies", timeout=30).status_code == 200

    withstand(node, f"nested sequences of {'defined' if defined else 'undefined'} length", abuse)
    for role, bytes_before in before.items():
        assert resident_bytes(node, role) - bytes_before < SPARE_BYTES, role


def nested_json(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def nested_list(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/dicomweb/workitems", "application/dicom+json"),
        ("/dicomweb/studies", 'multipart/related; type="application/dicom+json"; boundary=b'),
        ("/dicomweb/studies", "application/dicom+json"),
        ("/api/analyses", "application/json"),
        ("/api/jobs", "application/json"),
        ("/api/reports", "application/json"),
    ],
)
def test_bodies_nested_without_end_are_the_clients_fault(node: RunningService, path: str, kind: str) -> None:
    def abuse() -> None:
        for depth in (500, 100_000):
            for body in (nested_json(depth), nested_list(depth), b"[" * depth):
                content = b"--b\r\nContent-Type: application/dicom+json\r\n\r\n" + body + b"\r\n--b--\r\n"
                answer = httpx.post(
                    f"{node.url}{path}",
                    content=content if "multipart" in kind else body,
                    headers={"Content-Type": kind},
                    timeout=30,
                )
                assert 400 <= answer.status_code < 500, (path, depth, answer.status_code, answer.text[:200])

    withstand(node, f"nested bodies to {path}", abuse)


PREAMBLES = {
    "TIFF": b"II*\0" + struct.pack("<I", 8) + bytes(120),
    "BigTIFF": b"MM\0+\0\x08\0\0" + bytes(120),
    "Windows program": b"MZ" + bytes(58) + struct.pack("<I", 0x80) + bytes(64),
    "shell script": b"#!/bin/sh\nid > /tmp/dicomsvc-escaped\nexit\n".ljust(128, b"\n"),
    "page": b"<html><script>alert(document.domain)</script></html>".ljust(128, b" "),
    "JPEG": (b"\xff\xd8\xff\xfe\x00\x7a" + bytes(122)),
    "PDF": b"%PDF-1.4\n".ljust(128, b" "),
}


@pytest.mark.parametrize("kind", PREAMBLES)
def test_a_file_that_is_something_else_too_goes_out_as_dicom_alone(node: RunningService, kind: str) -> None:
    ds = wsi_dataset()
    content = PREAMBLES[kind] + part10(ds)[128:]
    answer = stow(node, content)
    assert answer.status_code == 200
    got = retrieve(node, ds.SOPInstanceUID)
    assert got.content == content, "PS3.10 7.1: the preamble may hold what an application likes"
    assert got.headers["content-type"].startswith("application/dicom;")
    assert got.headers["x-content-type-options"] == "nosniff"
    [row] = httpx.get(f"{node.dicomweb}/instances", params={"SOPInstanceUID": ds.SOPInstanceUID}).json()
    url = instance_url(node, row, ds.SOPInstanceUID)
    for accept in ("text/html", "image/tiff", "application/pdf", "text/html,application/xhtml+xml,*/*;q=0.8"):
        got = httpx.get(url, headers={"Accept": accept})
        assert got.status_code == 406 or "dicom" in got.headers["content-type"], accept
        assert got.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("kind", PREAMBLES)
def test_what_came_by_c_store_has_an_empty_preamble(node: RunningService, kind: str) -> None:
    ds = wsi_dataset()
    assert c_store(node, PREAMBLES[kind] + part10(ds)[128:]) == 0
    assert retrieve(node, ds.SOPInstanceUID).content[:132] == bytes(128) + b"DICM"


def test_a_frame_that_is_a_page_is_no_page(node: RunningService) -> None:
    ds = wsi_dataset(frames=1)
    ds.PixelData = encapsulate([b"<html><script>alert(1)</script></html>"])
    assert stow(node, part10(ds)).status_code == 200
    [row] = httpx.get(f"{node.dicomweb}/instances", params={"SOPInstanceUID": ds.SOPInstanceUID}).json()
    url = instance_url(node, row, ds.SOPInstanceUID)
    for accept in ("*/*", "image/jpeg", "text/html,*/*;q=0.8"):
        got = httpx.get(f"{url}/frames/1", headers={"Accept": accept})
        assert "html" not in got.headers["content-type"]
        assert got.headers["x-content-type-options"] == "nosniff"
    got = httpx.get(f"{url}/rendered", headers={"Accept": "image/png"})
    assert got.status_code in (409, 415, 500, 406), got.status_code


def test_every_answer_forbids_to_guess_its_type(node: RunningService) -> None:
    paths = ("/", "/docs", "/openapi.json", "/healthz", "/metrics", "/dicomweb/studies", "/api/jobs", "/nothing")
    for path in paths:
        assert httpx.get(f"{node.url}{path}").headers["x-content-type-options"] == "nosniff", path


def test_a_body_compressed_without_measure_is_not_expanded(node: RunningService) -> None:
    before = resident_bytes(node, "web")
    bomb = gzip.compress(bytes(200 << 20))
    for path, kind in (
        ("/dicomweb/studies", 'multipart/related; type="application/dicom"; boundary=b'),
        ("/api/analyses", "application/json"),
    ):
        answer = httpx.post(
            f"{node.url}{path}", content=bomb, headers={"Content-Type": kind, "Content-Encoding": "gzip"}, timeout=60
        )
        assert 400 <= answer.status_code < 500, (path, answer.status_code)
    assert resident_bytes(node, "web") - before < SPARE_BYTES


def test_deflated_instances_are_not_taken(node: RunningService) -> None:
    deflated = "1.2.840.10008.1.2.1.99"
    contexts = [
        pdu.ProposedContext(1, VL_WHOLE_SLIDE, (deflated,)),
        pdu.ProposedContext(3, VL_WHOLE_SLIDE, (EXPLICIT_LITTLE,)),
    ]
    with wire(node.dimse_port) as peer:
        peer.send(associate_request(contexts=contexts))
        kind, body = peer.read_pdu()
        accept = pdu.decode_associate_accept(memoryview(body))
    assert kind == pdu.A_ASSOCIATE_AC
    assert [context.result for context in accept.contexts] == [pdu.TRANSFER_SYNTAXES_NOT_SUPPORTED, pdu.ACCEPTED]
