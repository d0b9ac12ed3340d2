"""DICOMweb (PS3.18): instances, metadata, frames and pictures out; instances in; searches; the worklist.

Every function returns routes for one service of the standard; `FrameApp` stands before the framework: frames are
asked for by the thousand. Errors of `dicomsvc.errors` are raised and become statuses in the web room.
"""

from dicomsvc.dicomweb.frames import FrameApp
from dicomsvc.dicomweb.search import search_routes
from dicomsvc.dicomweb.store import store_routes
from dicomsvc.dicomweb.wado import retrieve_routes
from dicomsvc.dicomweb.workitems import Performable, workitem_routes

__all__ = ["FrameApp", "Performable", "retrieve_routes", "search_routes", "store_routes", "workitem_routes"]
