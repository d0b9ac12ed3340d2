"""The DICOM upper layer and messages, both sides of an association, and the rows of what a node serves.

In come associations (`DimseServer`), whose requests the handlers of `Services` answer. Out go files (`send_files`) and
echoes (`echo`). Ruled by PS3.8 (associations) and PS3.7 (messages); the services themselves are rooms above.

Five layers that each know only the one below: `stream` (PDUs on a socket: bounds, deadlines), `pdu` (their bytes),
`channel` (messages), `acceptor` and `requestor` (associations), `services` (the table of handlers). Objects never lie
in memory as a whole.
"""

from dicomsvc.dimse.client import SendResult, echo, send_files
from dicomsvc.dimse.counters import Counts
from dicomsvc.dimse.requestor import Peer
from dicomsvc.dimse.server import DimseServer
from dicomsvc.errors import PeerFailure

__all__ = ["Counts", "DimseServer", "Peer", "PeerFailure", "SendResult", "echo", "send_files"]
