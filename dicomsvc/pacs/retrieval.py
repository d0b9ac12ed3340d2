"""What C-GET and C-MOVE have in common: which instances an Identifier names, and one sub-operation after the other.

Rules: PS3.4 C.4.2.2.1 (Identifier), C.4.2.3.1 (sub-operations and responses).
"""

import logging
from array import array
from collections.abc import Callable, Iterator
from typing import Final

from pydicom import Dataset

from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.commands import CANCELLED, PENDING
from dicomsvc.dimse.failures import MessageBroken
from dicomsvc.dimse.session import Session
from dicomsvc.errors import DamagedFile, DicomsvcError, InvalidIdentifier, OutOfResources
from dicomsvc.pacs.models import LEVELS, QueryLevel, level_of_identifier
from dicomsvc.pacs.suboperations import SubOperations
from dicomsvc.store import InstanceRecord, Selected, Selection

_log = logging.getLogger(__name__)

StoreOne = Callable[[InstanceRecord], int | None]
"""Carries out one sub-operation and returns the status of its C-STORE."""

_PAGE: Final = 200
_MOST_UIDS: Final = 10_000
_MOST_LOGGED: Final = 10


class MatchesNotCalculated(OutOfResources):
    """The number of matches cannot be calculated now (PS3.4 table C.4-2)."""

    dimse_status = 0xA701


def select(session: Session, identifier: Dataset, sop_class_uid: str) -> Selected:
    """Return what a retrieval's Identifier names; it may be nothing.

    Raises
    ------
    InvalidIdentifier
        When it has no level of its model, or no unique key of that level.
    MatchesNotCalculated
        When the database does not answer.
    """
    selection = selection_of(identifier, level_of_identifier(identifier, sop_class_uid))
    try:
        return session.store.instances.select(selection)
    except OutOfResources as error:
        raise MatchesNotCalculated(error.message) from error


def selection_of(identifier: Dataset, level: QueryLevel) -> Selection:
    """Return the unique keys of a retrieval at ``level``; those of higher levels may be missing (relational)."""
    keys: dict[QueryLevel, tuple[str, ...]] = dict.fromkeys(QueryLevel, ())
    for each in QueryLevel:
        keys[each] = _values(identifier, each)
        if each is level:
            break
    if not keys[level]:
        raise InvalidIdentifier(f"the identifier lacks the unique key of level {level}")
    return Selection(*keys.values())


def _values(identifier: Dataset, level: QueryLevel) -> tuple[str, ...]:
    element = identifier.get(LEVELS[level].unique_key)
    if element is None or not element.value:
        return ()
    if level is QueryLevel.PATIENT:
        return (str(element.value),)
    listed = [element.value] if isinstance(element.value, str) else list(element.value)
    uids = tuple(dict.fromkeys(str(uid) for uid in listed if uid))
    if len(uids) > _MOST_UIDS or not all(is_valid_uid(uid) for uid in uids):
        raise InvalidIdentifier(f"the unique key of level {level} has a value that is no UID, or too many")
    return uids


def carry_out(session: Session, message: Message, keys: "array[int]", store_one: StoreOne) -> None:
    """Carry out a sub-operation for each instance; tell the requester after each, and at the end or when it cancels."""
    operations = SubOperations(len(keys))
    for record in _records(session, keys):
        if session.channel.cancelled(message.command.message_id):
            _answer(session, message, CANCELLED, operations, with_remaining=True)
            return
        level = logging.WARNING if operations.failed < _MOST_LOGGED else logging.DEBUG
        operations.done(record.sop_instance_uid, _status_of(session, record, store_one, level))
        if operations.remaining:
            session.respond(message, PENDING, elements=operations.elements(with_remaining=True))
    operations.lost()
    _answer(session, message, operations.status, operations, with_remaining=False)


def _answer(
    session: Session, message: Message, status: int, operations: SubOperations, *, with_remaining: bool
) -> None:
    elements = operations.elements(with_remaining=with_remaining)
    session.respond(message, status, elements=elements, data_set=operations.identifier())


def _records(session: Session, keys: "array[int]") -> Iterator[InstanceRecord]:
    for start in range(0, len(keys), _PAGE):
        yield from session.store.instances.read(keys[start : start + _PAGE])


def _status_of(session: Session, record: InstanceRecord, store_one: StoreOne, level: int) -> int | None:
    try:
        return store_one(record)
    except MessageBroken as error:
        if error.damaged:
            session.store.mark_damaged(record.sop_instance_uid)
        raise
    except DamagedFile as error:
        _log.error("a sub-operation failed: %s", error)
        # It may also be one that cannot be decoded, and came like that.
        session.store.suspect(record.sop_instance_uid)
    except DicomsvcError as error:
        _log.log(level, "the sub-operation for %s failed: %s", record.sop_instance_uid, error)
    except OSError as error:
        _log.log(level, "the file of %s cannot be read: %s", record.sop_instance_uid, error.strerror)
    return None
