"""Where a query or retrieval becomes a status: no request stays without a response, whatever happens."""

import logging
from collections.abc import Callable
from typing import Final

from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.failures import ConnectionEnded, ProtocolViolation
from dicomsvc.dimse.services import Handler
from dicomsvc.dimse.session import Session
from dicomsvc.errors import DicomsvcError
from dicomsvc.logs import places

_log = logging.getLogger(__name__)

UNABLE_TO_PROCESS: Final = 0xC000


def answering(name: str, serve: Callable[[Session, Message], None]) -> Handler:
    """Return a handler that answers what ``serve`` raises with its status and an Error Comment."""

    def handler(session: Session, message: Message) -> None:
        try:
            serve(session, message)
        except (ConnectionEnded, ProtocolViolation):
            raise
        except DicomsvcError as error:
            _log.warning("%s refused with %#06x: %s", name, error.dimse_status, error.message)
            session.respond(message, error.dimse_status, error.message)
        except Exception as error:  # noqa: BLE001 - the border of the DIMSE handler: a peer must get a status whatever happens
            _log.error("%s failed unexpectedly\n%s", name, places(error))
            session.respond(message, UNABLE_TO_PROCESS, "internal error")

    return handler
