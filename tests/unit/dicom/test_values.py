import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.dicom.charset import UNDECODABLE, CharacterSet
from dicomsvc.dicom.values import element_text


def convert(
    vr: str, value: bytes, terms: tuple[str, ...] = (), endian: str = "<"
) -> tuple[dict[str, object], list[str]]:
    faults: list[str] = []
    text = element_text(vr, value, CharacterSet(terms, faults.append), endian, faults.append)
    return json.loads(text, parse_constant=lambda name: pytest.fail(name)), faults


def value_of(vr: str, value: bytes, terms: tuple[str, ...] = ()) -> object:
    converted, faults = convert(vr, value, terms)
    assert faults == []
    assert converted["vr"] == vr
    return converted.get("Value")


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("LO", b"", None),
        ("LO", b"  ", None),
        ("LO", b" a b ", ["a b"]),
        ("LO", b"a\\\\b", ["a", None, "b"]),
        ("LO", b"\\", None),
        ("UI", b"1.2.3\0", ["1.2.3"]),
        ("UI", b"1.2\\1.3\0", ["1.2", "1.3"]),
        ("UI", b"1.2\0.3\0", ["1.2\ufffd.3"]),
        ("LT", b" a\\b ", [" a\\b"]),
        ("ST", b"a\\b", ["a\\b"]),
        ("UT", b"a\\b\r\n ", ["a\\b\r\n"]),
        ("UR", b"http://a\\b ", ["http://a\\b"]),
        ("UC", b"a\\b", ["a", "b"]),
        ("CS", b"SM\0\0", ["SM"]),
        ("LO", b'quote " and \x01', ['quote " and \x01']),
        ("IS", b"1\\-2\\+3\\ 04 ", [1, -2, 3, 4]),
        ("IS", b"5.0", [5]),
        ("DS", b"1\\-2.50\\+.5\\1.\\007\\1e3\\ 1E-2 ", [1, -2.5, 0.5, 1, 7, 1000, 0.01]),
        ("DS", b"\\1", [None, 1]),
        ("AT", b"\x10\x00\x20\x00\xe0\x7f\x10\x00", ["00100020", "7FE00010"]),
        ("US", b"\x01\x00\xff\xff", [1, 65535]),
        ("SS", b"\xff\xff", [-1]),
        ("UL", b"\xff\xff\xff\xff", [4294967295]),
        ("SV", b"\xff" * 8, [-1]),
        ("UV", b"\xff" * 8, [(1 << 64) - 1]),
        ("PN", b"", None),
        ("PN", b"A^B", [{"Alphabetic": "A^B"}]),
        ("PN", b"A^B=C=D ", [{"Alphabetic": "A^B", "Ideographic": "C", "Phonetic": "D"}]),
        ("PN", b"=C", [{"Ideographic": "C"}]),
        ("PN", b"A\\\\B", [{"Alphabetic": "A"}, None, {"Alphabetic": "B"}]),
    ],
)
def test_values_become_dicom_json(vr: str, value: bytes, expected: object) -> None:
    assert value_of(vr, value) == expected


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("DS", b"abc", None),
        ("DS", b"1\\abc\\2", [1, None, 2]),
        ("DS", b"NaN\\inf\\1_0\\0x1", None),
        ("DS", b"1e999", None),
        ("DS", b"9" * 65, None),
        ("IS", b"1.5", None),
        ("IS", b"9" * 5000, None),
        ("US", b"\1", None),
        ("US", b"\1\0\2", [1]),
        ("AT", b"\1\0\2\0\3", ["00010002"]),
        ("FL", struct.pack("<2f", math.nan, 1.5), [None, 1.5]),
        ("FD", struct.pack("<2d", math.inf, -math.inf), None),
    ],
)
def test_values_that_are_none_of_their_kind_are_dropped_with_a_warning(vr: str, value: bytes, expected: object) -> None:
    converted, faults = convert(vr, value)
    assert converted.get("Value") == expected
    assert faults


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_binary_floats_are_exact(double: float, single: float) -> None:
    assert value_of("FD", struct.pack("<d", double)) == [double]
    assert value_of("FL", struct.pack("<f", single)) == [single]


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**9), max_value=10**9))
def test_decimal_strings_keep_their_number(number: object) -> None:
    text = str(number)[:16]
    assert value_of("DS", text.encode()) == [float(text)]


@given(
    st.sampled_from(["LO", "PN", "UT", "DS", "IS", "AT", "FL", "FD", "US", "UI", "CS", "OB", "UN"]),
    st.binary(max_size=80),
)
def test_any_bytes_become_json(vr: str, value: bytes) -> None:
    for terms in ((), ("ISO_IR 192",), ("", "ISO 2022 IR 87", "ISO 2022 IR 149"), ("GB18030",), ("nonsense",)):
        for endian in "<>":
            converted, _ = convert(vr, value, terms, endian)
            assert "\0" not in json.dumps(converted, ensure_ascii=False)


@pytest.mark.parametrize(
    ("terms", "raw", "expected"),
    [
        (("ISO_IR 192",), "Wang^XiaoDong=王^小东".encode(), "王^小东"),
        (("GB18030",), "Wang^XiaoDong=王^小东".encode("gb18030"), "王^小东"),
        (("GBK",), "Li=李^明".encode("gbk"), "李^明"),
        (("", "ISO 2022 IR 58"), b"Wang=\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1\xb6\xab", "王^小东"),
        (("", "ISO 2022 IR 87"), b"Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田^太郎"),
        (("", "ISO 2022 IR 149"), b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "洪^吉洞"),
    ],
)
def test_names_are_decoded_in_their_repertoire(terms: tuple[str, ...], raw: bytes, expected: str) -> None:
    value = value_of("PN", raw, terms)
    assert isinstance(value, list)
    assert value[0]["Ideographic"] == expected


def test_a_backslash_inside_a_two_byte_character_separates_nothing() -> None:
    text = "譢"  # GBK D75C: its second byte is the backslash
    assert b"\\" in text.encode("gbk")
    assert value_of("LO", f"{text}\\b".encode("gbk"), ("GBK",)) == [text, "b"]


@pytest.mark.parametrize(
    ("terms", "codec", "text"),
    [
        (("ISO_IR 100",), "latin-1", "Buc^Jérôme"),
        (("ISO_IR 101",), "iso8859-2", "Łódź"),
        (("ISO_IR 144",), "iso8859-5", "Люкceмбypг"),
        (("ISO_IR 126",), "iso8859-7", "Διονυσιος"),
        (("ISO_IR 127",), "iso8859-6", "قباني"),
        (("ISO_IR 138",), "iso8859-8", "שרון"),
        (("ISO_IR 166",), "tis-620", "ไทย"),
        (("ISO IR 100",), "latin-1", "Jérôme"),
    ],
)
def test_single_byte_repertoires_are_decoded(terms: tuple[str, ...], codec: str, text: str) -> None:
    converted, _ = convert("LO", text.encode(codec), terms)
    assert converted["Value"] == [text]


def test_undecodable_text_is_replaced_with_a_warning() -> None:
    converted, faults = convert("LO", b"a\xff\xfeb", ("ISO_IR 192",))
    assert converted["Value"] == ["a\ufffd\ufffdb"]
    assert faults == [UNDECODABLE]


def test_an_unknown_repertoire_is_a_warning_once() -> None:
    faults: list[str] = []
    CharacterSet(("KLINGON",), faults.append)
    assert len(faults) == 1
