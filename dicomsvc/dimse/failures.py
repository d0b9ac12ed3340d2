"""What ends an association: these steer the connection's own thread and never leave this room."""


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


class MessageBroken(ProtocolViolation):
    """A message that this node has begun to send cannot be ended; the association is aborted.

    Parameters
    ----------
    damaged
        Whether a stored file turned out to have lost its bytes.
    """

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message, 0x00)
        self.damaged = damaged
