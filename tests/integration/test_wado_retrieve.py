"""Instances, metadata and bulk data over HTTP."""

import gzip
import io
import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from dicomsvc.store import Store
from tests.instances import part10, wsi_dataset
from tests.integration.test_wado_frames import native, parts, place, stored_frames
from tests.integration.wado_server import serving, store_files

DICOM = 'multipart/related; type="application/dicom"'


@pytest.fixture
def web(store: Store) -> Iterator[httpx.Client]:
    with serving(store) as root, httpx.Client(base_url=root, timeout=20) as client:
        yield client


def series_of(count: int) -> list[Dataset]:
    study, series = generate_uid(), generate_uid()
    return [
        wsi_dataset(study_instance_uid=study, series_instance_uid=series, seed=seed, instance_number=seed + 1)
        for seed in range(count)
    ]


@pytest.mark.parametrize("level", ["study", "series", "instance"])
@pytest.mark.parametrize("accept", [DICOM, f"{DICOM}; transfer-syntax=*", "*/*", "multipart/related"])
def test_files_come_back_byte_for_byte(store: Store, web: httpx.Client, level: str, accept: str) -> None:
    series = series_of(3)
    store_files(store, map(part10, series))
    path = {
        "study": f"/studies/{series[0].StudyInstanceUID}",
        "series": f"/studies/{series[0].StudyInstanceUID}/series/{series[0].SeriesInstanceUID}",
        "instance": place(series[0]),
    }[level]
    response = web.get(path, headers={"accept": accept})
    assert response.status_code == 200
    assert int(response.headers["content-length"]) == len(response.content)
    expected = [part10(ds) for ds in (series[:1] if level == "instance" else series)]
    assert [content for _, content in parts(response)] == expected


def test_a_single_part_is_the_file(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset()
    store_files(store, [part10(ds)])
    response = web.get(place(ds), headers={"accept": "application/dicom"})
    assert response.content == part10(ds)
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={ds.file_meta.TransferSyntaxUID}"
    assert web.get(f"/studies/{ds.StudyInstanceUID}", headers={"accept": "application/dicom"}).status_code == 406
    assert web.get(place(ds), headers={"accept": "image/gif"}).status_code == 406
    unmade = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"
    assert web.get(place(ds), headers={"accept": unmade}).status_code == 406


def test_ranges_of_an_instance(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset()
    content = part10(ds)
    store_files(store, [content])
    accept = {"accept": "application/dicom"}
    whole = web.get(place(ds), headers=accept)
    tag = whole.headers["etag"]
    for asked, begin, end in (("0-9", 0, 10), ("100-", 100, None), ("-7", -7, None), ("5-999999999", 5, None)):
        response = web.get(place(ds), headers={**accept, "range": f"bytes={asked}"})
        assert response.status_code == 206
        assert response.content == content[begin:end]
        first = begin % len(content)
        assert response.headers["content-range"] == (
            f"bytes {first}-{first + len(response.content) - 1}/{len(content)}"
        )
    assert web.get(place(ds), headers={**accept, "range": f"bytes={len(content)}-"}).status_code == 416
    assert web.get(place(ds), headers={**accept, "range": "bytes=-0"}).status_code == 416
    assert web.get(place(ds), headers={**accept, "range": "bytes=9-1"}).status_code == 200
    assert web.get(place(ds), headers={**accept, "range": "bytes=1-2,5-6"}).content == content
    changed = {**accept, "range": "bytes=0-9", "if-range": '"other"'}
    assert web.get(place(ds), headers=changed).content == content
    assert web.get(place(ds), headers={**changed, "if-range": tag}).status_code == 206
    assert web.get(place(ds), headers={**accept, "if-none-match": f'"x", {tag}'}).status_code == 304


def test_a_compressed_instance_is_made_explicit_on_request(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset(frames=3)
    store_files(store, [part10(ds)])
    accept = f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    made = pydicom.dcmread(io.BytesIO(web.get(place(ds), headers={"accept": accept}).content))
    assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert made.PhotometricInterpretation == "RGB" and made.SOPInstanceUID == ds.SOPInstanceUID
    difference = np.abs(made.pixel_array.astype(int) - ds.pixel_array.astype(int))
    assert difference.mean() < 2


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_an_implicit_instance_is_made_explicit_with_the_same_pixels(store: Store, web: httpx.Client, bits: int) -> None:
    ds, values = native(bits, 3, 5, 7)
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    store_files(store, [part10(ds)])
    accept = f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"
    made = pydicom.dcmread(io.BytesIO(web.get(place(ds), headers={"accept": accept}).content))
    assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(made.pixel_array, values)


def test_a_lost_or_damaged_file_is_no_answer(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset()
    store_files(store, [part10(ds)])
    (record,) = store.instances.find(str(ds.StudyInstanceUID))
    os.truncate(record.path, record.size - 1)
    assert web.get(place(ds)).status_code == 500
    assert web.get(place(ds), headers={"accept": "application/dicom"}).status_code == 500
    store.verify()
    assert web.get(place(ds)).status_code == 500
    record.path.unlink()
    assert web.get(place(ds), headers={"accept": "application/dicom"}).status_code in (404, 500)


def test_what_is_not_there_is_not_found(web: httpx.Client) -> None:
    for path in ("/studies/1.2", "/studies/1.2/series/3", "/studies/1.2/series/3/instances/4"):
        assert web.get(path).status_code == 404
        assert web.get(f"{path}/metadata").status_code == 404
        assert web.get(f"{path}/bulkdata").status_code == 404
    assert web.get("/studies/abc").status_code == 400


def test_metadata_is_dicom_json_plain_or_gzipped(store: Store, web: httpx.Client) -> None:
    series = series_of(2)
    store_files(store, map(part10, series))
    url = f"/studies/{series[0].StudyInstanceUID}/metadata"
    plain = web.get(url, headers={"accept-encoding": "identity"})
    assert plain.headers["content-type"] == "application/dicom+json" and "content-encoding" not in plain.headers
    with web.stream("GET", url, headers={"accept-encoding": "gzip"}) as response:
        assert response.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(response.iter_raw())) == plain.content
    found = json.loads(plain.content)
    assert [each["00080018"]["Value"][0] for each in found] == [ds.SOPInstanceUID for ds in series]
    assert found[0]["7FE00010"]["BulkDataURI"].startswith(str(web.base_url).rstrip("/") + place(series[0]))


def test_metadata_follows_the_public_root_of_a_trusted_proxy(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset()
    store_files(store, [part10(ds)])
    headers = {"x-forwarded-proto": "https", "x-forwarded-host": "pacs.example.org"}
    (found,) = web.get(f"{place(ds)}/metadata", headers=headers).json()
    assert found["7FE00010"]["BulkDataURI"] == f"https://pacs.example.org/dicomweb{place(ds)}/bulkdata/7FE00010"


def test_metadata_is_not_sent_again(store: Store, web: httpx.Client) -> None:
    series = series_of(2)
    store_files(store, [part10(series[0])])
    url = f"/studies/{series[0].StudyInstanceUID}/metadata"
    tag = web.get(url).headers["etag"]
    assert web.get(url, headers={"if-none-match": tag}).status_code == 304
    store_files(store, [part10(series[1])])
    assert web.get(url, headers={"if-none-match": tag}).status_code == 200


def test_metadata_as_xml_is_one_part_an_instance(store: Store, web: httpx.Client) -> None:
    series = series_of(2)
    store_files(store, map(part10, series))
    url = f"/studies/{series[0].StudyInstanceUID}/metadata"
    response = web.get(url, headers={"accept": 'multipart/related; type="application/dicom+xml"'})
    assert response.status_code == 200
    for (kind, content), ds in zip(parts(response), series, strict=True):
        assert kind == "application/dicom+xml"
        model = ElementTree.fromstring(content)
        uid = next(each for each in model if each.get("tag") == "00080018")
        assert "".join(uid.itertext()) == ds.SOPInstanceUID
    assert web.get(url, headers={"accept": "text/html"}).status_code == 406


def with_profile() -> tuple[Dataset, bytes]:
    ds = wsi_dataset()
    profile = bytes(range(256)) * 5
    path = Dataset()
    path.OpticalPathIdentifier, path.ICCProfile = "1", profile
    ds.OpticalPathSequence = [path]
    return ds, profile


def test_a_bulk_value_is_found_under_its_uri(store: Store, web: httpx.Client) -> None:
    ds, profile = with_profile()
    store_files(store, [part10(ds)])
    (found,) = web.get(f"{place(ds)}/metadata").json()
    url = found["00480105"]["Value"][0]["00282000"]["BulkDataURI"]
    single = web.get(url, headers={"accept": "application/octet-stream"})
    assert single.content == profile and single.headers["content-type"] == "application/octet-stream"
    slim = web.get(url, headers={"accept": 'multipart/related; type="application/octet-stream"'})
    assert parts(slim) == [("application/octet-stream", profile)]
    assert int(slim.headers["content-length"]) == len(slim.content)
    part = web.get(url, headers={"range": "bytes=256-511"})
    assert part.status_code == 206 and part.content == bytes(range(256))
    assert web.get(url, headers={"if-none-match": single.headers["etag"]}).status_code == 304
    assert web.get(url, headers={"accept": "image/png"}).status_code == 406
    assert web.get(url.replace("00282000", "00282001")).status_code == 404
    assert web.get(f"{place(ds)}/bulkdata/../../../../etc/passwd").status_code == 404


def test_encapsulated_pixel_data_goes_out_as_its_frames(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset(frames=3)
    store_files(store, [part10(ds)])
    response = web.get(f"{place(ds)}/bulkdata/7FE00010")
    assert parts(response) == [("image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50", f) for f in stored_frames(ds)]


def test_all_bulk_data_of_an_instance_is_one_answer(store: Store, web: httpx.Client) -> None:
    ds, profile = with_profile()
    store_files(store, [part10(ds)])
    contents = [content for _, content in parts(web.get(f"{place(ds)}/bulkdata"))]
    assert contents == [profile, *stored_frames(ds)]


def test_numbers_of_a_big_endian_file_go_out_little_endian(store: Store, web: httpx.Client) -> None:
    ds, values = native(16, 2, 50, 70)
    content = part10(ds)
    swapped = pydicom.dcmread(io.BytesIO(content))
    swapped.PixelData = values.astype(">u2").tobytes()
    swapped.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, swapped, implicit_vr=False, little_endian=False, enforce_file_format=True)
    store_files(store, [stream.getvalue()])
    expected = values.astype("<u2").tobytes()
    assert web.get(f"{place(ds)}/bulkdata/7FE00010").content == expected
    assert web.get(f"{place(ds)}/bulkdata/7FE00010", headers={"range": "bytes=3-8"}).content == expected[3:9]
    ((_, frame),) = parts(web.get(f"{place(ds)}/frames/2"))
    assert frame == values[1].astype("<u2").tobytes()
