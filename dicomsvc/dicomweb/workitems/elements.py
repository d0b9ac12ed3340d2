"""DICOM JSON (PS3.18 F.2) in small pieces: elements by keyword, codes, content items."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from pydicom.datadict import dictionary_VR
from pydicom.sr.coding import Code

from dicomsvc.jobs.cancellation import code_item
from dicomsvc.jobs.transitions import tag_of

Attributes = Mapping[str, Any]
UPS_PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"
"""Unified Procedure Step - Push, the SOP class of every work item (PS3.4 CC.3.1); pydicom has no name for it."""
SCHEME: Final = "99DICOMSVC"
"""Coding scheme of what only this service names: its models, its kinds of work, their parameters."""


def elements(**values: Any) -> dict[str, Any]:
    """Return elements by keyword; a list is the values, anything else the one value, None and "" no value at all."""
    return dict(_element(keyword, value) for keyword, value in values.items())


def _element(keyword: str, value: Any) -> tuple[str, dict[str, Any]]:
    tag = tag_of(keyword)
    values = value if isinstance(value, list) else [] if value in (None, "") else [value]
    vr = _vr_of(tag)
    return tag, {"vr": vr, "Value": values} if values else {"vr": vr}


@cache
def _vr_of(tag: str) -> str:
    return dictionary_VR(int(tag, 16))


def own_code(value: str, meaning: str) -> Code:
    """Return a code of our own scheme."""
    return Code(value, SCHEME, meaning)


def text_item(name: Code, text: object) -> dict[str, Any]:
    """Return a content item of type TEXT (PS3.3 10.2)."""
    return elements(ValueType="TEXT", ConceptNameCodeSequence=code_item(name), TextValue=str(text))


def number_item(name: Code, number: float, unit: Code) -> dict[str, Any]:
    """Return a content item of type NUMERIC (PS3.3 10.2)."""
    return elements(
        ValueType="NUMERIC",
        ConceptNameCodeSequence=code_item(name),
        NumericValue=float(number),
        MeasurementUnitsCodeSequence=code_item(unit),
    )


def first(attributes: Attributes, keyword: str) -> Any:
    """Return the first value of an element, None when it has none."""
    values = attributes.get(tag_of(keyword), {}).get("Value")
    return values[0] if values else None


def items(attributes: Attributes, keyword: str) -> Iterable[Attributes]:
    """Return the items of a sequence."""
    return [item for item in attributes.get(tag_of(keyword), {}).get("Value") or () if isinstance(item, Mapping)]


def read_code(item: Attributes) -> tuple[str, str, str]:
    """Return code value, coding scheme and meaning of an item of a code sequence; empty where it has none."""
    value = first(item, "CodeValue") or first(item, "LongCodeValue") or first(item, "URNCodeValue")
    return str(value or ""), str(first(item, "CodingSchemeDesignator") or ""), str(first(item, "CodeMeaning") or "")
