"""A slide of 25,600 frames with per-frame functional groups: the figures are printed, not judged closely."""

import gzip
import struct
import time
from pathlib import Path

import pytest
from pydicom import uid

from dicomsvc.dicom import FrameIndex, Metadata, metadata_gzip, metadata_json, parse_instance

from .part10_bytes import element, encapsulated, image, item, part10, write

SIDE = 160


def _frame(number: int) -> bytes:
    row, column = divmod(number, SIDE)
    content = item(element(0x00209157, "UL", struct.pack("<2I", column + 1, row + 1)))
    position = item(
        element(0x0040072A, "DS", f"{20 - column * 0.064:.6f}")
        + element(0x0040073A, "DS", f"{40 - row * 0.064:.6f}")
        + element(0x0040074A, "DS", "0.0")
        + element(0x0048021E, "SL", struct.pack("<i", column * 256 + 1))
        + element(0x0048021F, "SL", struct.pack("<i", row * 256 + 1))
    )
    path = item(element(0x00480106, "SH", "1"))
    return item(
        element(0x00209111, "SQ", content) + element(0x0048021A, "SQ", position) + element(0x00480207, "SQ", path)
    )


def test_a_sparse_slide_is_parsed_in_a_second_and_served_in_milliseconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = SIDE * SIDE
    groups = element(0x52009230, "SQ", b"".join(_frame(number) for number in range(frames)))
    pixels = encapsulated([b"\xff\xd8\xff\xd9"] * frames)
    path = write(tmp_path, part10(syntax=uid.JPEGBaseline8Bit, last=image(frames) + groups + pixels))
    start = time.perf_counter()
    instance = parse_instance(path)
    parsing = time.perf_counter() - start
    assert instance.frames is not None
    items = [(Metadata.from_bytes(instance.metadata.to_bytes()), "http://host/studies/1/series/2/instances/3")]
    start = time.perf_counter()
    compressed = b"".join(metadata_gzip(items))
    serving = time.perf_counter() - start
    stored = instance.frames.to_bytes()
    start = time.perf_counter()
    index = FrameIndex.from_bytes(stored)
    loading = time.perf_counter() - start
    assert index.number_of_frames == frames
    assert gzip.decompress(compressed) == b"".join(metadata_json(items))
    with capsys.disabled():
        print(
            f"\n{frames} frames: parsed in {parsing:.3f} s, gzip of {len(compressed)} bytes served in "
            f"{serving * 1e3:.2f} ms, index of {len(stored)} bytes loaded in {loading * 1e3:.2f} ms"
        )
    assert parsing < 10, "far from the second that it takes on a quiet machine"
    assert serving < 0.5
