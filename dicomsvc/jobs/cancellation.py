"""What a cancelled work item says of it, as DICOM JSON: when, why, in words and as a code (PS3.3 C.30.1)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

from dicomsvc.jobs.transitions import Attributes, tag_of

_INFORMATION: Final = tag_of("ProcedureStepProgressInformationSequence")
_AT: Final = tag_of("ProcedureStepCancellationDateTime")
_REASON: Final = tag_of("ReasonForCancellation")
_CODE: Final = tag_of("ProcedureStepDiscontinuationReasonCodeSequence")


class CodedConcept(Protocol):
    """A code as pydicom and highdicom have it, too."""

    @property
    def value(self) -> str: ...
    @property
    def scheme_designator(self) -> str: ...
    @property
    def meaning(self) -> str: ...


class _Code(NamedTuple):
    value: str
    scheme_designator: str
    meaning: str


# Of CID 9300. Typed, and compared with pydicom's tables in a test, since these take every command a fifth of a second.
DISCONTINUED: Final = _Code("110513", "DCM", "Discontinued for unspecified reason")
LACKING_RESOURCES: Final = _Code("110527", "DCM", "Resource inadequate")


def date_time(at: datetime) -> str:
    """Return a time as DT writes it (PS3.5 6.2), in UTC."""
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000")


def code_item(code: CodedConcept) -> dict[str, Any]:
    """Return a code as an item of a code sequence (PS3.3 8.8); a value too long for SH is a long code value."""
    tag, vr = ("CodeValue", "SH") if len(code.value) <= 16 else ("LongCodeValue", "UC")
    return {
        tag_of(tag): {"vr": vr, "Value": [code.value]},
        tag_of("CodingSchemeDesignator"): {"vr": "SH", "Value": [code.scheme_designator]},
        tag_of("CodeMeaning"): {"vr": "LO", "Value": [code.meaning[:64]]},
    }


def cancellation_elements(
    at: datetime, request: Attributes | None, reason: str | None = None, code: CodedConcept = DISCONTINUED
) -> dict[str, Any]:
    """Return the elements of a cancellation; what the ``request`` said goes before ``reason`` and ``code``."""
    said = {tag: request[tag] for tag in (_REASON, _CODE) if request and request.get(tag, {}).get("Value")}
    elements: dict[str, Any] = {_AT: {"vr": "DT", "Value": [date_time(at)]}}
    if reason:
        elements[_REASON] = {"vr": "LT", "Value": [reason]}
    elements[_CODE] = {"vr": "SQ", "Value": [code_item(code)]}
    return elements | said


def with_cancellation(attributes: Attributes, request: Attributes | None) -> Mapping[str, Any]:
    """Return the attributes of a work item that is being cancelled now; what they say already stays."""
    items = attributes.get(_INFORMATION, {}).get("Value") or [{}]
    said = {tag: element for tag, element in items[0].items() if element.get("Value")}
    item = cancellation_elements(datetime.now(UTC), request) | said
    return {**attributes, _INFORMATION: {"vr": "SQ", "Value": [{**items[0], **item}]}}
