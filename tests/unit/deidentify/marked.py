"""Objects full of a patient: a marker in every text that an element can hold, at every level, private ones too."""

import struct
from collections.abc import Iterator
from copy import deepcopy

from pydicom.datadict import DicomDictionary, RepeatersDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

MARKER = "PATMARKER"
MARKER_UID = "1.2.3.987654321987654321"
MARKER_DATE = "19570404"
TEXTS = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
DATES = {"DA": MARKER_DATE, "DT": f"{MARKER_DATE}111213", "TM": "111213.957404"}
STRUCTURE = frozenset(
    """
    SpecificCharacterSet SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID CodeValue LongCodeValue
    URNCodeValue CodingSchemeDesignator CodingSchemeVersion CodingSchemeUID ContextUID MappingResourceUID Manufacturer
    ManufacturerModelName SoftwareVersions ReferencedSOPClassUID ReferencedSOPInstanceUID
    """.split()
)
"""What is no free text, and what the Basic Profile keeps of the equipment."""
_CREATOR = "PATMARKER CREATOR"


def planted(vr: str) -> str | bytes | None:
    """Return what a patient looks like in a value representation; None where it can't hold one."""
    if vr in TEXTS:
        return f"{MARKER} {vr}"[:16]
    if vr in DATES:
        return DATES[vr]
    if vr == "UI":
        return MARKER_UID
    return f"{MARKER} {vr}  ".encode() if vr in ("OB", "UN") else None


def plant(ds: Dataset, *, everything: bool = False) -> Dataset:
    """Return a copy with the marker in what is there, recursively, and at the top level in all else that PS3.6 knows.

    A copy: codes in a data set may be constants of the library that made it.
    """
    ds = deepcopy(ds)
    _plant_in_place(ds)
    if everything:
        for tag, vr in public_attributes():
            if tag not in ds:
                value = planted(vr)
                if value is not None:
                    ds.add(DataElement(Tag(tag), vr, value))
        _plant_overlay(ds)
    return ds


def _plant_in_place(ds: Dataset) -> None:
    for element in list(ds):
        if element.VR == "SQ":
            for item in element.value:
                _plant_in_place(item)
        elif element.keyword not in STRUCTURE and element.VR in TEXTS and not element.is_empty:
            element.value = planted(element.VR)
    _plant_private(ds)


def public_attributes() -> Iterator[tuple[int, str]]:
    """Return the tags of PS3.6 that a marker is planted into, with their VRs."""
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 in (0x0000, 0x0002, 0x0004, 0xFFFC, 0xFFFE) or keyword in STRUCTURE or not keyword:
            continue
        if keyword in ("PixelData", "EncapsulatedDocument", "PixelDataProviderURL", "ICCProfile"):
            continue
        if vr in TEXTS or vr in DATES or vr in ("UI", "OB"):
            yield tag, vr


def _plant_private(ds: Dataset) -> None:
    block = ds.private_block(0x0099, _CREATOR, create=True)
    for number, vr in enumerate(("LO", "UT", "PN", "OB", "UN"), 1):
        block.add_new(number, vr, planted(vr))
    item = Dataset()
    item.PatientName = MARKER
    block.add_new(0x10, "SQ", Sequence([item]))


def _plant_overlay(ds: Dataset) -> None:
    assert RepeatersDictionary
    ds.add(DataElement(Tag(0x60004000), "LT", MARKER))
    ds.add(DataElement(Tag(0x60003000), "OB", MARKER.encode() + b" "))
    ds.add(DataElement(Tag(0x50003000), "OB", MARKER.encode() + b" "))


def jpeg_with_texts(jpeg: bytes) -> bytes:
    """Return a JPEG with the marker in a comment, in Exif, Photoshop and XMP segments, and behind its end."""
    text = MARKER.encode() * 3

    def segment(code: int, body: bytes) -> bytes:
        return b"\xff" + bytes((code,)) + struct.pack(">H", len(body) + 2) + body

    extra = (
        segment(0xFE, text)
        + segment(0xE1, b"Exif\0\0" + text)
        + segment(0xED, b"Photoshop 3.0\0" + text)
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + text)
    )
    return jpeg[:2] + extra + jpeg[2:] + text


def elements(ds: Dataset) -> Iterator[DataElement]:
    """Return all elements, recursively."""
    for element in ds:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)
