"""Frames over HTTP, as they are stored and transcoded."""

import email
import email.policy
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRLittleEndian

from dicomsvc.store import Store
from tests.instances import part10, wsi_dataset
from tests.integration.wado_server import serving, store_files

SLIM = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
JPEG = "1.2.840.10008.1.2.4.50"


@pytest.fixture
def web(store: Store) -> Iterator[httpx.Client]:
    with serving(store) as root, httpx.Client(base_url=root, timeout=20) as client:
        yield client


def place(ds: pydicom.Dataset) -> str:
    return f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"


def parts(response: httpx.Response) -> list[tuple[str, bytes]]:
    """Return content type and content of each part, read with the standard library's own MIME reader."""
    assert response.headers["content-type"].startswith("multipart/related")
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.content, policy=email.policy.HTTP)
    boundary = b"--" + message.get_boundary().encode()
    pieces = response.content.split(boundary)
    assert pieces[0] == b"" and pieces[-1] == b"--\r\n"
    found = []
    for piece in pieces[1:-1]:
        headers, _, content = piece.partition(b"\r\n\r\n")
        assert content.endswith(b"\r\n")
        found.append((headers.decode().partition("Content-Type: ")[2].partition("\r\n")[0], content[:-2]))
    return found


def stored_frames(ds: pydicom.Dataset) -> list[bytes]:
    return list(generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames))


def test_a_frame_comes_back_bit_identical(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset(frames=5)
    store_files(store, [part10(ds)])
    for number, frame in enumerate(stored_frames(ds), 1):
        response = web.get(f"{place(ds)}/frames/{number}", headers={"accept": SLIM})
        assert response.status_code == 200
        assert int(response.headers["content-length"]) == len(response.content)
        assert parts(response) == [(f"application/octet-stream; transfer-syntax={JPEG}", frame)]


def test_a_list_of_frames_comes_in_the_order_asked_for(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset(frames=7)
    store_files(store, [part10(ds)])
    frames = stored_frames(ds)
    response = web.get(f"{place(ds)}/frames/3,1,7,1")
    assert [content for _, content in parts(response)] == [frames[2], frames[0], frames[6], frames[0]]
    assert {kind for kind, _ in parts(response)} == {f"image/jpeg; transfer-syntax={JPEG}"}


def test_one_frame_comes_without_multipart_when_asked_so(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset(frames=2)
    store_files(store, [part10(ds)])
    response = web.get(f"{place(ds)}/frames/2", headers={"accept": "image/jpeg"})
    assert response.headers["content-type"] == f"image/jpeg; transfer-syntax={JPEG}"
    assert response.content == stored_frames(ds)[1]
    assert web.get(f"{place(ds)}/frames/1,2", headers={"accept": "image/jpeg"}).status_code == 406


def test_octets_without_a_transfer_syntax_are_uncompressed(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset(frames=2)
    store_files(store, [part10(ds)])
    response = web.get(
        f"{place(ds)}/frames/1,2", headers={"accept": 'multipart/related; type="application/octet-stream"'}
    )
    pixels = ds.pixel_array
    for (kind, content), expected in zip(parts(response), pixels, strict=True):
        assert kind == f"application/octet-stream; transfer-syntax={ExplicitVRLittleEndian}"
        got = np.frombuffer(content, np.uint8).reshape(64, 64, 3).astype(int)
        assert np.abs(got - expected.astype(int)).mean() < 2


def native(bits: int, frames: int, rows: int, columns: int) -> tuple[pydicom.Dataset, np.ndarray]:
    ds = wsi_dataset(frames=frames)
    ds.Rows, ds.Columns = rows, columns
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    del ds.PlanarConfiguration
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = np.random.default_rng(bits).integers(0, 2 ** min(bits, 16), (frames, rows, columns))
    if bits == 1:
        raw = np.packbits(values.astype(np.uint8).ravel(), bitorder="little").tobytes()
    else:
        raw = values.astype(f"<u{bits // 8}").tobytes()
    ds.PixelData = raw + b"\0" * (len(raw) % 2)
    ds["PixelData"].VR = "OB" if bits <= 8 else "OW"
    return ds, values


@pytest.mark.parametrize("bits", [8, 16])
def test_native_frames_are_cut_out(store: Store, web: httpx.Client, bits: int) -> None:
    ds, values = native(bits, 3, 5, 7)
    store_files(store, [part10(ds)])
    response = web.get(f"{place(ds)}/frames/2,3", headers={"accept": SLIM})
    got = [np.frombuffer(content, f"<u{bits // 8}").reshape(5, 7) for _, content in parts(response)]
    assert np.array_equal(got, values[1:])


def test_frames_of_one_bit_a_pixel_begin_at_a_byte_border(store: Store, web: httpx.Client) -> None:
    ds, values = native(1, 4, 5, 7)
    store_files(store, [part10(ds)])
    for number in range(1, 5):
        ((_, content),) = parts(web.get(f"{place(ds)}/frames/{number}", headers={"accept": SLIM}))
        bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
        assert np.array_equal(bits[:35].reshape(5, 7), values[number - 1])
        assert not bits[35:].any()


def test_fragments_of_a_frame_are_joined(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset(frames=2)
    frames = stored_frames(ds)
    ds.PixelData = encapsulate(frames, fragments_per_frame=3)
    store_files(store, [part10(ds)])
    for number in (1, 2):
        ((_, content),) = parts(web.get(f"{place(ds)}/frames/{number}"))
        assert content.rstrip(b"\0") == frames[number - 1].rstrip(b"\0")


@pytest.mark.parametrize(
    ("listed", "status"), [("0", 404), ("3", 404), ("1,3", 404), ("x", 400), ("1,", 400), ("-1", 400)]
)
def test_a_frame_that_is_not_there_is_refused(store: Store, web: httpx.Client, listed: str, status: int) -> None:
    ds = wsi_dataset(frames=2)
    store_files(store, [part10(ds)])
    assert web.get(f"{place(ds)}/frames/{listed}").status_code == status


def test_unknown_or_wrong_uids_are_refused(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset()
    store_files(store, [part10(ds)])
    right = place(ds)
    assert web.get(right.replace(str(ds.SOPInstanceUID), "1.2.3") + "/frames/1").status_code == 404
    assert web.get(right.replace(str(ds.StudyInstanceUID), "1.2.3") + "/frames/1").status_code == 404
    assert web.get(right.replace(str(ds.SeriesInstanceUID), "..%00") + "/frames/1").status_code in (400, 404)


def test_a_deleted_instance_is_not_served_from_the_cache(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset()
    store_files(store, [part10(ds)])
    assert web.get(f"{place(ds)}/frames/1").status_code == 200
    store.delete("tester", str(ds.StudyInstanceUID))
    assert web.get(f"{place(ds)}/frames/1").status_code == 404
    other = wsi_dataset(
        study_instance_uid=ds.StudyInstanceUID,
        series_instance_uid=ds.SeriesInstanceUID,
        sop_instance_uid=ds.SOPInstanceUID,
        seed=9,
    )
    store_files(store, [part10(other)])
    ((_, content),) = parts(web.get(f"{place(ds)}/frames/1"))
    assert content == stored_frames(other)[0]


def test_a_file_that_lost_its_end_is_an_error_and_never_half_a_frame(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset(frames=3)
    store_files(store, [part10(ds)])
    (record,) = store.instances.find(str(ds.StudyInstanceUID))
    assert web.get(f"{place(ds)}/frames/3").status_code == 200
    os.truncate(record.path, record.size - 500)
    assert web.get(f"{place(ds)}/frames/3").status_code == 500
    assert web.get(f"{place(ds)}/frames/1,2,3").status_code == 500


def test_head_tells_the_length_without_the_content(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset()
    store_files(store, [part10(ds)])
    response = web.head(f"{place(ds)}/frames/1,2")
    assert response.status_code == 200 and not response.content
    assert int(response.headers["content-length"]) == len(web.get(f"{place(ds)}/frames/1,2").content)
    assert web.post(f"{place(ds)}/frames/1").status_code == 405


def test_frames_of_an_instance_without_pixels_are_not_found(store: Store, web: httpx.Client, folder: Path) -> None:
    ds = wsi_dataset()
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "NumberOfFrames"):
        del ds[keyword]
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    store_files(store, [part10(ds)])
    assert web.get(f"{place(ds)}/frames/1").status_code == 404
