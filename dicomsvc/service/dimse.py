"""What the DICOM service of this node serves, and asks of others, put together from the rooms' rows."""

from typing import Final

from dicomsvc.dicom.uids import is_storage_class
from dicomsvc.dimse import availability, commands
from dicomsvc.dimse.commitment import EVENTS
from dicomsvc.dimse.commitment.model import SOP_CLASS as STORAGE_COMMITMENT
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES, STORED_SYNTAXES
from dicomsvc.dimse.information_models import STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dicomsvc.dimse.services import VERIFICATION, Asked, Services
from dicomsvc.dimse.verification import VERIFICATION_SOP_CLASS
from dicomsvc.ingest.dimse import STORAGE
from dicomsvc.pacs import commitment
from dicomsvc.pacs.find import FIND
from dicomsvc.pacs.get import GET
from dicomsvc.pacs.models import FIND_CLASSES
from dicomsvc.pacs.move import MOVE
from dicomsvc.pacs.worklist.find import WORKLIST

SERVICES: Final = Services(
    (VERIFICATION, FIND, GET, MOVE, WORKLIST, commitment.REQUESTS, commitment.RESPONSES, EVENTS, STORAGE)
)
ASKED: Final = (
    Asked(commands.C_ECHO_RQ, VERIFICATION_SOP_CLASS.__eq__, MESSAGE_SYNTAXES),
    Asked(commands.C_STORE_RQ, is_storage_class, STORED_SYNTAXES),
    Asked(commands.C_FIND_RQ, FIND_CLASSES.__contains__, MESSAGE_SYNTAXES),
    Asked(commands.C_MOVE_RQ, STUDY_ROOT_MOVE.__eq__, MESSAGE_SYNTAXES),
    Asked(commands.C_GET_RQ, STUDY_ROOT_GET.__eq__, MESSAGE_SYNTAXES),
    Asked(commands.N_ACTION_RQ, STORAGE_COMMITMENT.__eq__, MESSAGE_SYNTAXES),
    Asked(commands.N_CREATE_RQ, availability.SOP_CLASS.__eq__, MESSAGE_SYNTAXES),
)
"""For echo; send, forwarding, C-MOVE and C-GET; query; retrieve, by C-MOVE or C-GET; storage commitment; Instance
Availability Notices."""
