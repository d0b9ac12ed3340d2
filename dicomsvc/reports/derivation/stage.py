"""The stage group from T, N and M (AJCC), where the report states none.

M must be stated: a group is not guessed from a distant spread that nobody spoke of.
"""

from collections.abc import Sequence

from dicomsvc.reports.derivation.case import Case, case_of, with_derived
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.values import FieldValue, Status

_AXES = ("pt_category", "pn_category", "pm_category")


def stage_from_tnm(reading: Reading, values: Sequence[FieldValue]) -> list[FieldValue]:
    """Return ``values`` with the stage group (of breast, the anatomic one)."""
    case = case_of(reading, values)
    if case is None or "stage_group" in case.values or "stages" not in case.table:
        return list(values)
    if case.edition not in case.table.get("stage_editions", case.table["editions"]):
        return list(values)
    group = _group(case)
    used = [case.values[axis] for axis in _AXES if axis in case.values]
    if group is None or any("descriptor" in value.qualifiers for value in used):
        return list(values)
    name = "anatomic_stage_from_tnm" if case.organ == "breast" else "stage_from_tnm"
    derived = FieldValue(
        field="stage_group",
        value=group.upper(),
        status=Status.DERIVED,
        evidence=tuple(dict.fromkeys(place for value in used for place in value.evidence[:2])),
        raw=" ".join(dict.fromkeys(value.raw for value in used)),
        confidence=min(value.confidence for value in used) * 0.95,
        rule=case.rule(name),
    )
    return with_derived(values, derived)


def _group(case: Case) -> str | None:
    t, n, m = (case.word(axis) for axis in _AXES)
    if m is None or m == "mx":
        return None
    if m.startswith("m1"):
        return next((group for wanted, group in case.table["metastatic"].items() if m.startswith(wanted)), None)
    if t is None or n is None:
        return None
    for tumours, nodes, group in case.table["stages"]:
        if any(t.startswith(wanted) for wanted in tumours) and any(n.startswith(wanted) for wanted in nodes):
            return str(group)
    return None
