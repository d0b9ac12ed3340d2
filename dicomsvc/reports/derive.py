"""Values that follow from stated ones by a rule; each names its rule and edition (`RULES`)."""

from collections.abc import Callable, Iterable, Sequence

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.values import FieldValue

Rule = Callable[[Reading, Sequence[FieldValue]], Iterable[FieldValue]]

RULES: tuple[Rule, ...] = ()


def derived(reading: Reading, values: Sequence[FieldValue]) -> list[FieldValue]:
    """Return ``values`` and what follows from them, rule after rule; later rules see what earlier ones gave."""
    known = list(values)
    for rule in RULES:
        known.extend(rule(reading, known))
    return known
