"""C-ECHO (PS3.4 A, PS3.7 9.1.5)."""

from typing import Final

from dicomsvc.dimse.channel import Message
from dicomsvc.dimse.commands import SUCCESS
from dicomsvc.dimse.session import Session

VERIFICATION_SOP_CLASS: Final = "1.2.840.10008.1.1"


def verify(session: Session, message: Message) -> None:
    """Answer a C-ECHO."""
    session.respond(message, SUCCESS)
