"""What ``/api`` says of work items and uploads."""

from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel

from dicomsvc.jobs import WorkItem

_OUR_OWN = {"path", "seed"}


class JobProgress(BaseModel):
    """``total`` is 0 while unknown."""

    done: int
    total: int
    text: str


class JobEntry(BaseModel):
    """A work item. ``state`` as PS3.4 CC.1.1; CANCELED with an ``error`` means that it failed."""

    uid: str
    url: str
    kind: str
    name: str
    state: str
    priority: str
    requested_by: str
    retry_of: str | None
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    progress: JobProgress
    time_left_seconds: float | None
    attempts: int
    error: str | None
    error_kind: str | None
    log: list[str]
    cancellation_requested: bool
    created: datetime
    started: datetime | None
    ended: datetime | None

    @classmethod
    def of(cls, item: WorkItem) -> Self:
        """Make the entry, without paths of this machine."""
        document = item.as_dict()
        document["inputs"] = {key: value for key, value in item.inputs.items() if key not in _OUR_OWN}
        name = Path(str(item.inputs.get("path", ""))).name
        return cls(url=job_url(item.uid), name=name, **document)


class UploadEntry(BaseModel):
    """An upload of one file; ``job`` once it is complete."""

    id: str
    url: str
    name: str
    offset: int
    length: int | None
    job: JobEntry | None


class UploadSetEntry(BaseModel):
    """A set of files that belong together."""

    id: str
    url: str


def job_url(uid: str) -> str:
    return f"/api/jobs/{uid}"


def upload_url(upload_id: str) -> str:
    return f"/api/uploads/{upload_id}"
