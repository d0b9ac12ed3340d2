"""The DICOM network service: Verification and Storage, both sides.

In come associations (`DimseServer`); each received data set goes to the store's spool as it arrives, through the one
door, and is acknowledged only once it is durable. Out go files (`send_files`) and echoes (`echo`). Ruled by PS3.8
(associations), PS3.7 (messages), PS3.4 A and B (services).

The upper layer is our own, in five layers that each know only the one below: `stream` (PDUs on a socket: bounds,
deadlines), `pdu` (their bytes), `channel` (messages), `acceptor` and `requestor` (associations), `services` (the table
of handlers). Objects never lie in memory as a whole.
"""

from dicomsvc.errors import PeerFailure
from dicomsvc.ingest.dimse.client import SendResult, echo, send_files
from dicomsvc.ingest.dimse.counters import Counts
from dicomsvc.ingest.dimse.requestor import Peer
from dicomsvc.ingest.dimse.server import DimseServer

__all__ = ["Counts", "DimseServer", "Peer", "PeerFailure", "SendResult", "echo", "send_files"]
