"""A file that has lost its bytes does not go out whole over HTTP, and is served no longer once that was noticed."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import select

from dicomsvc.errors import DamagedFile
from dicomsvc.store import Store
from dicomsvc.store.blocks import BLOCK_BYTES, BlockChecker, Blocks
from dicomsvc.store.tables import audit
from dicomsvc.wsi.frame_reader import open_frames
from tests.instances import part10, wsi_dataset
from tests.integration.test_wado_frames import place
from tests.integration.wado_server import serving, store_files

ANY = {"accept": "application/dicom; transfer-syntax=*"}
LEVELS = ["study", "series", "instance", "part"]


@pytest.fixture
def web(store: Store) -> Iterator[httpx.Client]:
    with serving(store) as root, httpx.Client(base_url=root, timeout=60) as client:
        yield client


def native(frames: int, side: int = 512) -> Dataset:
    """Return an uncompressed image of noise: 0.75 MB a frame."""
    ds = wsi_dataset()
    ds.Rows = ds.Columns = side
    ds.NumberOfFrames, ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = frames, side, side * frames
    ds.PhotometricInterpretation = "RGB"
    ds.PixelData = np.random.default_rng(frames).bytes(frames * side * side * 3)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = False
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def path_of(store: Store, ds: Dataset) -> Path:
    return store.instances.find_sop_instance(str(ds.SOPInstanceUID)).path


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_SET if at >= 0 else os.SEEK_END)
        [byte] = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes((byte ^ 1,)))


def is_damaged(store: Store, ds: Dataset) -> bool:
    return store.instances.find_sop_instance(str(ds.SOPInstanceUID)).damaged


def url(ds: Dataset, level: str) -> tuple[str, dict[str, str]]:
    whole = place(ds)
    series = whole.rpartition("/instances")[0]
    multipart = {"accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    return {
        "study": (series.rpartition("/series")[0], multipart),
        "series": (series, multipart),
        "instance": (whole, multipart),
        "part": (whole, ANY),
    }[level]


def received(web: httpx.Client, path: str, headers: dict[str, str]) -> tuple[int, bytes, bool]:
    """Return status, the bytes that came, and whether the answer came to its end."""
    content = io.BytesIO()
    with web.stream("GET", path, headers=headers) as response:
        try:
            for piece in response.iter_raw():
                content.write(piece)
        except httpx.RemoteProtocolError:
            return response.status_code, content.getvalue(), False
    return response.status_code, content.getvalue(), True


@pytest.mark.parametrize("known", [False, True], ids=["by its digest", "by its blocks"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_large_file_is_broken_off_before_its_damage_has_left(
    store: Store, web: httpx.Client, level: str, known: bool
) -> None:
    ds = native(6)
    content = part10(ds)
    store_files(store, [content])
    if known:
        store.verify()
    status, whole, complete = received(web, *url(ds, level))
    assert (status, complete) == (200, True) and content in whole
    flip(path_of(store, ds), -100_000)
    status, part, complete = received(web, *url(ds, level))
    assert status == 200 and not complete and len(part) < len(whole) - 100_000
    assert is_damaged(store, ds)
    assert web.get(*url(ds, level)[:1], headers=url(ds, level)[1]).status_code == 500
    metrics = web.get(str(web.base_url.copy_with(path="/metrics"))).text
    assert 'dicomsvc_http_answers_total{group="dicomweb/studies",status="500"} 2.0' in metrics, (
        "broken off, and refused"
    )
    with store.engine.connect() as connection:
        assert connection.scalars(select(audit.c.action).where(audit.c.action == "damaged")).all() == ["damaged"]


@pytest.mark.parametrize("level", LEVELS)
def test_of_a_small_damaged_file_nothing_leaves(store: Store, web: httpx.Client, level: str) -> None:
    ds = wsi_dataset()
    store_files(store, [part10(ds)])
    flip(path_of(store, ds), 300)
    status, content, complete = received(web, *url(ds, level))
    assert status == 500 and complete and b"DICM" not in content
    assert is_damaged(store, ds)


def test_a_damaged_file_among_others_breaks_a_series_off(store: Store, web: httpx.Client) -> None:
    first = native(2)
    second = wsi_dataset(study_instance_uid=first.StudyInstanceUID, series_instance_uid=first.SeriesInstanceUID)
    second.InstanceNumber = 2
    store_files(store, [part10(first), part10(second)])
    flip(path_of(store, second), 300)
    status, content, complete = received(web, *url(first, "series"))
    assert status == 200 and not complete and part10(second) not in content
    assert is_damaged(store, second) and not is_damaged(store, first)


def test_parts_of_a_file_that_were_read_once_are_compared(store: Store, web: httpx.Client) -> None:
    ds = native(6)
    content = part10(ds)
    store_files(store, [content])
    store.verify()
    for begin, end in ((0, 10), (100_001, 100_002), (16_384, 32_767), (1_000_000, 3_000_001), (len(content) - 5, None)):
        asked = f"bytes={begin}-{'' if end is None else end - 1}"
        answer = web.get(place(ds), headers={**ANY, "range": asked})
        assert answer.status_code == 206 and answer.content == content[begin:end]
    flip(path_of(store, ds), 2_000_000)
    assert web.get(place(ds), headers={**ANY, "range": "bytes=0-1900000"}).status_code == 206
    assert not is_damaged(store, ds)
    assert web.get(place(ds), headers={**ANY, "range": "bytes=1990000-1999999"}).status_code == 500
    assert is_damaged(store, ds)


def test_bulk_data_that_was_read_once_is_compared(store: Store, web: httpx.Client) -> None:
    ds = native(4)
    store_files(store, [part10(ds)])
    store.verify()
    pixels = f"{place(ds)}/bulkdata/7FE00010"
    status, content, complete = received(web, pixels, {"accept": "application/octet-stream"})
    assert (status, content, complete) == (200, ds.PixelData, True)
    flip(path_of(store, ds), -50)
    status, content, complete = received(web, pixels, {"accept": "application/octet-stream"})
    assert not complete and ds.PixelData.startswith(content)
    assert is_damaged(store, ds)


@pytest.mark.parametrize("known", [False, True], ids=["by its digest", "by its blocks"])
@pytest.mark.parametrize("at", [300, -1000], ids=["header", "frames"])
def test_what_is_transcoded_is_compared_before(store: Store, web: httpx.Client, known: bool, at: int) -> None:
    ds = wsi_dataset(frames=40, tile=128)
    store_files(store, [part10(ds)])
    if known:
        store.verify()
    explicit = {"accept": f"application/dicom; transfer-syntax={ExplicitVRLittleEndian}"}
    status, _, complete = received(web, place(ds), explicit)
    assert (status, complete) == (200, True)
    flip(path_of(store, ds), at)
    status, _, complete = received(web, place(ds), explicit)
    assert status == 500 or not complete
    assert is_damaged(store, ds)


@pytest.mark.parametrize("suffix", ["frames/{}", "frames/{},2", "frames/{}/rendered"])
def test_a_damaged_frame_does_not_go_out(store: Store, web: httpx.Client, suffix: str) -> None:
    ds = wsi_dataset(frames=40, tile=128)
    content = part10(ds)
    store_files(store, [content])
    store.verify()
    accept = {"accept": "image/png" if "rendered" in suffix else "*/*"}
    first, last = (f"{place(ds)}/{suffix.format(number)}" for number in (1, 40))
    expected = web.get(first, headers=accept)
    assert expected.status_code == web.get(last, headers=accept).status_code == 200
    flip(path_of(store, ds), -1000)
    assert web.get(first, headers=accept).status_code == 200, "another part of the file is damaged"
    assert not is_damaged(store, ds)
    assert web.get(last, headers=accept).status_code == 500
    assert is_damaged(store, ds)
    assert web.get(first, headers=accept).status_code == 500, "it is known by now"


def test_a_viewer_gets_frames_again_as_soon_as_the_instance_has_come_again(store: Store, web: httpx.Client) -> None:
    ds = wsi_dataset(frames=40, tile=128)
    content = part10(ds)
    store_files(store, [content])
    store.verify()
    last = f"{place(ds)}/frames/40"
    expected = web.get(last, headers={"accept": "*/*"})
    flip(path_of(store, ds), -1000)
    assert [web.get(last, headers={"accept": "*/*"}).status_code for _ in range(2)] == [500, 500]
    store_files(store, [content])
    again = web.get(last, headers={"accept": "*/*"})
    assert again.status_code == 200 and len(again.content) == len(expected.content)


def test_frames_are_the_same_whether_they_are_compared_or_not(store: Store) -> None:
    for ds in (wsi_dataset(frames=30, tile=128), native(3)):
        store_files(store, [part10(ds)])
        record = store.instances.find_sop_instance(str(ds.SOPInstanceUID))
        before = open_frames(store, record)
        store.verify()
        after = open_frames(store, record)
        assert before.blocks is None and after.blocks is not None and after.nbytes > before.nbytes
        for number in range(1, record.number_of_frames + 1):
            assert before.encoded(number) == after.encoded(number)


def test_a_file_that_was_replaced_while_it_was_read_is_not_called_damaged(store: Store) -> None:
    ds = wsi_dataset(frames=40, tile=128)
    content = part10(ds)
    store_files(store, [content])
    store.verify()
    path = path_of(store, ds)
    flip(path, -1000)
    reader = open_frames(store, store.instances.find_sop_instance(str(ds.SOPInstanceUID)))
    restored = path.with_suffix(".new")
    restored.write_bytes(content)
    restored.rename(path)
    with pytest.raises(DamagedFile):
        reader.encoded(40)
    assert not is_damaged(store, ds)


@pytest.mark.parametrize("size", [1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 7])
@pytest.mark.parametrize("piece", [1000, BLOCK_BYTES, 3 * BLOCK_BYTES + 5])
def test_checks_of_blocks_do_not_depend_on_the_pieces(size: int, piece: int) -> None:
    content = os.urandom(size)
    whole, pieces = BlockChecker(), BlockChecker()
    whole.update(content)
    for start in range(0, size, piece):
        pieces.update(content[start : start + piece])
    checks = whole.finish()
    assert checks == pieces.finish() and len(checks) == 4 * -(-size // BLOCK_BYTES)
    blocks = Blocks(checks, size)
    assert blocks.hold(0, content)
    for begin in range(0, size, BLOCK_BYTES):
        assert blocks.hold(begin, content[begin:])
        assert blocks.around(begin, 1) == (begin, min(begin + BLOCK_BYTES, size))
    for position in (0, size // 2, size - 1):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        assert not blocks.hold(0, damaged)
    assert not blocks.hold(0, content + b"x" * BLOCK_BYTES)
