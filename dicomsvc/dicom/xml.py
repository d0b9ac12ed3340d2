"""The Native DICOM Model (PS3.19 A.1): a DICOM JSON object as XML."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from dicomsvc.dicom.dictionary import keyword

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
# XML 1.0 has no words for these, not even escaped ones.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Dataset = Mapping[str, Mapping[str, Any]]


def dataset_xml(json_object: Dataset) -> bytes:
    """Return the XML document of a DICOM JSON object, as UTF-8.

    Numbers are written as JSON gave them; empty values are left out, and the numbers of the others tell their places.
    """
    inside = "".join(_attributes(json_object))
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">{inside}</NativeDicomModel>'
    )
    return document.encode("utf-8", "replace")


def _text(value: object) -> str:
    return escape(_FORBIDDEN.sub("", str(value)))


def _quoted(value: object) -> str:
    return quoteattr(_FORBIDDEN.sub("", str(value)))


def _attributes(dataset: Dataset) -> Iterator[str]:
    for tag, element in dataset.items():
        number, vr = int(tag, 16), element["vr"]
        creator, word = _private_creator(dataset, number), keyword(number)
        if creator:
            # The block is the creator's, whatever its number in this data set.
            names = f'tag="{number & 0xFFFF00FF:08X}" vr="{vr}" privateCreator={_quoted(creator)}'
        else:
            names = f'tag="{tag}" vr="{vr}"' + (f' keyword="{word}"' if word else "")
        inside = "".join(_contents(vr, element))
        yield f"<DicomAttribute {names}>{inside}</DicomAttribute>" if inside else f"<DicomAttribute {names}/>"


def _private_creator(dataset: Dataset, tag: int) -> str | None:
    if not tag >> 16 & 1 or tag & 0xFF00 == 0:
        return None
    values = dataset.get(f"{tag >> 16:04X}{tag >> 8 & 0xFF:04X}", {}).get("Value")
    return str(values[0]) if values else None


def _contents(vr: str, element: Mapping[str, Any]) -> Iterator[str]:
    if "BulkDataURI" in element:
        yield f"<BulkData uri={_quoted(element['BulkDataURI'])}/>"
    elif "InlineBinary" in element:
        yield f"<InlineBinary>{_text(element['InlineBinary'])}</InlineBinary>"
    for number, value in enumerate(element.get("Value", ()), 1):
        if vr == "SQ":
            yield f'<Item number="{number}">{"".join(_attributes(value or {}))}</Item>'
        elif value is None:
            continue
        elif vr == "PN":
            yield f'<PersonName number="{number}">{"".join(_name(value))}</PersonName>'
        else:
            yield f'<Value number="{number}">{_text(value)}</Value>'


def _name(value: Mapping[str, str]) -> Iterator[str]:
    for group in _GROUPS:
        if value.get(group):
            components = zip(_COMPONENTS, value[group].split("^"), strict=False)
            inside = "".join(f"<{name}>{_text(text)}</{name}>" for name, text in components if text)
            yield f"<{group}>{inside}</{group}>"
