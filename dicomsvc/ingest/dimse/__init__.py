"""The Storage service as SCP (PS3.4 B): a data set goes to the store's spool as it comes, and through the one door.

In come C-STORE requests: of associations that peers ask for, by the row `STORAGE`, and of a C-GET of this node's own,
which has `store_instance` answer them.
"""

from dicomsvc.config import Permission
from dicomsvc.dicom.uids import is_storage_class
from dicomsvc.dimse.commands import C_STORE_RQ
from dicomsvc.dimse.contexts import STORED_SYNTAXES
from dicomsvc.dimse.services import Service
from dicomsvc.ingest.dimse.storage import store_instance

STORAGE = Service(C_STORE_RQ, is_storage_class, STORED_SYNTAXES, store_instance, permission=Permission.STORE)

__all__ = ["STORAGE", "store_instance"]
