"""The routes of WADO-RS, apart from frames, which `FrameApp` serves."""

from starlette.routing import BaseRoute

from dicomsvc.config import Settings
from dicomsvc.dicomweb.bulkdata import RetrieveBulkData
from dicomsvc.dicomweb.metadata import RetrieveMetadata
from dicomsvc.dicomweb.rendered import RetrieveRendered
from dicomsvc.dicomweb.retrieve import Retrieve
from dicomsvc.store import Store


def retrieve_routes(store: Store, settings: Settings) -> list[BaseRoute]:
    """Return the routes of PS3.18 10.4, under ``/dicomweb``."""
    return [
        *RetrieveMetadata(store, settings).routes(),
        *RetrieveBulkData(store, settings).routes(),
        *RetrieveRendered(store, settings).routes(),
        *Retrieve(store, settings).routes(),
    ]
