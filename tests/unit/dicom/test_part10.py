import struct
import tracemalloc
from pathlib import Path

import pytest
from pydicom import uid

from dicomsvc.dicom import metadata_dataset, parse_instance
from dicomsvc.errors import DicomsvcError, InvalidInstance, NotParseable, UnsupportedInstance

from .part10_bytes import (
    IDENTITY,
    ITEM_END,
    PARENTS,
    SEQUENCE_END,
    UNDEFINED,
    element,
    encapsulated,
    file_meta,
    image,
    implicit,
    item,
    part10,
    write,
)

SEQUENCE = 0x00081115
VERIFICATION = "1.2.840.10008.1.1"


def parsed(folder: Path, content: bytes) -> dict[str, dict[str, object]]:
    return metadata_dataset(parse_instance(write(folder, content)).metadata, "http://u")


def test_the_smallest_instance_is_kept(tmp_path: Path) -> None:
    instance = parse_instance(write(tmp_path, part10()))
    assert instance.sop_instance_uid == "1.2.3"
    assert instance.study_instance_uid == "1.2.4"
    assert instance.series_instance_uid == "1.2.5"
    assert instance.transfer_syntax_uid == uid.ExplicitVRLittleEndian
    assert instance.attributes["00080018"] == {"vr": "UI", "Value": ["1.2.3"]}
    assert instance.frames is None
    assert instance.warnings == ()


def _short_of(length: int) -> bytes:
    return part10()[:length]


NOT_PARSEABLE = {
    "empty file": b"",
    "no prefix": bytes(300),
    "preamble only": _short_of(132),
    "cut in the file meta": _short_of(150),
    "no transfer syntax": bytes(128) + b"DICM" + IDENTITY + PARENTS,
    "cut inside an element's head": part10()[:-11],
    "cut inside a value": part10()[:-2],
    "length beyond the file": part10(last=element(0x00280010, "US", b"ab", 0x1000)),
    "long length beyond the file": part10(last=element(0x00420011, "OB", b"ab", 0xFFFFFFF0)),
    "text without length": part10(last=element(0x00429999, "UT", b"ab", UNDEFINED)),
    "no value representation": part10(last=b"\x28\0\x10\0\0\1\2\0ab"),
    "item outside a sequence": part10(last=item()),
    "sequence without items": part10(middle=element(SEQUENCE, "SQ", b"ABCDEFGH")),
    "item beyond its sequence": part10(middle=element(SEQUENCE, "SQ", item(b"", 64))),
    "element beyond its item": part10(middle=element(SEQUENCE, "SQ", item(element(0x00100020, "LO", b"", 64)))),
    "sequence never ends": part10(last=element(0x00420099, "SQ", item(), UNDEFINED)),
    "item never ends": part10(last=element(0x00420099, "SQ", item(b"", UNDEFINED), UNDEFINED)),
    "element twice": part10(middle=element(0x00080018, "UI", "1.2.9")),
    "element twice, not in order": part10(last=element(0x00080018, "UI", "1.2.9")),
    "something behind the data set": part10() + b"\0" * 9 + b"x",
    "pixel data cut short": part10(last=image() + element(0x7FE00010, "OB", b"ab", 4)),
    "fragments cut short": part10(syntax=uid.RLELossless, last=image() + encapsulated([b"ab"], end=b"")),
    "fragments cut short inside one": part10(syntax=uid.RLELossless, last=image() + encapsulated([b"abcd"])[:-11]),
    "fragments without delimiter": part10(syntax=uid.RLELossless, last=image() + encapsulated([b"ab"], end=ITEM_END)),
}


@pytest.mark.parametrize("content", NOT_PARSEABLE.values(), ids=NOT_PARSEABLE.keys())
def test_a_broken_structure_is_not_parseable(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(NotParseable):
        parse_instance(write(tmp_path, content))


INVALID = {
    "no SOP Class UID": file_meta() + element(0x00080018, "UI", "1.2.3") + PARENTS,
    "no SOP Instance UID": file_meta() + IDENTITY[:34] + PARENTS,
    "no Study Instance UID": file_meta() + IDENTITY + element(0x0020000E, "UI", "1.2.5"),
    "no Series Instance UID": file_meta() + IDENTITY + element(0x0020000D, "UI", "1.2.5"),
    "empty Study Instance UID": file_meta() + IDENTITY + element(0x0020000D, "UI") + element(0x0020000E, "UI", "1.2.5"),
    "two values": file_meta() + IDENTITY + element(0x0020000D, "UI", "1.2\\1.3") + element(0x0020000E, "UI", "1.2.5"),
    "a path as UID": file_meta() + IDENTITY + element(0x0020000D, "UI", "../..") + element(0x0020000E, "UI", "1.2.5"),
    "65 characters": file_meta() + IDENTITY + element(0x0020000D, "UI", "1." * 32 + "1") + PARENTS[14:],
    "file meta of another instance": file_meta(instance="1.2.9") + IDENTITY + PARENTS,
    "file meta of another class": file_meta(sop_class=str(uid.CTImageStorage)) + IDENTITY + PARENTS,
    "no pixel data": part10(last=image()),
    "pixel data too short": part10(last=image(3) + element(0x7FE00010, "OB", bytes(10))),
    "pixel data empty": part10(last=image() + element(0x7FE00010, "OB")),
    "no Rows": part10(last=element(0x00280100, "US", b"\x08\0") + element(0x7FE00010, "OB", bytes(10))),
    "no frames": part10(last=image(0) + element(0x7FE00010, "OB", bytes(4))),
    "encapsulated, but native syntax": part10(last=image() + encapsulated([b"abcd"])),
    "native, but encapsulated syntax": part10(
        syntax=uid.RLELossless, last=image() + element(0x7FE00010, "OB", bytes(4))
    ),
    "too few fragments": part10(syntax=uid.RLELossless, last=image(3) + encapsulated([b"ab", b"cd"])),
    "no fragments": part10(syntax=uid.RLELossless, last=image(1) + encapsulated([])),
    "no items at all": part10(
        syntax=uid.RLELossless, last=image(1) + element(0x7FE00010, "OB", SEQUENCE_END, UNDEFINED)
    ),
    "more fragments than can be told apart": part10(
        syntax=uid.RLELossless, last=image(2) + encapsulated([b"ab", b"cd", b"ef"])
    ),
}


@pytest.mark.parametrize("content", INVALID.values(), ids=INVALID.keys())
def test_an_instance_without_identity_or_with_other_pixels_than_it_says_is_invalid(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(InvalidInstance):
        parse_instance(write(tmp_path, content))


UNSUPPORTED = {
    "deflated": part10(syntax=uid.DeflatedExplicitVRLittleEndian),
    "video": part10(syntax=uid.MPEG4HP41),
    "JPIP": part10(syntax="1.2.840.10008.1.2.4.94"),
    "unknown transfer syntax": part10(syntax="1.2.3.4"),
    "media directory": file_meta(sop_class=str(uid.MediaStorageDirectoryStorage)) + element(0x00041130, "CS", "X"),
    "verification": file_meta(sop_class=VERIFICATION)
    + element(0x00080016, "UI", VERIFICATION)
    + IDENTITY[34:]
    + PARENTS,
}


@pytest.mark.parametrize("content", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_what_is_not_kept_here_is_unsupported(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnsupportedInstance):
        parse_instance(write(tmp_path, content))


@pytest.mark.parametrize("delimited_sequence", [False, True])
@pytest.mark.parametrize("delimited_item", [False, True])
@pytest.mark.parametrize("long", [False, True])
def test_sequences_with_and_without_lengths_mean_the_same(
    tmp_path: Path, delimited_sequence: bool, delimited_item: bool, long: bool
) -> None:
    inside = element(0x00081150, "UI", "1.2") + element(0x00081155, "UI", "1.3")
    if long:
        inside += element(0x0040A160, "UT", "x" * 600)
    one = item(inside + ITEM_END, UNDEFINED) if delimited_item else item(inside)
    both = one + item() + one
    outer = element(SEQUENCE, "SQ", both + SEQUENCE_END, UNDEFINED) if delimited_sequence else None
    got = parsed(tmp_path, part10(middle=outer or element(SEQUENCE, "SQ", both)))
    members = {"00081150": {"vr": "UI", "Value": ["1.2"]}, "00081155": {"vr": "UI", "Value": ["1.3"]}}
    if long:
        members["0040A160"] = {"vr": "UT", "Value": ["x" * 600]}
    assert got["00081115"] == {"vr": "SQ", "Value": [members, {}, members]}


def test_an_empty_sequence_has_no_value(tmp_path: Path) -> None:
    got = parsed(tmp_path, part10(middle=element(SEQUENCE, "SQ")))
    assert got["00081115"] == {"vr": "SQ"}


@pytest.mark.parametrize("depth", [32, 33, 5000])
def test_nesting_has_a_limit(tmp_path: Path, depth: int) -> None:
    opened = element(SEQUENCE, "SQ", item(b"", UNDEFINED), UNDEFINED)
    content = part10(middle=opened * depth + (ITEM_END + SEQUENCE_END) * depth)
    if depth <= 32:
        assert parse_instance(write(tmp_path, content)).attributes["00081115"]["vr"] == "SQ"
    else:
        with pytest.raises(NotParseable, match="32 deep"):
            parse_instance(write(tmp_path, content))


def test_a_data_set_over_the_limit_is_refused_but_bulk_data_does_not_count(tmp_path: Path) -> None:
    items = b"".join(item(element(0x00281050, "DS", str(number))) for number in range(500))
    large = part10(middle=element(SEQUENCE, "SQ", items), last=element(0x00420011, "OB", bytes(1 << 20)))
    assert parse_instance(write(tmp_path, large), max_header_bytes=20_000)
    with pytest.raises(NotParseable, match="larger than 1000 bytes"):
        parse_instance(write(tmp_path, large), max_header_bytes=1000)


def test_un_without_length_is_an_implicit_sequence(tmp_path: Path) -> None:
    inside = item(implicit(0x00081150, "1.2.3.4") + implicit(0x00280010, b"\x05\0"))
    got = parsed(tmp_path, part10(middle=element(0x00091010, "UN", inside + SEQUENCE_END, UNDEFINED)))
    assert got["00091010"] == {
        "vr": "SQ",
        "Value": [{"00081150": {"vr": "UI", "Value": ["1.2.3.4"]}, "00280010": {"vr": "US", "Value": [5]}}],
    }


def test_un_of_a_known_element_is_what_the_dictionary_says(tmp_path: Path) -> None:
    got = parsed(tmp_path, part10(middle=element(0x00080060, "UN", "SM")))
    assert got["00080060"] == {"vr": "CS", "Value": ["SM"]}


def test_un_that_should_be_a_sequence_but_is_none_stays_un(tmp_path: Path) -> None:
    broken = item(implicit(SEQUENCE, item(implicit(0x00081150, "1.2")) + b"junk"))
    got = parsed(tmp_path, part10(middle=element(SEQUENCE, "UN", broken)))
    assert set(got["00081115"]) == {"vr", "InlineBinary"}


def test_an_unknown_value_representation_is_kept_as_un(tmp_path: Path) -> None:
    raw = b"\x09\0\x10\x10" + b"ZZ\0\0" + struct.pack("<I", 4) + b"abcd"
    assert parsed(tmp_path, part10(middle=raw))["00091010"] == {"vr": "UN", "InlineBinary": "YWJjZA=="}


def test_group_lengths_and_file_meta_elements_do_not_go_into_the_metadata(tmp_path: Path) -> None:
    got = parsed(tmp_path, part10(first=element(0x00080000, "UL", b"\x10\0\0\0")))
    assert "00080000" not in got
    assert not any(tag.startswith("0002") for tag in got)


def test_elements_out_of_order_are_kept_with_a_warning(tmp_path: Path) -> None:
    instance = parse_instance(write(tmp_path, part10(last=element(0x00100020, "LO", "a"))))
    assert instance.attributes["00100020"]["Value"] == ["a"]
    assert instance.warnings == ("elements are not in ascending order",)


def test_zeros_behind_the_data_set_are_padding(tmp_path: Path) -> None:
    instance = parse_instance(write(tmp_path, part10() + bytes(512)))
    assert "the data set is followed by padding that is no element" in instance.warnings


@pytest.mark.parametrize("representation", [0, 1])
def test_signedness_of_implicit_elements_follows_pixel_representation(tmp_path: Path, representation: int) -> None:
    body = b"".join(
        (
            implicit(0x00080016, "1.2.840.10008.5.1.4.1.1.7\0"),
            implicit(0x00080018, "1.2.3\0"),
            implicit(0x0020000D, "1.2.4\0"),
            implicit(0x0020000E, "1.2.5\0"),
            implicit(0x00280103, struct.pack("<H", representation)),
            implicit(0x00280106, b"\xff\xff"),
            implicit(0x00289110, item(implicit(0x00280106, b"\xff\xff"))),
        )
    )
    got = parsed(tmp_path, file_meta(uid.ImplicitVRLittleEndian) + body)
    expected = {"vr": "SS", "Value": [-1]} if representation else {"vr": "US", "Value": [65535]}
    assert got["00280106"] == expected
    assert got["00289110"]["Value"] == [{"00280106": expected}]


def test_private_elements_of_implicit_vr_follow_their_creator(tmp_path: Path) -> None:
    body = b"".join(
        (
            implicit(0x00080016, "1.2.840.10008.5.1.4.1.1.7\0"),
            implicit(0x00080018, "1.2.3\0"),
            implicit(0x00090010, "GEMS_IDEN_01"),
            implicit(0x00091004, "name"),
            implicit(0x00092004, "name"),
            implicit(0x0020000D, "1.2.4\0"),
            implicit(0x0020000E, "1.2.5\0"),
        )
    )
    got = parsed(tmp_path, file_meta(uid.ImplicitVRLittleEndian) + body)
    assert got["00090010"] == {"vr": "LO", "Value": ["GEMS_IDEN_01"]}
    assert got["00091004"] == {"vr": "SH", "Value": ["name"]}
    assert got["00092004"]["vr"] == "UN"


def test_big_endian_words_come_out_in_little_endian_order(tmp_path: Path) -> None:
    body = b"".join(
        element(tag, vr, value, endian=">")
        for tag, vr, value in (
            (0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7"),
            (0x00080018, "UI", "1.2.3"),
            (0x0020000D, "UI", "1.2.4"),
            (0x0020000E, "UI", "1.2.5"),
            (0x00280010, "US", b"\x01\x02"),
            (0x00281201, "OW", b"\x01\x02\x03\x04"),
        )
    )
    got = parsed(tmp_path, file_meta(uid.ExplicitVRBigEndian) + body)
    assert got["00280010"]["Value"] == [0x0102]
    assert got["00281201"]["InlineBinary"] == "AgEEAw=="


def test_messages_hold_no_values(tmp_path: Path) -> None:
    secret = "Secret^Person"
    content = part10(
        middle=element(0x00100010, "PN", secret) + element(0x00101030, "DS", secret),
        last=element(0x00280010, "US", b"ab", 0x1000),
    )
    with pytest.raises(DicomsvcError) as caught:
        parse_instance(write(tmp_path, content))
    assert "Secret" not in str(caught.value)
    faulty = part10(middle=element(0x00100010, "PN", "x\x1b$B\xff") + element(0x00101030, "DS", secret))
    instance = parse_instance(write(tmp_path, faulty))
    assert any("PatientWeight" in warning for warning in instance.warnings)
    assert not any("Secret" in warning for warning in instance.warnings)


def test_attributes_leave_out_bulk_data_and_per_frame_groups(tmp_path: Path) -> None:
    inner = item(element(0x00282000, "OB", bytes(100)) + element(0x00480106, "SH", "1"))
    last = element(0x00480105, "SQ", inner) + element(0x52009230, "SQ", item(element(0x00281050, "DS", "1")))
    instance = parse_instance(write(tmp_path, part10(last=last)))
    assert instance.attributes["00480105"] == {"vr": "SQ", "Value": [{"00480106": {"vr": "SH", "Value": ["1"]}}]}
    assert "52009230" not in instance.attributes
    assert "52009230" in metadata_dataset(instance.metadata, "u")


def test_a_value_too_large_for_the_index_is_in_the_metadata_alone(tmp_path: Path) -> None:
    items = b"".join(item(element(0x0040A160, "UT", f"{number:060}")) for number in range(20_000))
    instance = parse_instance(write(tmp_path, part10(last=element(0x0040A730, "SQ", items))))
    assert "0040A730" not in instance.attributes
    assert len(metadata_dataset(instance.metadata, "u")["0040A730"]["Value"]) == 20_000


def test_an_item_full_of_text_is_parsed_in_little_memory(tmp_path: Path) -> None:
    texts = (element(0x00091000 + number, "LO", b"\x01" * 65534) for number in range(100))
    path = write(tmp_path, part10(middle=element(SEQUENCE, "SQ", item(b"".join(texts)))))
    tracemalloc.start()
    try:
        instance = parse_instance(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(metadata_dataset(instance.metadata, "u")["00081115"]["Value"][0]) == 100
    assert peak < 24 << 20, "its JSON text is 39 MB"
