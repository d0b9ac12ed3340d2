"""Work items: what somebody asked for, how far it is, what came out.

In come a kind and inputs (`Jobs.create`); out go progress, outputs or an error (`Jobs.get`, `follow`). A work item is a
Unified Procedure Step (PS3.4 CC). procrastinate delivers it to a `Worker`, which has a child process do it with the
handler of its kind. Handlers are given by the caller: this room knows none.
"""

from dicomsvc.jobs.following import follow
from dicomsvc.jobs.items import Handler, Later, Priority, Progress, State, Work, WorkItem
from dicomsvc.jobs.records import Jobs
from dicomsvc.jobs.worker import Patience, Worker

__all__ = [
    "Handler",
    "Jobs",
    "Later",
    "Patience",
    "Priority",
    "Progress",
    "State",
    "Work",
    "WorkItem",
    "Worker",
    "follow",
]
