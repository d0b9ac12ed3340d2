"""Storage Commitment SCP: takes requests, and reports on the association they came by while it is there (PS3.4 J).

The standard leaves the SCP free to report on the requestor's association or on one of its own. A report that crosses
the requestor's next message confuses many an implementation, and one that crosses its A-RELEASE-RQ cannot be answered.
So a report goes out on the requestor's association only once it has said nothing for a while after our response: it
waits then. Everything else, and whatever stays without a response, is reported by `upkeep` on another association.
"""

import logging
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

from dicomsvc.config import Permission
from dicomsvc.dimse.channel import AcceptedContext, Message, MessageChannel
from dicomsvc.dimse.commands import (
    ACTION_TYPE_ID,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    REQUESTED_SOP_CLASS_UID,
    REQUESTED_SOP_INSTANCE_UID,
    RESPONSE,
    SUCCESS,
)
from dicomsvc.dimse.commitment.codec import LARGEST_BYTES, decode_action
from dicomsvc.dimse.commitment.model import (
    REQUEST_STORAGE_COMMITMENT,
    SOP_CLASS,
    WELL_KNOWN_INSTANCE,
    ActionInformation,
)
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.failures import ConnectionEnded, ProtocolViolation
from dicomsvc.dimse.services import Service
from dicomsvc.dimse.session import Session, read_encoded
from dicomsvc.errors import BadRequest, DicomsvcError, NotParseable, OutOfResources, TooLarge
from dicomsvc.logs import places
from dicomsvc.pacs.commitment.check import LEASE_SECONDS, check
from dicomsvc.pacs.commitment.records import Commitments, State
from dicomsvc.pacs.commitment.report import is_delivered, refusal, send_report

_log = logging.getLogger(__name__)

PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_SOP_INSTANCE: Final = 0x0112
INVALID_ARGUMENT_VALUE: Final = 0x0115
NO_SUCH_SOP_CLASS: Final = 0x0118
NO_SUCH_ACTION: Final = 0x0123
NOT_AUTHORIZED: Final = 0x0124
RESOURCE_LIMITATION: Final = 0x0213

_QUICK_BYTES: Final = 256 << 20
_QUICK_INSTANCES: Final = 500
"""What is checked at once, a second's work; more is checked in the background."""
_RESPONSE_SECONDS: Final = 30.0
_MOST_REMEMBERED: Final = 16
"""Requests of one association that may be reported on it; older ones are left to the background."""


@dataclass(slots=True, weakref_slot=True)
class _Asked:
    """What was asked for on one association and is not reported, and the report whose response is due."""

    holder: str = field(default_factory=lambda: uuid.uuid4().hex)
    waiting: deque[int] = field(default_factory=lambda: deque(maxlen=_MOST_REMEMBERED))
    last_message_id: int = 0
    sent: int | None = None


_associations: WeakKeyDictionary[MessageChannel, _Asked] = WeakKeyDictionary()
_associations_lock = threading.Lock()
_checking = threading.BoundedSemaphore(2)
"""However many requestors wait, no more of their files are read at a time."""


class _Refusal(Exception):
    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


def take_request(session: Session, message: Message) -> None:
    """Answer an N-ACTION once the request is durable, then report on it if the requestor waits for that."""
    asked = _asked(session.channel)
    try:
        key = _accept(session, message, asked.holder)
    except _Refusal as refused:
        _log.warning(
            "storage commitment refused to %s with %#06x: %s", session.calling_ae_title, refused.status, refused.comment
        )
        for _ in session.channel.fragments():
            pass
        session.respond(message, refused.status, refused.comment)
        return
    session.respond(message, SUCCESS, elements={ACTION_TYPE_ID: REQUEST_STORAGE_COMMITMENT})
    if key is not None:
        asked.waiting.append(key)
    _report_when_quiet(session, message.context, asked)


def take_response(session: Session, message: Message) -> None:
    """Note the response to a report, and send the next one."""
    asked = _asked(session.channel)
    for _ in session.channel.fragments():
        pass
    key = asked.sent
    if key is None or message.command.message_id_being_responded_to != asked.last_message_id:
        return
    asked.sent = None
    commitments = Commitments(session.store.engine)
    status = message.command.status
    try:
        if is_delivered(status):
            commitments.reported(key, asked.holder)
        else:
            settings = session.store.settings.commitment
            commitments.failed(key, asked.holder, refusal(status), retry_in_seconds=settings.retry_seconds)
    except DicomsvcError as error:
        _log.warning("the response to a report of storage commitment could not be kept: %s", error)
        return
    _report_when_quiet(session, message.context, asked)


def _asked(channel: MessageChannel) -> _Asked:
    with _associations_lock:
        return _associations.setdefault(channel, _Asked())


def _accept(session: Session, message: Message, holder: str) -> int | None:
    command = message.command
    if command.text(REQUESTED_SOP_CLASS_UID) != SOP_CLASS:
        raise _Refusal(NO_SUCH_SOP_CLASS, "the Requested SOP Class UID is not storage commitment's")
    if command.text(REQUESTED_SOP_INSTANCE_UID) != WELL_KNOWN_INSTANCE:
        raise _Refusal(NO_SUCH_SOP_INSTANCE, "not the well-known SOP Instance UID")
    if command.number(ACTION_TYPE_ID) != REQUEST_STORAGE_COMMITMENT:
        raise _Refusal(NO_SUCH_ACTION, "not Action Type 1")
    if not session.allows(Permission.COMMITMENT):
        raise _Refusal(NOT_AUTHORIZED, "no storage commitment for this AE title")
    try:
        action = decode_action(read_encoded(session.channel, LARGEST_BYTES), message.context.transfer_syntax)
        if not (_can_be_called(session) or _is_quick(session, action)):
            raise _Refusal(NOT_AUTHORIZED, "no peer with this AE title can be called to report")
        return Commitments(session.store.engine).accept(
            session.calling_ae_title, action, holder, lease_seconds=LEASE_SECONDS
        )
    except (_Refusal, ConnectionEnded, ProtocolViolation):
        raise
    except (BadRequest, NotParseable) as error:
        raise _Refusal(INVALID_ARGUMENT_VALUE, error.message) from error
    except (OutOfResources, TooLarge) as error:
        raise _Refusal(RESOURCE_LIMITATION, error.message) from error
    except Exception as error:  # the border of the DIMSE handler: a peer must get a status whatever happens
        _log.error("a request for storage commitment failed unexpectedly\n%s", places(error))
        raise _Refusal(PROCESSING_FAILURE, "internal error") from error


def _can_be_called(session: Session) -> bool:
    return session.peer is not None and session.peer.host is not None


def _is_quick(session: Session, action: ActionInformation) -> bool:
    """Whether the check takes so little that the requestor can be waited for."""
    if len(action.references) > _QUICK_INSTANCES:
        return False
    records = session.store.instances.find_sop_instances([named.sop_instance_uid for named in action.references])
    return sum(record.size for record in records.values()) <= _QUICK_BYTES


def _report_when_quiet(session: Session, context: AcceptedContext, asked: _Asked) -> None:
    """Check and report what was asked for on this association, as long as its requestor waits."""
    if asked.sent is not None:
        return
    try:
        key = _next_checked(session, asked)
        if key is None:
            return
        if session.channel.arrives(session.store.settings.commitment.quiet_seconds):
            Commitments(session.store.engine).release(key, asked.holder)
            return
        _report(session, context, asked, key)
    except (ConnectionEnded, ProtocolViolation):
        _release_all(session, asked)
        raise
    except DicomsvcError as error:
        # The row says when somebody goes on.
        _log.warning("storage commitment for %s: %s", session.calling_ae_title, error)


def _next_checked(session: Session, asked: _Asked) -> int | None:
    """Return the first request of this association that is checked, or could be now; it is held then."""
    commitments = Commitments(session.store.engine)
    for key in tuple(asked.waiting):
        held = commitments.claim(key, State.REQUESTED, asked.holder, lease_seconds=LEASE_SECONDS)
        if held is not None:
            if not _quick_enough(session, commitments, key):
                commitments.release(key, asked.holder)
                continue
            with _checking:
                check(session.store, commitments, held, asked.holder)
        if commitments.claim(key, State.CHECKED, asked.holder, lease_seconds=LEASE_SECONDS) is not None:
            return key
    return None


def _quick_enough(session: Session, commitments: Commitments, key: int) -> bool:
    left = commitments.unchecked(key, 0, _QUICK_INSTANCES + 1)
    return _is_quick(session, ActionInformation("", tuple(reference for _, reference in left)))


def _report(session: Session, context: AcceptedContext, asked: _Asked, key: int) -> None:
    commitments = Commitments(session.store.engine)
    held = commitments.claim(key, State.CHECKED, asked.holder, lease_seconds=_RESPONSE_SECONDS)
    asked.waiting.remove(key)
    if held is None:
        return
    asked.last_message_id = asked.last_message_id % 0xFFFF + 1
    asked.sent = key
    event = commitments.event(held)
    send_report(session.channel, context, asked.last_message_id, event, session.store.settings.dimse.ae_title)


def _release_all(session: Session, asked: _Asked) -> None:
    commitments = Commitments(session.store.engine)
    try:
        for key in asked.waiting:
            commitments.release(key, asked.holder)
    except DicomsvcError:
        _log.debug("reports wait until their lease ends")


REQUESTS: Final = Service(N_ACTION_RQ, SOP_CLASS.__eq__, MESSAGE_SYNTAXES, take_request)
RESPONSES: Final = Service(N_EVENT_REPORT_RQ | RESPONSE, SOP_CLASS.__eq__, MESSAGE_SYNTAXES, take_response)
