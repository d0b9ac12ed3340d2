"""What the DICOM service of this node serves, put together from the rooms' rows."""

from typing import Final

from dicomsvc.dimse.services import VERIFICATION, Services
from dicomsvc.ingest.dimse import STORAGE

SERVICES: Final = Services((VERIFICATION, STORAGE))
