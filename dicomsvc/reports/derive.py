"""Values that follow from stated ones by a rule; each names its rule and edition (`RULES`)."""

from collections.abc import Callable, Sequence

from dicomsvc.reports.derivation.categories import categories_from_findings
from dicomsvc.reports.derivation.stage import stage_from_tnm
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.values import FieldValue

Rule = Callable[[Reading, Sequence[FieldValue]], list[FieldValue]]

RULES: tuple[Rule, ...] = (categories_from_findings, stage_from_tnm)


def derived(reading: Reading, values: Sequence[FieldValue]) -> list[FieldValue]:
    """Return ``values`` with what follows from them, rule after rule; later rules see what earlier ones gave."""
    known = list(values)
    for rule in RULES:
        known = rule(reading, known)
    return known
