"""What people say of a report's values: accepted, corrected, added, removed; and the report signed.

Nothing that was said is ever changed or lost: each action is a row of its own, with the value before and after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select, update

from dicomsvc.errors import BadRequest, Conflict, NotFound, PreconditionFailed
from dicomsvc.reports.repository.reading import columns_of
from dicomsvc.reports.repository.records import Review, State, ValueReview
from dicomsvc.reports.repository.storable import storable
from dicomsvc.reports.repository.tables import report, report_review, report_value, report_version
from dicomsvc.reports.values import Assertion, Status
from dicomsvc.store.tables import audit

_r, _value = report.c, report_value.c
_LONGEST_VALUE: Final = 2000
# Qualifiers that say of what a value is, not what it is.
_NAMING: Final = ("margin", "station", "marker", "lesion", "system")
_LARGEST_NUMBER: Final = 1e9


class Act(StrEnum):
    """What a person does."""

    ACCEPT = "accept"
    CORRECT = "correct"
    ADD = "add"
    REMOVE = "remove"
    ACCEPT_ALL = "accept_all"
    """Accept all values that nobody has looked at yet."""
    SIGN = "sign"
    REOPEN = "reopen"


@dataclass(frozen=True, slots=True)
class Action:
    """One action; ``ordinal`` is the number of the value, ``value`` the right one, ``evidence`` where it stands.

    A value that is corrected keeps the qualifiers that say of what it is (which margin, which station); others, such as
    a percentage, are those of the action.

    To sign takes the signer's ``person_name`` (Family^Given, PS3.5 6.2.1) and ``organisation``.
    """

    act: Act
    ordinal: int | None = None
    field_name: str | None = None
    part: str | None = None
    value: str | float | int | None = None
    evidence: tuple[tuple[int, int], ...] = ()
    qualifiers: Mapping[str, str | float | int | bool] = field(default_factory=dict)
    comment: str = ""
    person_name: str = ""
    organisation: str = ""


@dataclass(slots=True)
class _Desk:
    """The report under review, locked."""

    connection: Connection
    row: "Row[Any]"
    who: str
    signature: tuple[str, str] | None
    counts: dict[str, int] = field(default_factory=dict)


def review(connection: Connection, uid: str, revision: int | None, actions: Sequence[Action], who: str) -> None:
    """Do the actions, all or none; ``revision`` is the one that the person saw, None when that does not matter.

    Raises
    ------
    NotFound
        When there is no such report or value.
    PreconditionFailed
        When the report has changed since.
    Conflict
        When it is signed, withdrawn, or not read yet.
    BadRequest
        When a value is not one that its field can have.
    """
    statement = (
        select(report, report_version.c.state, func.length(report_version.c.text).label("length"))
        .join(report_version, (report_version.c.report == _r.id) & (report_version.c.number == _r.version))
        .where(_r.uid == uid)
        .with_for_update(of=report)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(f"there is no report {uid}")
    if revision is not None and revision != row.revision:
        raise PreconditionFailed(f"report {uid} has changed; look at it again")
    if row.state not in (State.STRUCTURED, State.REFUSED):
        raise Conflict(f"report {uid} is {row.state} and cannot be reviewed")
    signature = (row.signed_name, row.signed_organisation) if row.review == Review.SIGNED else None
    desk = _Desk(connection, row, who, signature)
    for action in actions:
        if desk.signature is not None and action.act is not Act.REOPEN:
            raise Conflict(f"report {uid} is signed; reopen it first")
        _ACTS[action.act](desk, action)
        desk.counts[action.act] = desk.counts.get(action.act, 0) + 1
    _finish(desk)


def _finish(desk: _Desk) -> None:
    name, organisation = desk.signature or (None, None)
    values: dict[str, Any] = {
        "review": Review.STARTED if desk.signature is None else Review.SIGNED,
        "signed_by": None if desk.signature is None else desk.who,
        "signed_name": name,
        "signed_organisation": organisation,
        "signed_at": None if desk.signature is None else func.clock_timestamp(),
        "revision": desk.row.revision + 1,
        "updated": func.clock_timestamp(),
    }
    desk.connection.execute(update(report).where(_r.id == desk.row.id).values(values))
    detail = {"report": desk.row.uid, "version": desk.row.version, **desk.counts}
    desk.connection.execute(
        audit.insert().values(
            who=desk.who, action="report-review", study_instance_uid=desk.row.study_instance_uid, detail=detail
        )
    )


def _accept(desk: _Desk, action: Action) -> None:
    value = _value_row(desk, action)
    if value.review == ValueReview.REMOVED:
        raise Conflict(f"value {value.ordinal} was removed")
    if value.review == ValueReview.OPEN:
        _change(desk, value.ordinal, {"review": ValueReview.ACCEPTED})
    _record(desk, action, value.ordinal, value.field, value.holds, value.holds)


def _accept_all(desk: _Desk, action: Action) -> None:
    found = desk.connection.execute(
        select(report_value).where(_value.report == desk.row.id, _value.review == ValueReview.OPEN)
    )
    for value in found.all():
        _change(desk, value.ordinal, {"review": ValueReview.ACCEPTED})
        _record(desk, Action(Act.ACCEPT), value.ordinal, value.field, value.holds, value.holds)


def _correct(desk: _Desk, action: Action) -> None:
    value = _value_row(desk, action)
    holds = _stated(desk, action, value.field, value.part if action.part is None else action.part)
    kept = {name: said for name, said in value.holds.get("qualifiers", {}).items() if name in _NAMING}
    holds = _with_qualifiers(holds, {**kept, **action.qualifiers})
    kind = ValueReview.ADDED if value.found is None else ValueReview.CORRECTED
    _change(desk, value.ordinal, {"holds": holds, "review": kind, **columns_of(holds)})
    _record(desk, action, value.ordinal, value.field, value.holds, holds)


def _add(desk: _Desk, action: Action) -> None:
    if action.field_name is None:
        raise BadRequest("a value that is added needs its field")
    holds = _with_qualifiers(_stated(desk, action, action.field_name, action.part), action.qualifiers)
    last = select(func.coalesce(func.max(_value.ordinal), 0)).where(_value.report == desk.row.id)
    ordinal = desk.connection.execute(last).scalar_one() + 1
    values = {"report": desk.row.id, "ordinal": ordinal, "review": ValueReview.ADDED, "holds": holds, "found": None}
    desk.connection.execute(report_value.insert().values({**values, **columns_of(holds)}))
    _record(desk, action, ordinal, action.field_name, None, holds)


def _remove(desk: _Desk, action: Action) -> None:
    value = _value_row(desk, action)
    if value.review != ValueReview.REMOVED:
        _change(desk, value.ordinal, {"review": ValueReview.REMOVED})
    _record(desk, action, value.ordinal, value.field, value.holds, None)


def _sign(desk: _Desk, action: Action) -> None:
    if not action.person_name.strip(" ^") or not action.organisation.strip():
        raise BadRequest("to sign, say person_name (Family^Given) and organisation")
    desk.signature = storable(action.person_name).strip(), storable(action.organisation).strip()
    said = {"person_name": desk.signature[0], "organisation": desk.signature[1]}
    _record(desk, action, None, None, None, said)


def _reopen(desk: _Desk, action: Action) -> None:
    if desk.signature is None:
        raise Conflict(f"report {desk.row.uid} is not signed")
    desk.signature = None
    _record(desk, action, None, None, None, None)


_ACTS: Final = {
    Act.ACCEPT: _accept,
    Act.ACCEPT_ALL: _accept_all,
    Act.CORRECT: _correct,
    Act.ADD: _add,
    Act.REMOVE: _remove,
    Act.SIGN: _sign,
    Act.REOPEN: _reopen,
}


def _value_row(desk: _Desk, action: Action) -> "Row[Any]":
    if action.ordinal is None:
        raise BadRequest(f"to {action.act} a value its number is needed")
    statement = select(report_value).where(_value.report == desk.row.id, _value.ordinal == action.ordinal)
    row = desk.connection.execute(statement).one_or_none()
    if row is None:
        raise NotFound(f"report {desk.row.uid} has no value {action.ordinal}")
    return row


def _stated(desk: _Desk, action: Action, name: str, part: str | None) -> dict[str, Any]:
    """Return what a person says as an entry of the master form."""
    from dicomsvc.reports.schema import fields

    known = fields().get(name)
    if known is None:
        raise BadRequest("there is no field of this name; GET /api/reports/fields lists them")
    value = action.value
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRequest(f"{name} needs a value; to take one away, remove it")
    option = next((each for each in known.options if str(each.value) == str(value)), None)
    if known.options and option is None:
        words = ", ".join(str(each.value) for each in known.options)
        raise BadRequest(f"{name} is one of {words}")
    value = value if option is None else option.value
    if not known.options and known.unit is not None and isinstance(value, str):
        raise BadRequest(f"{name} is a number in {known.unit}")
    if not isinstance(value, str) and not abs(value) <= _LARGEST_NUMBER:
        raise BadRequest(f"{name} is no number that a report can state")
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        raise BadRequest(f"{name} is longer than {_LONGEST_VALUE} characters")
    for start, end in action.evidence:
        if not 0 <= start < end <= desk.row.length:
            raise BadRequest("evidence lies outside of the text")
    coding = option.concept.coding if option is not None and option.concept is not None else None
    code = None if coding is None else {"system": coding.system, "code": coding.code, "display": coding.display}
    return {
        "field": name,
        "value": storable(value) if isinstance(value, str) else value,
        "status": Status.STATED,
        "assertion": _ASSERTIONS.get(value if isinstance(value, str) else "", Assertion.PRESENT),
        "evidence": [{"start": start, "end": end} for start, end in action.evidence],
        "raw": "",
        "unit": known.unit,
        "code": code,
        "part": None if part is None else storable(part)[:64],
        "confidence": 1.0,
        "rule": "person/1",
    }


def _with_qualifiers(holds: dict[str, Any], qualifiers: Mapping[str, str | float | int | bool]) -> dict[str, Any]:
    said = {name: storable(told) if isinstance(told, str) else told for name, told in qualifiers.items()}
    return {**holds, "qualifiers": said} if said else holds


_ASSERTIONS: Final = {"absent": Assertion.ABSENT, "indeterminate": Assertion.INDETERMINATE}


def _change(desk: _Desk, ordinal: int, values: Mapping[str, Any]) -> None:
    this = (_value.report == desk.row.id) & (_value.ordinal == ordinal)
    desk.connection.execute(update(report_value).where(this).values(values))


def _record(
    desk: _Desk,
    action: Action,
    ordinal: int | None,
    name: str | None,
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any] | None,
) -> None:
    values = {
        "report": desk.row.id,
        "version": desk.row.version,
        "who": desk.who,
        "action": action.act,
        "ordinal": ordinal,
        "field": name,
        "old": None if old is None else dict(old),
        "new": None if new is None else dict(new),
        "comment": storable(action.comment),
    }
    desk.connection.execute(report_review.insert().values(values))
