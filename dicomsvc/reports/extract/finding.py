"""Findings that are present or absent: named by the field's wording, decided by the clause around it.

Settings of a field: ``bare = false`` (or by language, ``{ en = true, zh = false }``) where a mention that decides
nothing is none; ``unless`` wordings by language, within which the field's own name something else.
"""

from collections.abc import Iterator
from itertools import islice

from dicomsvc.reports.extract.assertion import asserted
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.text.wording import compiled
from dicomsvc.reports.values import Assertion, FieldValue, Status

RULE = "finding/1"
MOST = 300
"""Mentions of one finding that are looked at; no report has as many."""
NAME = 12
"""How far, in characters, another name may reach beyond the finding's on either side."""
_CONFIDENCE = {"answer": 0.98, "prose": 0.95, "bare": 0.7}


def find_finding(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield ``present`` or ``absent`` for each mention; a mention that decides nothing only where ``bare`` is set."""
    bare = field.settings.get("bare", True)
    bare_counts = bare[reading.language] if isinstance(bare, dict) else bare
    for match in islice(field.pattern(reading.language).finditer(reading.text), MOST):
        if not reading.weight_at(match.start()) or _means_other(reading, field, match.start(), match.end()):
            continue
        said = asserted(reading, match.start(), match.end())
        if said.assertion is None or (said.form == "bare" and not bare_counts):
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


def _means_other(reading: Reading, field: Field, start: int, end: int) -> bool:
    """Whether the words at ``[start, end)`` are part of another name: 血管 in 微血管侵犯, 神经 in 神经内分泌癌."""
    others = field.settings.get("unless", {}).get(reading.language)
    if not others:
        return False
    begin = max(0, start - NAME)
    found = compiled(others).finditer(reading.text, begin, end + NAME)
    return any(match.start() < end and match.end() > start for match in found)
