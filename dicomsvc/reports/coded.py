"""What a value asks and answers, in codes where they are verified and in words always: for all ways out."""

import re
from collections.abc import Mapping
from typing import Final

from dicomsvc.reports.schema import SYSTEMS, fields
from dicomsvc.reports.values import Coding, FieldValue

_SCT: Final = SYSTEMS["SCT"]
_COMMON: Final[Mapping[object, Coding]] = {
    # PS3.16 CID 240 and 241 (present, absent), CID 250 (positive, negative), CID 4220 (indeterminate).
    "present": Coding(_SCT, "52101004", "Present"),
    "absent": Coding(_SCT, "272519000", "Absent"),
    "positive": Coding(_SCT, "10828004", "Positive"),
    "negative": Coding(_SCT, "260385009", "Negative"),
    "indeterminate": Coding(_SCT, "82334004", "Indeterminate"),
}
_WORD: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_WORDS: Final = {
    "present": {"en": "Present", "zh": "有"},
    "absent": {"en": "Absent", "zh": "无"},
    "positive": {"en": "Positive", "zh": "阳性"},
    "negative": {"en": "Negative", "zh": "阴性"},
    "indeterminate": {"en": "Indeterminate", "zh": "不确定"},
}


def title(field_id: str, language: str = "en") -> str:
    """Return what the field is called; a field of another version's tables by its id."""
    field = fields().get(field_id)
    return field.title[_known(language)] if field is not None else field_id.replace("_", " ")


def question(field_id: str) -> Coding | None:
    """Return the field's concept where its code is verified."""
    field = fields().get(field_id)
    return field.concept.coding if field is not None and field.concept is not None else None


def answer(value: FieldValue) -> Coding | None:
    """Return the code of the value where it is verified: its own, its option's, or that of a common word."""
    if value.code is not None:
        return value.code
    field = fields().get(value.field)
    option = field.option(value.value) if field is not None else None
    if option is not None and option.concept is not None and option.concept.coding is not None:
        return option.concept.coding
    return _COMMON.get(value.value) if isinstance(value.value, str) else None


def answer_text(value: FieldValue, language: str = "en") -> str:
    """Return the value in words: its option's title, else itself as people write it ("T1b")."""
    field = fields().get(value.field)
    option = field.option(value.value) if field is not None else None
    if option is not None:
        return option.title[_known(language)]
    if not isinstance(value.value, str):
        return str(value.value)
    if value.value in _WORDS:
        return _WORDS[value.value][_known(language)]
    if field is not None and field.kind == "tnm":
        return value.value[:1].upper() + value.value[1:]
    return value.value.replace("_", " ") if _WORD.fullmatch(value.value) else value.value


def number(value: FieldValue) -> float | int | None:
    """Return the value where it is a number."""
    return value.value if isinstance(value.value, int | float) and not isinstance(value.value, bool) else None


def is_word(value: FieldValue) -> bool:
    """Whether the value is one of a value set, not free text."""
    field = fields().get(value.field)
    return isinstance(value.value, str) and (
        value.value in _WORDS or (field is not None and field.option(value.value) is not None)
    )


def _known(language: str) -> str:
    return "zh" if language == "zh" else "en"
