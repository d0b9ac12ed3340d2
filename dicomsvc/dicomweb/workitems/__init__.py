"""The worklist service (UPS-RS, PS3.18 11): work items created, searched, claimed, followed.

In come Unified Procedure Steps as DICOM JSON; those that our workers can do become work items of theirs, the others
wait for performers outside. Out go all work items, ours too, as Unified Procedure Steps (`mapping`), and what happens
to them as event reports over WebSocket (`channel`). States and their rules are in `dicomsvc.jobs.transitions`.
"""

from dicomsvc.dicomweb.workitems.reading import Performable
from dicomsvc.dicomweb.workitems.routes import workitem_routes

__all__ = ["Performable", "workitem_routes"]
