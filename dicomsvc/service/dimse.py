"""What the DICOM service of this node serves, put together from the rooms' rows."""

from typing import Final

from dicomsvc.dimse.commitment import EVENTS
from dicomsvc.dimse.services import VERIFICATION, Services
from dicomsvc.ingest.dimse import STORAGE
from dicomsvc.pacs import commitment
from dicomsvc.pacs.find import FIND
from dicomsvc.pacs.get import GET
from dicomsvc.pacs.move import MOVE
from dicomsvc.pacs.worklist.find import WORKLIST

SERVICES: Final = Services(
    (VERIFICATION, FIND, GET, MOVE, WORKLIST, commitment.REQUESTS, commitment.RESPONSES, EVENTS, STORAGE)
)
