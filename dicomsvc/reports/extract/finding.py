"""Findings that are present or absent: named by the field's wording, decided by the clause around it.

Settings of a field: ``bare = false`` (or by language, ``{ en = true, zh = false }``) where a mention that decides
nothing is none; ``unless`` wordings by language, within which the field's own name something else; ``answered``
wordings by language that name the finding only as a checklist's label ("Lymphatics: involved"); ``codes`` the letters
that code it beside TNM categories.
"""

import re
from collections.abc import Iterator
from itertools import islice

from dicomsvc.reports.extract.assertion import Asserted, asserted
from dicomsvc.reports.extract.invasion_codes import invasion_codes
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import compiled
from dicomsvc.reports.values import Assertion, FieldValue, Status

RULE = "finding/1"
MOST = 300
"""Mentions of one finding that are looked at; no report has as many."""
NAME = 12
"""How far, in characters, another name may reach beyond the finding's on either side."""
_TWO = re.compile(r"[a-z][^.]*[.]\s+[A-Z][a-z]")
"""A name from the midst of one sentence into the next ("free of tumour. Necrosis is")."""
_CONFIDENCE = {"answer": 0.98, "prose": 0.95, "bare": 0.7, "code": 0.95}


def find_finding(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield ``present`` or ``absent`` for each mention; a mention that decides nothing only where ``bare`` is set."""
    bare = field.settings.get("bare", True)
    bare_counts = bare[reading.language] if isinstance(bare, dict) else bare
    for match in islice(field.pattern(reading.language).finditer(reading.text), MOST):
        if not reading.weight_at(match.start()) or _means_other(reading, field, match.start(), match.end()):
            continue
        if _TWO.match(reading.original, match.start(), match.end()):
            continue
        said = asserted(reading, match.start(), match.end())
        if said.assertion is not None and (said.form != "bare" or bare_counts):
            yield _value(reading, field, said)
    yield from _answered(reading, field)
    yield from _coded(reading, field)


def _answered(reading: Reading, field: Field) -> Iterator[FieldValue]:
    names = compiled(field.settings.get("answered", {}).get(reading.language, ()))
    for match in islice(names.finditer(reading.text), MOST):
        if not reading.weight_at(match.start()) or _means_other(reading, field, match.start(), match.end()):
            continue
        if _TWO.match(reading.original, match.start(), match.end()):
            continue
        said = asserted(reading, match.start(), match.end())
        if said.assertion is not None and said.form == "answer":
            yield _value(reading, field, said)


def _coded(reading: Reading, field: Field) -> Iterator[FieldValue]:
    letters = field.settings.get("codes", ())
    for code in reading.once(invasion_codes) if letters else ():
        if code.letters in letters and reading.weight_at(code.start):
            assertion = Assertion.PRESENT if code.present else Assertion.ABSENT
            yield _value(reading, field, Asserted(assertion, code.start, code.end, "code"))


def _value(reading: Reading, field: Field, said: Asserted) -> FieldValue:
    evidence = reading.evidence(said.start, said.end)
    absent = said.assertion is Assertion.ABSENT
    return FieldValue(
        field=field.id,
        value=Assertion.ABSENT.value if absent else Assertion.PRESENT.value,
        status=Status.UNCERTAIN if said.assertion is Assertion.INDETERMINATE else Status.STATED,
        assertion=said.assertion or Assertion.PRESENT,
        evidence=(evidence,),
        raw=reading.raw(evidence),
        part=reading.label_at(said.start),
        confidence=_CONFIDENCE[said.form],
        rule=RULE,
    )


def _means_other(reading: Reading, field: Field, start: int, end: int) -> bool:
    """Whether the words at ``[start, end)`` are part of another name: 血管 in 微血管侵犯, 神经 in 神经内分泌癌."""
    others = field.settings.get("unless", {}).get(reading.language)
    if not others:
        return False
    begin = max(0, start - NAME)
    found = compiled(others).finditer(reading.text, begin, end + NAME)
    return any(match.start() < end and match.end() > start for match in found)
