"""C-ECHO (PS3.4 A, PS3.7 9.1.5)."""

from dicomsvc.ingest.dimse.channel import Message
from dicomsvc.ingest.dimse.commands import SUCCESS
from dicomsvc.ingest.dimse.session import Session


def verify(session: Session, message: Message) -> None:
    """Answer a C-ECHO."""
    session.respond(message, SUCCESS)
