"""C-FIND: queries of the archive, matched as QIDO-RS matches them (PS3.4 C.4.1)."""

import logging
from collections.abc import Iterator
from typing import Final

from dicomsvc.config import Permission
from dicomsvc.dimse.audited import record_query
from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.commands import C_FIND_RQ, CANCELLED, PENDING, SUCCESS, encode_response
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.services import Service
from dicomsvc.dimse.session import Session
from dicomsvc.errors import OutOfResources
from dicomsvc.pacs.border import answering
from dicomsvc.pacs.identifiers import UTF_8, IdentifierEncoder
from dicomsvc.pacs.keys import (
    INSTANCE_AVAILABILITY,
    LEVEL,
    RETRIEVE_AE_TITLE,
    SPECIFIC_CHARACTER_SET,
    Asked,
    read_identifier,
)
from dicomsvc.pacs.models import FIND_CLASSES
from dicomsvc.store.query import PLAIN, Listed, list_results, read_pages

_log = logging.getLogger(__name__)

PENDING_WITH_UNSUPPORTED_KEYS: Final = 0xFF01
_BATCH: Final = 100
"""Responses between two looks for a C-CANCEL."""


def _find(session: Session, message: Message) -> None:
    identifier = session.read_data_set(message)
    record_query(session, message, identifier)
    asked = read_identifier(identifier, message.context.abstract_syntax)
    settings = session.store.settings.dimse
    most = settings.find_limit or None
    listed = list_results(session.store.engine, asked.listing, asked.query, most=None if most is None else most + 1)
    found = len(listed.keys)
    more = most is not None and found > most
    if more:
        listed = Listed(listed.keys[:most], listed.first[:most])
    cancelled = _send(session, message, asked, listed)
    _log.info("C-FIND of %s at level %s: %d results", session.calling_ae_title, asked.level, found)
    if cancelled:
        session.respond(message, CANCELLED)
    elif more:
        session.respond(message, OutOfResources.dimse_status, f"more than {most} results: ask for something narrower")
    else:
        session.respond(message, SUCCESS)


def _send(session: Session, message: Message, asked: Asked, listed: Listed) -> bool:
    """Send the pending responses; return whether the peer wants no more of them."""
    status = PENDING if asked.all_supported else PENDING_WITH_UNSUPPORTED_KEYS
    response = encode_response(message.command, status, has_data_set=True)
    for identifiers in _batches(session, message, asked, listed):
        if session.channel.cancelled(message.command.message_id):
            return True
        session.channel.send_messages(
            message.context.context_id, ((response, identifier) for identifier in identifiers)
        )
    return False


def _batches(session: Session, message: Message, asked: Asked, listed: Listed) -> Iterator[list[bytes]]:
    fixed = {
        SPECIFIC_CHARACTER_SET: {"vr": "CS", "Value": [UTF_8]},
        LEVEL: {"vr": "CS", "Value": [asked.level]},
        RETRIEVE_AE_TITLE: {"vr": "AE", "Value": [session.store.settings.dimse.ae_title]},
        INSTANCE_AVAILABILITY: {"vr": "CS", "Value": ["ONLINE"]},
    }
    encoder = IdentifierEncoder(asked.listing.asked, fixed, asked.shape, message.context.transfer_syntax, plain=PLAIN)
    for rows in read_pages(session.store.engine, asked.listing, listed):
        for start in range(0, len(rows), _BATCH):
            yield encoder.encode(rows[start : start + _BATCH])


FIND: Final = Service(
    C_FIND_RQ,
    FIND_CLASSES.__contains__,
    MESSAGE_SYNTAXES,
    answering("C-FIND", _find),
    permission=Permission.QUERY,
)
