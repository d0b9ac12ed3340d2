"""N-EVENT-REPORT: another archive tells what became of a request of ours (PS3.4 J.3.3, PS3.7 10.1.1)."""

import logging
from typing import Final

from sqlalchemy import Engine

from dicomsvc.dimse.channel import Message, MessageChannel
from dicomsvc.dimse.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    EVENT_TYPE_ID,
    N_EVENT_REPORT_RQ,
    SUCCESS,
    encode_response,
)
from dicomsvc.dimse.commitment.asked import expects_reports, record_event
from dicomsvc.dimse.commitment.codec import LARGEST_BYTES, decode_event
from dicomsvc.dimse.commitment.model import (
    ALL_COMMITTED,
    FAILURES_EXIST,
    SOP_CLASS,
    WELL_KNOWN_INSTANCE,
)
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.failures import ConnectionEnded, ProtocolViolation
from dicomsvc.dimse.services import Service
from dicomsvc.dimse.session import Session, read_encoded
from dicomsvc.errors import BadRequest, DicomsvcError, NotParseable, OutOfResources
from dicomsvc.logs import places

_log = logging.getLogger(__name__)

NO_SUCH_SOP_INSTANCE: Final = 0x0112
NO_SUCH_EVENT_TYPE: Final = 0x0113
INVALID_ARGUMENT_VALUE: Final = 0x0115
NO_SUCH_SOP_CLASS: Final = 0x0118
PROCESSING_FAILURE: Final = 0x0110
RESOURCE_LIMITATION: Final = 0x0213


def answer_event(engine: Engine, ae_title: str, channel: MessageChannel, message: Message) -> None:
    """Keep what the peer ``ae_title`` reports, then answer it."""
    status = _status_of(engine, ae_title, channel, message)
    for _ in channel.fragments():
        pass
    event_type = message.command.number(EVENT_TYPE_ID)
    elements = {} if event_type is None else {EVENT_TYPE_ID: event_type}
    channel.send_command(message.context.context_id, encode_response(message.command, status, elements=elements))


def _status_of(engine: Engine, ae_title: str, channel: MessageChannel, message: Message) -> int:
    command = message.command
    if command.text(AFFECTED_SOP_CLASS_UID) != SOP_CLASS:
        return NO_SUCH_SOP_CLASS
    if command.text(AFFECTED_SOP_INSTANCE_UID) != WELL_KNOWN_INSTANCE:
        return NO_SUCH_SOP_INSTANCE
    if command.number(EVENT_TYPE_ID) not in (ALL_COMMITTED, FAILURES_EXIST):
        return NO_SUCH_EVENT_TYPE
    try:
        if not expects_reports(engine, ae_title):
            _log.warning("%s reports on storage commitment, and was never asked for any", ae_title)
            return INVALID_ARGUMENT_VALUE
        event = decode_event(read_encoded(channel, LARGEST_BYTES), message.context.transfer_syntax)
        if record_event(engine, ae_title, event) is None:
            _log.warning(
                "%s reports on storage commitment %s, which it was not asked for", ae_title, event.transaction_uid
            )
            return INVALID_ARGUMENT_VALUE
    except (ConnectionEnded, ProtocolViolation):
        raise
    except (BadRequest, NotParseable) as error:
        _log.warning("a report on storage commitment from %s is refused: %s", ae_title, error)
        return INVALID_ARGUMENT_VALUE
    except DicomsvcError as error:
        _log.warning("a report on storage commitment from %s cannot be kept: %s", ae_title, error)
        return RESOURCE_LIMITATION if isinstance(error, OutOfResources) else PROCESSING_FAILURE
    except Exception as error:  # noqa: BLE001 - the border of the DIMSE handler: a peer must get a status whatever happens
        _log.error("a report on storage commitment failed unexpectedly\n%s", places(error))
        return PROCESSING_FAILURE
    _log.info("%s reports on storage commitment %s: %d failed", ae_title, event.transaction_uid, len(event.failed))
    return SUCCESS


def take_event(session: Session, message: Message) -> None:
    """Answer an N-EVENT-REPORT on an association that the other archive opened."""
    answer_event(session.store.engine, session.calling_ae_title, session.channel, message)


EVENTS: Final = Service(
    N_EVENT_REPORT_RQ, SOP_CLASS.__eq__, MESSAGE_SYNTAXES, take_event, peer_provides=SOP_CLASS.__eq__
)
"""For the table of services; the other archive is the SCP by role selection (PS3.4 J.3.3)."""
