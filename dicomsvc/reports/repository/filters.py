"""Filters on fields as people write them: ``positive``, ``>20``, ``10..20``, ``T2,T3``, ``!=absent``, ``~lobular``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, func, or_, select

from dicomsvc.errors import BadRequest
from dicomsvc.reports.repository.records import ValueReview
from dicomsvc.reports.repository.tables import report, report_value
from dicomsvc.reports.values import Assertion

_c = report_value.c
_NAME: Final = re.compile(r"[a-z0-9_]{1,64}")
_NUMBER: Final = r"-?\d{1,12}(?:\.\d{1,9})?"
_COMPARED: Final = re.compile(rf"(>=|<=|>|<)\s*({_NUMBER})")
_RANGE: Final = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")
_MOST_WORDS: Final = 50


class Operator(StrEnum):
    """How a value is compared."""

    ANY = "*"
    NONE = "-"
    IS = "="
    IS_NOT = "!="
    CONTAINS = "~"
    ABOVE = ">"
    FROM = ">="
    BELOW = "<"
    TO = "<="
    BETWEEN = ".."


@dataclass(frozen=True, slots=True)
class FieldFilter:
    """A condition on the values of one field; ``words`` or ``numbers`` are compared with, as the operator needs."""

    field: str
    operator: Operator
    words: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()


def parse_filter(name: str, said: str) -> FieldFilter:
    """Return the filter that is written as ``said``.

    ``*`` any value, ``-`` no value at all, ``a,b`` one of these, ``!=a`` any other (and some value), ``~a`` contains,
    ``>20``, ``>=20``, ``<20``, ``<=20``, ``10..20`` numbers.

    Raises
    ------
    BadRequest
        When it is not understood.
    """
    if _NAME.fullmatch(name) is None:
        raise BadRequest("a field's name has small letters, digits and underscores only")
    said = said.strip()
    if said in (Operator.ANY, Operator.NONE):
        return FieldFilter(name, Operator(said))
    if compared := _COMPARED.fullmatch(said):
        return FieldFilter(name, Operator(compared[1]), numbers=(float(compared[2]),))
    if limits := _RANGE.fullmatch(said):
        return FieldFilter(name, Operator.BETWEEN, numbers=(float(limits[1]), float(limits[2])))
    if said[:1] in "<>":
        raise BadRequest(f"the filter on {name} compares with something that is no number")
    if said.startswith("~"):
        return FieldFilter(name, Operator.CONTAINS, (_some(name, said[1:]),))
    operator = Operator.IS_NOT if said.startswith("!=") else Operator.IS
    words = [_some(name, word) for word in said.removeprefix("!=").removeprefix("=").split(",")]
    if len(words) > _MOST_WORDS:
        raise BadRequest(f"the filter on {name} has more than {_MOST_WORDS} words")
    return FieldFilter(name, operator, tuple(words))


def condition(wanted: FieldFilter) -> ColumnElement[bool]:
    """Return what a report must fulfil.

    A value counts for the case or for any of its parts; what the report tells of the past, and what a person has
    removed, does not.
    """
    holding = and_(
        _c.report == report.c.id,
        _c.field == wanted.field,
        _c.review != ValueReview.REMOVED,
        _c.assertion != Assertion.HISTORICAL,
        _c.value_text.is_not(None),
    )
    if wanted.operator is Operator.NONE:
        return ~select(_c.report).where(holding).exists()
    if wanted.operator is Operator.ANY:
        return select(_c.report).where(holding).exists()
    return select(_c.report).where(holding, _compared(wanted)).exists()


def _compared(wanted: FieldFilter) -> ColumnElement[bool]:
    text, number = func.lower(func.left(_c.value_text, 200)), _c.value_number
    words = [word.lower() for word in wanted.words]
    by_number: Mapping[Operator, Any] = {
        Operator.ABOVE: number.__gt__,
        Operator.FROM: number.__ge__,
        Operator.BELOW: number.__lt__,
        Operator.TO: number.__le__,
    }
    match wanted.operator:
        case Operator.IS:
            return or_(text.in_(words), number.in_(_numbers(words)))
        case Operator.IS_NOT:
            return and_(text.not_in(words), or_(number.is_(None), number.not_in(_numbers(words))))
        case Operator.CONTAINS:
            return func.lower(_c.value_text).contains(words[0], autoescape=True)
        case Operator.BETWEEN:
            low, high = wanted.numbers
            return number.between(low, high)
        case _:
            compared: ColumnElement[bool] = by_number[wanted.operator](wanted.numbers[0])
            return compared


def _some(name: str, word: str) -> str:
    word = word.strip()
    if not word or "\0" in word or len(word) > 200:
        raise BadRequest(f"the filter on {name} has an empty or too long word")
    return word


def _numbers(words: list[str]) -> list[float]:
    return [float(word) for word in words if re.fullmatch(_NUMBER, word)]
