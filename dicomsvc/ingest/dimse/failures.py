"""What ends an association, or keeps one from coming about.

`PeerFailure` is what callers of the SCU see. The others steer the connection's own thread and never leave this room.
"""

from dicomsvc.errors import DicomsvcError


class PeerFailure(DicomsvcError):
    """A peer could not be reached, refused the association, or broke it."""

    dimse_status = 0xC000
    http_status = 502


class ConnectionEnded(Exception):
    """The peer closed, reset or aborted the connection."""


class NodeStopping(ConnectionEnded):
    """The service is being stopped, and no message is under way."""


class PeerTimedOut(ConnectionEnded):
    """A PDU did not arrive, or was not taken, in time."""


class ProtocolViolation(Exception):
    """The peer sent what PS3.8 or PS3.7 does not allow; answered with A-ABORT.

    Parameters
    ----------
    reason:
        Reason of the A-ABORT PDU (PS3.8 table 9-26).
    """

    def __init__(self, message: str, reason: int = 0x06) -> None:
        super().__init__(message)
        self.reason = reason
