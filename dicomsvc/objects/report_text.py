"""A structured report as lines of text for people (PS3.3 C.17.3, C.18)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomsvc.errors import InvalidInstance
from dicomsvc.objects.codes import COUNTS, NO_UNITS, code_of, same_concept

_INDENT: Final = "  "
_DEEPEST: Final = 24
_MOST_LINES: Final = 20_000
_LONGEST: Final = 2_000
# What a reader of numbers does not look for: identifiers, and what the image library repeats of the images.
_LEFT_OUT: Final[tuple[Code, ...]] = (
    codes.DCM.LanguageOfContentItemAndDescendants,
    codes.DCM.TrackingUniqueIdentifier,
    codes.DCM.DeviceObserverUID,
    codes.DCM.ImageLibrary,
    codes.DCM.SourceImageForSegmentation,
    codes.DCM.SpecimenUID,
    codes.DCM.GeometricPurposeOfRegion,
)
_BARE_UNITS: Final = (NO_UNITS.value, COUNTS.value)
_REFERENCES: Final = {
    "1.2.840.10008.5.1.4.1.1.91.1": "bulk annotations",
    "1.2.840.10008.5.1.4.1.1.66.4": "segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "label map",
    "1.2.840.10008.5.1.4.1.1.30": "parametric map",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "slide",
}


@dataclass(slots=True)
class _Page:
    """``algorithms`` are those described already: each group of a report repeats its own."""

    lines: list[str] = field(default_factory=list)
    algorithms: set[tuple[str, ...]] = field(default_factory=set)

    def add(self, depth: int, text: str) -> None:
        if len(self.lines) < _MOST_LINES:
            self.lines.append(_INDENT * depth + _clean(text))


def report_text(dataset: Dataset) -> str:
    """Return a report of any template as indented text: status, then its content tree with units.

    Raises
    ------
    InvalidInstance
        When it is no structured report.
    """
    page = _Page()
    try:
        if not dataset.get("ContentSequence") or dataset.get("ValueType") != "CONTAINER":
            raise InvalidInstance("this is no structured report")
        page.add(0, _name(dataset))
        for line in _status(dataset):
            page.add(0, line)
        _children(page, dataset, 1)
    except InvalidInstance:
        raise
    except Exception as error:  # noqa: BLE001 - values of untrusted objects fail in any way inside pydicom
        raise InvalidInstance(f"the report cannot be read: {type(error).__name__}") from None
    if len(page.lines) >= _MOST_LINES:
        page.lines.append("…")
    return "\n".join(page.lines) + "\n"


def _status(ds: Dataset) -> Iterator[str]:
    flags = [str(ds.get(name) or "") for name in ("CompletionFlag", "VerificationFlag", "PreliminaryFlag")]
    status = ", ".join(flag.lower() for flag in flags if flag)
    words = str(ds.get("CompletionFlagDescription") or "")
    yield f"Status: {status}" + (f" ({words})" if words else "")
    for observer in ds.get("VerifyingObserverSequence") or ():
        organisation = str(observer.get("VerifyingOrganization") or "")
        yield (
            f"Verified by {observer.get('VerifyingObserverName')}"
            + (f", {organisation}" if organisation else "")
            + f", {_moment(str(observer.get('VerificationDateTime') or ''))}"
        )
    yield f"Written: {_moment(str(ds.get('ContentDate') or '') + str(ds.get('ContentTime') or ''))}"


def _children(page: _Page, parent: Dataset, depth: int) -> None:
    items: Sequence[Dataset] = parent.get("ContentSequence") or ()
    for item in items:
        if item.get("RelationshipType") == "HAS CONCEPT MOD" and parent.get("ValueType") != "CONTAINER":
            continue
        _item(page, item, depth)


def _item(page: _Page, item: Dataset, depth: int) -> None:
    concept = code_of(item.get("ConceptNameCodeSequence"))
    if depth > _DEEPEST or any(same_concept(concept, left) for left in _LEFT_OUT):
        return
    if same_concept(concept, codes.DCM.MeasurementGroup):
        _group(page, item, depth)
        return
    value, name = _value(item), _name(item)
    page.add(depth, f"{name}{_modifiers(item)}: {value}" if value else f"{name}{_modifiers(item)}")
    _children(page, item, depth + 1)


def _group(page: _Page, group: Dataset, depth: int) -> None:
    """Write a measurement group under its label, and its algorithm only where it is another than before."""
    items: Sequence[Dataset] = group.get("ContentSequence") or ()
    label, algorithm, others = "", [], []
    for item in items:
        concept = code_of(item.get("ConceptNameCodeSequence"))
        if same_concept(concept, codes.DCM.TrackingIdentifier):
            label = _value(item)
        elif concept is not None and concept.meaning.startswith("Algorithm"):
            algorithm.append(item)
        else:
            others.append(item)
    page.add(depth, f"{_name(group)}: {label}" if label else _name(group))
    described = tuple(f"{_name(item)}: {_value(item)}" for item in algorithm)
    if described and described not in page.algorithms:
        page.algorithms.add(described)
        for line in described:
            page.add(depth + 1, line)
    for item in others:
        _item(page, item, depth + 1)


def _name(item: Dataset) -> str:
    concept = code_of(item.get("ConceptNameCodeSequence"))
    return concept.meaning if concept is not None else "Item"


def _modifiers(item: Dataset) -> str:
    """Return what is said about the concept itself, such as that a value is a mean, in brackets."""
    if item.get("ValueType") == "CONTAINER":
        return ""
    modifiers = [
        _value(child)
        for child in item.get("ContentSequence") or ()
        if child.get("RelationshipType") == "HAS CONCEPT MOD"
    ]
    return f" ({', '.join(modifiers)})" if modifiers else ""


def _value(item: Dataset) -> str:
    kind = str(item.get("ValueType") or "")
    if kind == "NUM":
        return _number(item)
    if kind == "CODE":
        code = code_of(item.get("ConceptCodeSequence"))
        return code.meaning if code is not None else ""
    if kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
        return _reference(item)
    if kind in ("SCOORD", "SCOORD3D"):
        data = item.get("GraphicData") or ()
        count = len(data) // (3 if kind == "SCOORD3D" else 2)
        return f"{str(item.get('GraphicType') or '').lower()} of {count} points"
    plain = {"TEXT": "TextValue", "UIDREF": "UID", "PNAME": "PersonName", "DATE": "Date", "TIME": "Time"}
    if kind == "DATETIME":
        return _moment(str(item.get("DateTime") or ""))
    return str(item.get(plain.get(kind, "TextValue")) or "")


def _number(item: Dataset) -> str:
    measured = item.get("MeasuredValueSequence")
    if not measured:
        qualifier = code_of(item.get("NumericValueQualifierCodeSequence"))
        return qualifier.meaning if qualifier is not None else "not known"
    text = str(measured[0].get("NumericValue"))
    if len(text) > 8 or text.endswith(".0"):
        text = _shortened(text)
    unit = code_of(measured[0].get("MeasurementUnitsCodeSequence"))
    if unit is None or unit.value in _BARE_UNITS:
        return text
    return f"{text} {unit.value}"


def _shortened(text: str) -> str:
    """Return a number to six digits; whole ones stay whole."""
    try:
        number = float(text)
    except ValueError:
        return text
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e15 else f"{number:.6g}"


def _reference(item: Dataset) -> str:
    referenced = item.get("ReferencedSOPSequence")
    if not referenced:
        return ""
    uid = str(referenced[0].get("ReferencedSOPClassUID") or "")
    segment = referenced[0].get("ReferencedSegmentNumber")
    words = f"{_REFERENCES.get(uid, 'object')} {referenced[0].get('ReferencedSOPInstanceUID')}"
    return f"{words}, segment {segment}" if segment else words


def _moment(text: str) -> str:
    """Return a DICOM date and time as people write it."""
    digits, zone = text[:14], text[-5:] if len(text) > 19 and text[-5] in "+-" else ""
    if len(digits) < 12 or not digits.isdigit():
        return text
    day, time = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}", f"{digits[8:10]}:{digits[10:12]}"
    return f"{day} {time}" + (f" {zone}" if zone else "")


def _clean(text: str) -> str:
    """Keep what a terminal would obey out of it; a longer text goes on at the same line."""
    flat = " ".join(text.split()) if "\n" in text or "\r" in text or "\t" in text else text
    printable = "".join(letter if letter.isprintable() else "�" for letter in flat)
    return printable if len(printable) <= _LONGEST else printable[:_LONGEST] + "…"
