"""What clients send: bodies of DICOM JSON (PS3.18 F.2), made sure of, and work items out of them."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from starlette.requests import Request

from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dicomweb.workitems.elements import Attributes, elements, first, items, read_code
from dicomsvc.dicomweb.workitems.mapping import PARAMETERS, REGION, VERSION, WORKLIST, scheduled_code
from dicomsvc.errors import BadRequest, TooLarge, UnsupportedMediaType
from dicomsvc.jobs.items import OUTSIDE, Priority, State
from dicomsvc.jobs.transitions import tag_of

MAX_BODY_BYTES: Final = 1 << 19
_MAX_DEPTH: Final = 16
_MAX_REGIONS: Final = 200
_TAG: Final = re.compile(r"[0-9A-F]{8}\Z")
_VR: Final = re.compile(r"[A-Z]{2}\Z")
_CONTENT: Final = frozenset({"Value", "InlineBinary", "BulkDataURI"})
_NAME_GROUPS: Final = frozenset({"Alphabetic", "Ideographic", "Phonetic"})
_MEDIA_TYPES: Final = ("application/dicom+json", "application/json")
_READINESS: Final = ("INCOMPLETE", "UNAVAILABLE", "READY")

Performable = Callable[[str, str], tuple[str, Mapping[str, Any]] | None]
"""From value and scheme of a Scheduled Workitem Code to kind and inputs of work that our workers do; None: not ours."""


async def read_attributes(request: Request, *, empty: bool = False) -> dict[str, Any]:
    """Return the data set of a request's body; with ``empty``, none at all is an empty one.

    Raises
    ------
    UnsupportedMediaType
        When it is something else than DICOM JSON.
    TooLarge
        When it has more than half a mebibyte.
    BadRequest
        When it is not well formed.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise TooLarge("the body is larger than half a mebibyte")
    if empty and not body.strip():
        return {}
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        raise UnsupportedMediaType("work items are taken as application/dicom+json")
    return parse_attributes(body)


def parse_attributes(body: bytes) -> dict[str, Any]:
    """Return the one data set of a body: an object, or an array of one.

    Raises
    ------
    BadRequest
        When it is no DICOM JSON.
    """
    try:
        document = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        raise BadRequest("the body is not one data set in DICOM JSON (PS3.18 F.2)")
    return _data_set(document, 0)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _data_set(document: dict[str, Any], depth: int) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise BadRequest("the body's sequences are nested too deep")
    checked = {}
    for name, element in document.items():
        tag = name.upper()
        if not _TAG.match(tag) or not isinstance(element, dict) or not _VR.match(str(element.get("vr", ""))):
            raise BadRequest(f"{name[:16]!r} is no element in DICOM JSON: a tag of eight digits, an object with vr")
        checked[tag] = _value(tag, element, depth)
    return checked


def _value(tag: str, element: dict[str, Any], depth: int) -> dict[str, Any]:
    content = element.keys() - {"vr"}
    if len(content) > 1 or not content <= _CONTENT or not isinstance(element.get("Value", []), list):
        raise BadRequest(f"{tag} has no proper Value")
    if not all(isinstance(element[name], str) for name in content - {"Value"}):
        raise BadRequest(f"{tag} has no proper bulk data")
    values = element.get("Value", [])
    if element["vr"] == "SQ":
        if not all(isinstance(item, dict) for item in values):
            raise BadRequest(f"an item of {tag} is no object")
        values = [_data_set(item, depth + 1) for item in values]
    else:
        for value in values:
            _require_plain(tag, element["vr"], value)
    return {**element, "Value": values} if "Value" in element else dict(element)


def _require_plain(tag: str, vr: str, value: Any) -> None:
    """Raise `BadRequest` unless a value is a text, number, name or nothing, as the database can keep it."""
    if isinstance(value, dict) and (vr != "PN" or not value.keys() <= _NAME_GROUPS):
        raise BadRequest(f"a value of {tag} is none of DICOM JSON")
    if vr == "PN" and not isinstance(value, dict | None):
        raise BadRequest(f"a name of {tag} is no object of component groups")
    for text in value.values() if isinstance(value, dict) else [value]:
        if isinstance(text, dict | list | bool):
            raise BadRequest(f"a value of {tag} is none of DICOM JSON")
        if isinstance(text, str) and ("\0" in text or any("\ud800" <= character <= "\udfff" for character in text)):
            raise BadRequest(f"a value of {tag} has a character that no text has")


@dataclass(frozen=True, slots=True)
class Order:
    """A work item that a client asks for.

    Attributes
    ----------
    modified
        Whether something was put right that the client left out.
    """

    kind: str
    inputs: Mapping[str, Any]
    priority: Priority
    attributes: Mapping[str, Any]
    ready: bool
    modified: bool


_MUST_BE_EMPTY: Final = (
    "TransactionUID",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)
# The service says these itself, whatever comes.
_OURS: Final = frozenset(map(tag_of, ("SOPClassUID", "SOPInstanceUID", "ProcedureStepState", *_MUST_BE_EMPTY)))
_COMMAND_GROUP: Final = "0000"


def read_order(attributes: Attributes, performable: Performable) -> Order:
    """Return what a request to create says (PS3.4 Table CC.2.5-3, column N-CREATE).

    Priority and readiness are filled in where they are missing.

    Raises
    ------
    BadRequest
        When something else that is required is missing or wrong.
    """
    if first(attributes, "ProcedureStepState") != State.SCHEDULED:
        raise BadRequest("a work item is created with Procedure Step State (0074,1000) SCHEDULED")
    for keyword in _MUST_BE_EMPTY:
        if first(attributes, keyword) is not None:
            raise BadRequest(f"{keyword} must be empty when a work item is created")
    for keyword in ("ProcedureStepLabel", "ScheduledProcedureStepStartDateTime"):
        if not first(attributes, keyword):
            raise BadRequest(f"{keyword} is required")
    filled = {tag: element for tag, element in attributes.items() if not tag.startswith(_COMMAND_GROUP)}
    missing = elements(ScheduledProcedureStepPriority="MEDIUM", InputReadinessState="READY", WorklistLabel=WORKLIST)
    missing = {tag: element for tag, element in missing.items() if not filled.get(tag, {}).get("Value")}
    filled |= missing
    require_enumerated(filled)
    kind, inputs = _work(filled, performable)
    return Order(
        kind=kind,
        inputs=inputs,
        priority=Priority(first(filled, "ScheduledProcedureStepPriority")),
        attributes={tag: element for tag, element in filled.items() if tag not in _OURS},
        ready=first(filled, "InputReadinessState") == "READY",
        # The worklist's label is the provider's to give (type 2/1).
        modified=bool(missing.keys() - {tag_of("WorklistLabel")}),
    )


def require_enumerated(attributes: Attributes) -> None:
    """Raise `BadRequest` when priority or readiness is there with a value that is none of theirs (PS3.3 C.30.2)."""
    for keyword, allowed in (("ScheduledProcedureStepPriority", list(Priority)), ("InputReadinessState", _READINESS)):
        element = attributes.get(tag_of(keyword))
        if element is not None and element.get("Value", [None])[:1] != [
            v for v in allowed if v == first(attributes, keyword)
        ]:
            raise BadRequest(f"{keyword} is one of {', '.join(allowed)}")


# PS3.4 Table CC.2.5-3, column N-SET: not allowed.
_FIXED: Final = (
    "PatientName PatientID PatientBirthDate PatientSex AdmissionID IssuerOfAdmissionIDSequence ProcedureStepState "
    "AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence ReferencedRequestSequence "
    "ReplacedProcedureStepSequence SOPClassUID SOPInstanceUID"
).split()


def read_update(attributes: Attributes, current: Attributes) -> dict[str, Any]:
    """Return the attributes that a request to update sets.

    Raises
    ------
    BadRequest
        When it would change what is fixed from creation on, or a value is wrong; saying the same again is no change.
    """
    for keyword in _FIXED:
        tag = tag_of(keyword)
        if tag in attributes and attributes[tag].get("Value") != current.get(tag, {}).get("Value"):
            raise BadRequest(f"{keyword} cannot be changed by an update")
    require_enumerated(attributes)
    return {
        tag: element
        for tag, element in attributes.items()
        if tag not in _OURS - set(map(tag_of, _MUST_BE_EMPTY[1:])) and not tag.startswith(_COMMAND_GROUP)
    }


def _work(attributes: Attributes, performable: Performable) -> tuple[str, dict[str, Any]]:
    """Return kind and inputs; our work is told by its code."""
    found = performable(*scheduled_code(attributes))
    if found is None:
        return OUTSIDE, {}
    kind, inputs = found
    series = [
        (first(item, "StudyInstanceUID"), first(item, "SeriesInstanceUID"))
        for item in items(attributes, "InputInformationSequence")
    ]
    series = list(dict.fromkeys(series))
    if len(series) != 1 or not all(isinstance(uid, str) and is_valid_uid(uid) for uid in series[0]):
        raise BadRequest("InputInformationSequence must name one series, with its study, for this work")
    study_instance_uid, series_instance_uid = series[0]
    return kind, {
        **inputs,
        "study_instance_uid": study_instance_uid,
        "series_instance_uid": series_instance_uid,
        **_parameters(attributes),
    }


def _parameters(attributes: Attributes) -> dict[str, Any]:
    """Return ``version``, ``regions`` and ``options`` out of Scheduled Processing Parameters Sequence."""
    parameters: dict[str, Any] = {}
    regions: list[list[float]] = []
    for item in items(attributes, "ScheduledProcessingParametersSequence"):
        names = [read_code(name)[:2] for name in items(item, "ConceptNameCodeSequence")]
        text = str(first(item, "TextValue") or "")
        if (VERSION.value, VERSION.scheme_designator) in names:
            parameters["version"] = text
        elif (PARAMETERS.value, PARAMETERS.scheme_designator) in names:
            parameters["options"] = _options(text)
        elif (REGION.value, REGION.scheme_designator) in names:
            regions.append(_region(text))
    if len(regions) > _MAX_REGIONS:
        raise BadRequest(f"a work item has at most {_MAX_REGIONS} regions")
    return parameters | ({"regions": regions} if regions else {})


def _region(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.strip(" []").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(abs(number) < 1e9 for number in numbers):
        raise BadRequest("a region is column, row, width, height in pixels of the total pixel matrix")
    return [int(number) if number.is_integer() else number for number in numbers]


def _options(text: str) -> dict[str, Any]:
    try:
        options = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict) or "\\u0000" in text:
        raise BadRequest("algorithm parameters (111002, DCM) are a JSON object")
    return options
