"""People in a message: the patient's identifier, and names as DICOM has them (HL7 v2.5.1 2.A.14, 2.A.88, 2.A.89)."""

from typing import Final

from dicomsvc.hl7.message import Segment

_GROUPS: Final = {"A": 0, "I": 1, "P": 2}
_NOT_IN_A_COMPONENT: Final = str.maketrans(dict.fromkeys("^=\\\r\n\t", " "))


def patient_identifier(segment: Segment | None) -> tuple[str, str]:
    """Return the medical record number of PID-3 with its issuer, or the first identifier of the patient."""
    if segment is None:
        return "", ""
    identifiers = segment.repetitions(3) or segment.repetitions(2)
    numbers = [each for each in identifiers if segment.component(3, 5, of=each) in ("MR", "PI", "PT")]
    chosen = next(iter(numbers or identifiers), "")
    return segment.component(3, 1, of=chosen), segment.component(3, 4, of=chosen)


def person_name(segment: Segment | None, number: int) -> str:
    """Return a field of type XPN as a value of PN (PS3.5 6.2.1).

    Repetitions are component groups where their name representation code (alphabetic, ideographic, phonetic) says so.
    Otherwise the first one is the name.
    """
    groups = ["", "", ""]
    for repetition in segment.repetitions(number) if segment is not None else ():
        assert segment is not None
        place = _GROUPS.get(segment.component(number, 8, of=repetition), 0)
        if not groups[place]:
            groups[place] = _name(segment, number, repetition, first=1)
    return "=".join(groups).rstrip("=")


def provider_name(segment: Segment | None, number: int) -> str:
    """Return the first name in a field of type XCN as a value of PN."""
    if segment is None:
        return ""
    return next((_name(segment, number, repetition, first=2) for repetition in segment.repetitions(number)), "")


def _name(segment: Segment, number: int, repetition: str, *, first: int) -> str:
    family, given, middle, suffix, prefix = (
        segment.component(number, part, of=repetition).translate(_NOT_IN_A_COMPONENT).strip()
        for part in range(first, first + 5)
    )
    return "^".join((family, given, middle, prefix, suffix)).rstrip("^")
