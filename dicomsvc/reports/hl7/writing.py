"""A structured report as ORU^R01: its text, then one OBX a value, with the words it comes from (HL7 v2.5.1 7.3.1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from dicomsvc.hl7.acknowledge import escaped
from dicomsvc.hl7.message import Separators
from dicomsvc.reports import coded
from dicomsvc.reports.case import ReportCase
from dicomsvc.reports.intake.received import ReportStatus
from dicomsvc.reports.schema import SYSTEMS
from dicomsvc.reports.values import Coding, FieldValue, Status, StructuredReport

LOCAL_SCHEME: Final = "L"
"""HL7 table 0396 for codes that are the sender's own: our field names."""
_USE: Final = Separators()
_MARKS: Final = "^~\\&"
_CHARSET: Final = "UNICODE UTF-8"
_VERSION: Final = "2.5.1"
_SCHEMES: Final = {uri: name for name, uri in SYSTEMS.items()}
_STATUSES: Final = {
    ReportStatus.PRELIMINARY: "P", ReportStatus.FINAL: "F", ReportStatus.CORRECTED: "C", ReportStatus.CANCELLED: "X",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Route:
    """Who sends to whom: MSH-3 to MSH-6, each plain text; ``processing_id`` is P, T or D."""

    sending_application: str = "DICOMSVC"
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    processing_id: str = "P"


def oru_message(
    report: StructuredReport, case: ReportCase, route: Route, control_id: str, now: datetime | None = None
) -> bytes:
    """Return the message in UTF-8, segments ended by carriage returns, without MLLP's frame.

    Text and values are preliminary (P) until the fields are signed off; a cancelled report has none (OBR-25 X).
    """
    segments = [
        _header(route, control_id, now or datetime.now(UTC)),
        _patient(case),
        _order(case),
        *_observations(report, case),
    ]
    return "".join(_USE.field.join(segment).rstrip(_USE.field) + "\r" for segment in segments).encode()


def _header(route: Route, control_id: str, now: datetime) -> list[str]:
    who = (route.sending_application, route.sending_facility, route.receiving_application, route.receiving_facility)
    fields = ["MSH", _MARKS, *map(_plain, who), _time(now), "", "ORU^R01^ORU_R01", _plain(control_id)]
    return [*fields, _plain(route.processing_id), _VERSION, "", "", "", "", "", _CHARSET]


def _patient(case: ReportCase) -> list[str]:
    number = _components(case.patient_id, "", "", case.issuer_of_patient_id, "MR") if case.patient_id else ""
    group = next((each for each in case.patient_name.split("=") if each.strip("^ ")), "")
    return ["PID", "1", "", number, "", _components(*group.split("^"))]


def _order(case: ReportCase) -> list[str]:
    """Return OBR; its fields 22 (time) and 25 (status) stand where the standard has them."""
    fields = [""] * 26
    fields[0:5] = ["OBR", "1", _plain(case.placer_order_number), _plain(case.report_id), "11526-1^Pathology study^LN"]
    fields[18] = _plain(case.accession_number)
    fields[22] = _time(case.reported or case.structured)
    fields[25] = _status(case)
    return fields


def _status(case: ReportCase) -> str:
    if case.status is ReportStatus.CANCELLED or case.is_final:
        return _STATUSES[case.status]
    return "P"


def _observations(report: StructuredReport, case: ReportCase) -> Iterator[list[str]]:
    if case.status is ReportStatus.CANCELLED:
        return
    status, number = _status(case), 1
    yield _observed(number, "FT", "11526-1^Pathology study^LN", "", _plain(report.text), status)
    for value in report.values:
        if value.value is None or value.status is Status.NOT_STATED:
            continue
        number += 1
        kind, said, unit = _said(value, report.quality.language)
        segment = _observed(number, kind, _question(value, report.quality.language), value.part or "", said, status)
        segment[6] = unit
        segment += [""] * (18 - len(segment))
        segment[17] = _components(value.rule, "", LOCAL_SCHEME) if value.rule else ""
        yield segment
        yield from _notes(report, value)


def _observed(number: int, kind: str, question: str, part: str, said: str, status: str) -> list[str]:
    return ["OBX", str(number), kind, question, _plain(part), said, "", "", "", "", "", status]


def _question(value: FieldValue, language: str) -> str:
    """Return the code where it is verified, and our own name of the field as the alternate."""
    words = coded.title(value.field, language)
    code = coded.question(value.field)
    own = (value.field, words, LOCAL_SCHEME)
    return _components(code.code, code.display, _scheme(code), *own) if code is not None else _components(*own)


def _said(value: FieldValue, language: str) -> tuple[str, str, str]:
    """Return value type, value and unit (OBX-2, OBX-5, OBX-6)."""
    number = coded.number(value)
    if number is not None:
        unit = _components(value.unit, "", "UCUM") if value.unit else ""
        return "NM", str(number), unit
    words, code = coded.answer_text(value, language), coded.answer(value)
    own = (str(value.value), words, LOCAL_SCHEME)
    if code is not None:
        return "CWE", _components(code.code, code.display, _scheme(code), *own), ""
    return ("CWE", _components(*own), "") if coded.is_word(value) else ("ST", _plain(words), "")


def _notes(report: StructuredReport, value: FieldValue) -> Iterator[list[str]]:
    """Yield comments: how the value came to be, what else is said, and each place of the text with its words."""
    details = [f"status={value.status.value}", f"assertion={value.assertion.value}"]
    details += [f"{key}={said}" for key, said in sorted(value.qualifiers.items())]
    yield ["NTE", "1", "", _plain("; ".join(details))]
    for number, place in enumerate(value.evidence, 2):
        words = report.text[place.start : place.end]
        yield ["NTE", str(number), "", _plain(f"evidence {place.start}-{place.end}: {words}")]


def _components(*parts: str) -> str:
    return _USE.component.join(map(_plain, parts)).rstrip(_USE.component)


def _plain(text: str) -> str:
    return escaped(text, _USE)


def _scheme(code: Coding) -> str:
    return _SCHEMES.get(code.system, LOCAL_SCHEME)


def _time(when: datetime) -> str:
    return when.strftime("%Y%m%d%H%M%S%z")
