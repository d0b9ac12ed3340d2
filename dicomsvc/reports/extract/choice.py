"""Choices: one word of a value set, found by the options' own wordings.

Where the field has wordings itself (a checklist's label), an option near behind one counts most. With ``label = true``
in the table, options count nowhere else. With ``plain = true`` they are codes that nothing denies ("not seen (M0)").
"""

from bisect import bisect_right
from collections.abc import Iterator

from dicomsvc.reports.extract.assertion import asserted
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field, Option
from dicomsvc.reports.text.wording import compiled
from dicomsvc.reports.values import Assertion, FieldValue

RULE = "choice/1"
NEAR = 60
"""How many characters behind its label an answer may begin."""


def find_choice(reading: Reading, field: Field) -> Iterator[FieldValue]:
    """Yield every option that is named and not denied."""
    labels = [match.end() for match in field.pattern(reading.language).finditer(reading.text)]
    only_labelled = bool(field.settings.get("label", False))
    plain = bool(field.settings.get("plain", False))
    for option in field.options:
        for match in compiled(option.wording.get(reading.language, ())).finditer(reading.text):
            if not reading.weight_at(match.start()):
                continue
            nearest = bisect_right(labels, match.start()) - 1
            labelled = nearest >= 0 and match.start() - labels[nearest] <= NEAR
            if only_labelled and not labelled:
                continue
            if plain or asserted(reading, match.start(), match.end()).assertion is not Assertion.ABSENT:
                yield chosen(reading, field, option, match.start(), match.end(), 0.97 if labelled else 0.85)


def chosen(reading: Reading, field: Field, option: Option, start: int, end: int, confidence: float) -> FieldValue:
    """Return the value for ``option``, named at ``text[start:end]``."""
    evidence = reading.evidence(start, end)
    return FieldValue(
        field=field.id,
        value=option.value,
        evidence=(evidence,),
        raw=reading.raw(evidence),
        code=option.concept.coding if option.concept else None,
        part=reading.label_at(start),
        confidence=confidence,
        rule=RULE,
    )
