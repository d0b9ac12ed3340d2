import struct
from pathlib import Path

import pytest
from pydicom import uid

from dicomsvc.dicom import FrameIndex, parse_instance
from dicomsvc.errors import DamagedFile, NotFound

from .part10_bytes import element, encapsulated, image, item, part10, write

JPEG = b"\xff\xd8\xff\xe0"


def frames_of(path: Path, index: FrameIndex) -> list[bytes]:
    content = path.read_bytes()
    numbers = range(1, index.number_of_frames + 1)
    return [b"".join(content[at : at + size] for at, size in index.ranges(number)) for number in numbers]


def indexed(folder: Path, content: bytes) -> tuple[list[bytes], FrameIndex, tuple[str, ...]]:
    path = write(folder, content)
    instance = parse_instance(path)
    assert instance.frames is not None
    stored = FrameIndex.from_bytes(instance.frames.to_bytes())
    assert stored == instance.frames
    return frames_of(path, stored), stored, instance.warnings


def jpeg(frames: int, fragments: list[bytes], table: bytes = b"", before: bytes = b"") -> bytes:
    pixels = image(frames) + before + encapsulated(fragments, table)
    return part10(syntax=uid.JPEGBaseline8Bit, last=pixels)


def test_native_frames_follow_each_other(tmp_path: Path) -> None:
    pixels = element(0x7FE00010, "OW", bytes(range(24)))
    frames, index, warnings = indexed(tmp_path, part10(last=image(3, 2, 2, 16) + pixels))
    assert frames == [bytes(range(8)), bytes(range(8, 16)), bytes(range(16, 24))]
    assert (index.rows, index.columns, index.bits_allocated) == (2, 2, 16)
    assert warnings == ()


def test_one_frame_needs_no_number_of_frames(tmp_path: Path) -> None:
    frames, _, _ = indexed(tmp_path, part10(last=image(None) + element(0x7FE00010, "OB", b"abcd")))
    assert frames == [b"abcd"]


def test_frames_of_single_bits_are_found_between_bytes(tmp_path: Path) -> None:
    # 3 frames of 3 x 3 bits: 27 bits, 4 bytes.
    frames, index, _ = indexed(
        tmp_path, part10(last=image(3, 3, 3, 1) + element(0x7FE00010, "OB", b"\x01\x02\x03\x04"))
    )
    assert frames == [b"\x01\x02", b"\x02\x03", b"\x03\x04"]
    assert [index.bit_offset(number) for number in (1, 2, 3)] == [0, 1, 2]


def test_subsampled_native_colour_has_two_samples_a_pixel(tmp_path: Path) -> None:
    description = image(2, 2, 2, 8, 3).replace(b"CS\x04\0RGB ", b"CS\x0c\0YBR_FULL_422")
    frames, _, _ = indexed(tmp_path, part10(last=description + element(0x7FE00010, "OB", bytes(range(16)))))
    assert frames == [bytes(range(8)), bytes(range(8, 16))]


@pytest.mark.parametrize(("tag", "vr", "size"), [(0x7FE00008, "OF", 4), (0x7FE00009, "OD", 8)])
def test_float_pixel_data_is_indexed(tmp_path: Path, tag: int, vr: str, size: int) -> None:
    description = element(0x00280008, "IS", "2") + image(None)[image(None).index(b"\x28\0\x10\0") :]
    frames, index, _ = indexed(tmp_path, part10(last=description + element(tag, vr, bytes(2 * 4 * size))))
    assert [len(frame) for frame in frames] == [4 * size, 4 * size]
    assert index.element == f"{tag:08X}"
    assert index.bits_allocated == 8 * size


def test_one_fragment_a_frame_needs_no_table(tmp_path: Path) -> None:
    frames, _, warnings = indexed(tmp_path, jpeg(3, [JPEG + b"ab", JPEG + b"cd", JPEG + b"ef"]))
    assert frames == [JPEG + b"ab", JPEG + b"cd", JPEG + b"ef"]
    assert warnings == ()


def test_all_fragments_belong_to_a_single_frame(tmp_path: Path) -> None:
    frames, index, _ = indexed(tmp_path, jpeg(1, [b"ab", b"cd", b"ef"]))
    assert frames == [b"abcdef"]
    assert len(index.ranges(1)) == 3


def test_the_basic_offset_table_tells_the_frames(tmp_path: Path) -> None:
    frames, _, warnings = indexed(tmp_path, jpeg(2, [b"ab", b"cdef", b"gh"], struct.pack("<2I", 0, 22)))
    assert frames == [b"abcdef", b"gh"]
    assert warnings == ()


def test_the_extended_offset_table_tells_the_frames(tmp_path: Path) -> None:
    tables = element(0x7FE00001, "OV", struct.pack("<2Q", 0, 10)) + element(0x7FE00002, "OV", struct.pack("<2Q", 2, 6))
    frames, _, warnings = indexed(tmp_path, jpeg(2, [b"ab", b"cdef", b"gh"], before=tables))
    assert frames == [b"ab", b"cdefgh"]
    assert warnings == ()


@pytest.mark.parametrize(
    "table",
    [struct.pack("<2I", 0, 21), struct.pack("<2I", 22, 0), struct.pack("<I", 0), b"abc ", struct.pack("<2I", 8, 22)],
)
def test_a_table_that_contradicts_the_items_is_ignored_and_codestreams_decide(tmp_path: Path, table: bytes) -> None:
    frames, _, warnings = indexed(tmp_path, jpeg(2, [JPEG, b"cdef", JPEG + b"gh"], table))
    assert frames == [JPEG + b"cdef", JPEG + b"gh"]
    assert warnings == ("the Basic Offset Table contradicts the items and is ignored",)


def test_a_wrong_extended_table_gives_way_to_a_right_basic_one(tmp_path: Path) -> None:
    wrong = element(0x7FE00001, "OV", struct.pack("<2Q", 0, 1 << 63))
    frames, _, warnings = indexed(tmp_path, jpeg(2, [b"ab", b"cdef", b"gh"], struct.pack("<2I", 0, 22), wrong))
    assert frames == [b"abcdef", b"gh"]
    assert warnings == ("the Extended Offset Table contradicts the items and is ignored",)


@pytest.mark.parametrize(
    ("syntax", "start"),
    [
        (uid.JPEG2000Lossless, b"\xff\x4f\xff\x51"),
        (uid.HTJ2K, b"\xff\x4f\xff\x51"),
        (uid.JPEGLSLossless, b"\xff\xd8\xff\xf7"),
        ("1.2.840.10008.1.2.4.112", b"\xff\x0aab"),
    ],
)
def test_codestreams_tell_the_frames_where_no_table_does(tmp_path: Path, syntax: str, start: bytes) -> None:
    content = part10(syntax=syntax, last=image(2) + encapsulated([start, b"more", start, b"even", b"more"]))
    frames, _, _ = indexed(tmp_path, content)
    assert frames == [start + b"more", start + b"evenmore"]


def test_an_empty_fragment_is_a_warning(tmp_path: Path) -> None:
    frames, _, warnings = indexed(tmp_path, jpeg(2, [JPEG, b""]))
    assert frames == [JPEG, b""]
    assert warnings == ("pixel data has an empty fragment",)


def test_elements_behind_encapsulated_pixel_data_are_read(tmp_path: Path) -> None:
    content = jpeg(1, [JPEG]) + element(0xFFFCFFFC, "OB", bytes(10))
    instance = parse_instance(write(tmp_path, content))
    assert "FFFCFFFC" in instance.attributes


def test_an_icon_is_not_taken_for_the_image(tmp_path: Path) -> None:
    icon = element(0x00880200, "SQ", item(image(1) + encapsulated([b"icon"])))
    frames, _, _ = indexed(tmp_path, part10(syntax=uid.JPEGBaseline8Bit, last=image(1) + icon + encapsulated([JPEG])))
    assert frames == [JPEG]


@pytest.mark.parametrize("number", [0, -1, 4])
def test_a_frame_that_is_not_there_is_not_found(tmp_path: Path, number: int) -> None:
    _, index, _ = indexed(tmp_path, jpeg(3, [JPEG] * 3))
    with pytest.raises(NotFound):
        index.ranges(number)


def test_a_damaged_index_is_noticed(tmp_path: Path) -> None:
    _, index, _ = indexed(tmp_path, jpeg(3, [JPEG] * 3))
    stored = index.to_bytes()
    for blob in (b"", stored[:-1], stored + b"x", b"x" + stored[1:], stored[:20] + b"?" + stored[21:]):
        with pytest.raises(DamagedFile):
            FrameIndex.from_bytes(blob)
