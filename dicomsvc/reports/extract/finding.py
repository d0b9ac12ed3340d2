"""Findings that are present or absent: named by the field's wording, decided by the clause around it."""

from collections.abc import Iterator

from dicomsvc.reports.extract.assertion import asserted
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.values import Assertion, FieldValue, Status

RULE = "finding/1"
_CONFIDENCE = {"answer": 0.98, "prose": 0.95, "bare": 0.7}


def find_finding(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield ``present`` or ``absent`` for each mention; a mention that decides nothing only where ``bare`` is set."""
    for match in field.pattern(reading.language).finditer(reading.text):
        if not reading.weight_at(match.start()):
            continue
        said = asserted(reading, match.start(), match.end())
        if said.assertion is None or (said.form == "bare" and not field.settings.get("bare", True)):
            continue
        evidence = reading.evidence(said.start, said.end)
        absent = said.assertion is Assertion.ABSENT
        yield FieldValue(
            field=field.id,
            value=Assertion.ABSENT.value if absent else Assertion.PRESENT.value,
            status=Status.UNCERTAIN if said.assertion is Assertion.INDETERMINATE else Status.STATED,
            assertion=said.assertion,
            evidence=(evidence,),
            raw=reading.raw(evidence),
            part=reading.label_at(match.start()),
            confidence=_CONFIDENCE[said.form],
            rule=RULE,
        )
