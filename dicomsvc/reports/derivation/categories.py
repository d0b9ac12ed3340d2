"""pT from size or depth and pN from counts (AJCC), where the report leaves them out or says them less exactly.

A stated category of the same edition is never overruled: where the rule comes to another one, the stated one is marked
as a conflict.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from dicomsvc.reports.derivation.case import Case, case_of, upto, with_derived
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.wording import searcher
from dicomsvc.reports.values import FieldValue, Status

_MICROMETASTASIS = searcher(r"micro[ '\-]{0,2}me[t'\-]{1,2}a?sta|n1[ ]?\(?mi|微转移")
_MACROMETASTASIS = searcher(r"macro[ \-]{0,2}metasta|宏转移")
_DEPOSIT = searcher(
    r"(?:largest|greatest|maximum)[^.;:]{0,30}\b(?:focus|foci|deposit|metastas[ei]s|metastatic \w+)\b[^.;\d]{0,40}"
    r"(?P<size>\d{1,2}(?:\.\d{1,2})?)[ ]?(?P<unit>mm|cm)\b"
)
_ISOLATED = searcher(r"isolated tumou?r cells?|\bitcs?\b|\(i\+\)|孤立肿瘤细胞")
_DENIED_BEFORE = re.compile(r"\b(?:no|not|without|negative for|or)\b[^.;:]{0,20}$|[未无][^，。；]{0,4}$")
_NOUGHT_AFTER = re.compile(
    r"[a-z]{0,5}[^:.;]{0,35}[:=](?![ ]{0,2}(?:[1-9]|one\b|two\b|three\b|present|yes|positive|identified|\())|[ ]?\(?无"
)
_INVASIVE = searcher(r"\b(?:invasive|infiltrating|microinvasi\w+)\b|浸润性")
_BEYOND_SIZE = searcher(
    r"inflammatory (?:breast )?carcinoma|ulcerat\w+ (?:of )?(?:the )?skin|skin (?:is )?ulcerat|satellite|peau d'orange"
    r"|chest wall (?:is )?(?:involv|inva)|炎性乳腺癌|侵及胸壁|皮肤溃疡|卫星结节"
)
_KIDNEY_T3A = ("perinephric_invasion", "renal_sinus_invasion", "renal_vein_invasion", "collecting_system_invasion")
_KIDNEY_T4 = ("gerota_fascia_invasion", "adrenal_invasion")
_KIDNEY_CONFINED = searcher(r"(?:limited|confined) to (?:the )?kidney|organ[ \-]confined|局限于肾")


def categories_from_findings(reading: Reading, values: Sequence[FieldValue]) -> list[FieldValue]:
    """Return ``values`` with pT and pN as they follow from what was found.

    Categories of an edition before those of the tables are restaged; what was stated is kept in the qualifiers.
    """
    case = case_of(reading, values)
    return list(values) if case is None else _pn_from_counts(reading, case, _pt_from_extent(reading, case, values))


def _pn_from_counts(reading: Reading, case: Case, values: Sequence[FieldValue]) -> list[FieldValue]:
    """Return ``values`` with pN by the number of positive nodes."""
    if "pn_by_positive" not in case.table:
        return list(values)
    positive, examined = case.number("lymph_nodes_positive"), case.number("lymph_nodes_examined")
    if positive is None or (examined is not None and positive > examined):
        return list(values)
    category = upto(case.table["pn_by_positive"], positive)
    if category is None or (positive == 0 and not examined):
        return list(values)
    if case.organ == "breast" and positive:
        category = _of_deposits(reading, category, positive)
    sources = ("lymph_nodes_positive", "lymph_nodes_examined")
    return _stated_or_derived(case, values, "pn_category", category, case.rule("pn_from_counts"), sources)


def _of_deposits(reading: Reading, category: str, positive: float) -> str | None:
    """Return the category by the size of the deposits; None where the report leaves it open."""
    largest = _largest_deposit_mm(reading)
    if largest is not None:
        return category if largest > 2 else "n1mi" if largest > 0.2 and positive <= 3 else None
    if _said(reading, _MICROMETASTASIS) and not _said(reading, _MACROMETASTASIS):
        return "n1mi" if positive == 1 else category[:2] if positive <= 3 else category
    if _said(reading, _ISOLATED) and positive <= 3:
        return None
    return category


def _largest_deposit_mm(reading: Reading) -> float | None:
    sizes = [float(match["size"]) * (10 if match["unit"] == "cm" else 1) for match in _DEPOSIT.finditer(reading.text)]
    return max(sizes, default=None)


def _said(reading: Reading, pattern: re.Pattern[str]) -> bool:
    """Whether something is said to be there: not denied, and not counted as nought in a checklist."""
    for match in pattern.finditer(reading.text):
        before = reading.text[max(0, match.start() - 25) : match.start()]
        after = reading.text[match.end() : match.end() + 45]
        if not _DENIED_BEFORE.search(before) and not _NOUGHT_AFTER.match(after):
            return True
    return False


def _pt_from_extent(reading: Reading, case: Case, values: Sequence[FieldValue]) -> list[FieldValue]:
    """Return ``values`` with pT by size (breast, kidney) or by depth of invasion (the gut)."""
    if "pt_by_depth" in case.table:
        category = case.table["pt_by_depth"].get(case.word("invasion_depth"))
        return _stated_or_derived(
            case, values, "pt_category", category, case.rule("pt_from_depth"), ("invasion_depth",)
        )
    size = case.number("tumor_size_mm")
    if "pt_by_size_mm" not in case.table or size is None:
        return list(values)
    category = upto(case.table["pt_by_size_mm"], size)
    sources: tuple[str, ...] = ("tumor_size_mm",)
    if case.organ == "kidney":
        category, sources = _of_kidney(reading, case, category)
    elif not _told_by_size(reading, category):
        category = None
    return _stated_or_derived(case, values, "pt_category", category, case.rule("pt_from_size"), sources)


def _told_by_size(reading: Reading, category: str | None) -> bool:
    """Whether a breast tumour's size tells its pT: it is invasive, and nothing speaks for T4."""
    if category == "t1mi" and "microinva" not in reading.text:
        return False
    return _INVASIVE.search(reading.text) is not None and not _BEYOND_SIZE.search(reading.text)


def _of_kidney(reading: Reading, case: Case, by_size: str | None) -> tuple[str | None, tuple[str, ...]]:
    """Return pT of a kidney tumour; its size alone tells it only where the report says that it keeps to the kidney."""
    if any(case.word(field) == "present" for field in _KIDNEY_T4):
        return None, ()
    if case.word("vena_cava_invasion") == "present":
        return None, ()
    spread = tuple(field for field in _KIDNEY_T3A if case.word(field) == "present")
    if spread:
        return "t3a", spread
    absent = [field for field in _KIDNEY_T3A[:3] if case.word(field) == "absent"]
    confined = _KIDNEY_CONFINED.search(reading.text) is not None
    return (by_size, ("tumor_size_mm", *absent)) if confined or len(absent) >= 2 else (None, ())


def _stated_or_derived(
    case: Case, values: Sequence[FieldValue], field: str, category: str | None, rule: str, sources: Sequence[str]
) -> list[FieldValue]:
    stated = case.values.get(field)
    if category is None:
        return list(values)
    if stated is not None and not _finer(stated, category) and not (case.restaged and category != stated.value):
        return _checked(values, stated, category, rule)
    used = [case.values[source] for source in sources if source in case.values]
    places = [*(stated.evidence[:1] if stated else ()), *(place for value in used for place in value.evidence)]
    derived = FieldValue(
        field=field,
        value=category,
        status=Status.DERIVED,
        evidence=tuple(dict.fromkeys(places))[:6],
        raw=stated.raw if stated else " … ".join(dict.fromkeys(value.raw for value in used)),
        confidence=min((value.confidence for value in used), default=0.8) * 0.95,
        rule=rule,
        qualifiers={**stated.qualifiers, "stated": str(stated.value)} if stated else {},
    )
    return with_derived(values, derived)


def _finer(stated: FieldValue, category: str) -> bool:
    """Whether ``category`` says the same as the stated one, more exactly."""
    return category != stated.value and category.startswith(str(stated.value))


def _checked(values: Sequence[FieldValue], stated: FieldValue, category: str, rule: str) -> list[FieldValue]:
    """Return ``values`` with the stated category marked where the rule comes to another one."""
    same = _major(str(stated.value)) == _major(category)
    if same or rule.startswith("pt") or str(stated.value).endswith("x") or "descriptor" in stated.qualifiers:
        return list(values)
    marked = replace(
        stated, status=Status.CONFLICT, qualifiers={**stated.qualifiers, "by_rule": category, "rule": rule}
    )
    return with_derived(values, marked)


def _major(category: str) -> str:
    return re.sub(r"(?<=\d).*$", "", category)
