"""``/api/worklist``: what is scheduled to be scanned."""

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from dicomsvc.pacs.worklist.entry import EntryContent, Long, Status
from dicomsvc.pacs.worklist.repository import Entry, Filter
from dicomsvc.pacs.worklist.service import Worklist
from dicomsvc.store import Store

Uid = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The entry's own identifier")]
Revision = Annotated[int | None, Query(ge=1, description="Change it only when it is still at this revision")]
Equal = Annotated[Long | None, Query()]


class EntryAnswer(BaseModel):
    """An entry of the worklist."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    uid: str
    url: str
    status: Status
    start: datetime
    """Local time; when the entry was made, where nobody said it."""
    source: str
    """The way that it came: rest, hl7, command."""
    revision: int
    created: datetime
    updated: datetime
    updated_by: str
    entry: EntryContent

    @classmethod
    def of(cls, entry: Entry) -> Self:
        return cls(
            uid=entry.uid,
            url=f"/api/worklist/{entry.uid}",
            status=entry.status,
            start=entry.start,
            source=entry.source,
            revision=entry.revision,
            created=entry.created,
            updated=entry.updated,
            updated_by=entry.updated_by,
            entry=entry.content,
        )


class WorklistPage(BaseModel):
    """A page of entries by their start; ``total`` is how many there are."""

    total: int
    offset: int
    entries: list[EntryAnswer]


class StatusChange(BaseModel):
    """Where the step stands now; completed and cancelled ones leave the worklist."""

    model_config = ConfigDict(extra="forbid")

    status: Status


def worklist_routes(store: Store) -> APIRouter:
    """Return the routes for the worklist of ``store``."""
    router = APIRouter(prefix="/api/worklist", tags=["worklist"])
    worklist = Worklist(store, "rest")

    @router.post("", status_code=201, summary="Schedule a step; the same entry twice is one (200)")
    def create(content: EntryContent, request: Request, response: Response) -> EntryAnswer:
        entry, is_new = worklist.create(content, _user(request))
        if not is_new:
            response.status_code = 200
        answer = EntryAnswer.of(entry)
        response.headers["Location"] = answer.url
        return answer

    @router.get("", summary="Entries by their start")
    def list_entries(
        status: Annotated[list[Status] | None, Query(description="None: all")] = None,
        accession_number: Equal = None,
        placer_order_number: Equal = None,
        container_identifier: Equal = None,
        patient_id: Equal = None,
        start_from: Annotated[datetime | None, Query(description="Local time")] = None,
        start_before: Annotated[datetime | None, Query(description="Local time")] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
    ) -> WorklistPage:
        wanted = Filter(
            statuses=frozenset(status) if status else None,
            accession_number=accession_number,
            placer_order_number=placer_order_number,
            container_identifier=container_identifier,
            patient_id=patient_id,
            start_from=start_from,
            start_before=start_before,
        )
        total, entries = worklist.listed(wanted, limit, offset)
        return WorklistPage(total=total, offset=offset, entries=[EntryAnswer.of(entry) for entry in entries])

    @router.get("/{uid}", summary="One entry")
    def get(uid: Uid) -> EntryAnswer:
        return EntryAnswer.of(worklist.get(uid))

    @router.get("/{uid}/item", summary="One entry as the worklist's item that scanners get, in DICOM JSON")
    def item(uid: Uid) -> dict[str, Any]:
        return worklist.item(uid)

    @router.put("/{uid}", summary="Replace what an entry says")
    def change(uid: Uid, content: EntryContent, request: Request, revision: Revision = None) -> EntryAnswer:
        return EntryAnswer.of(worklist.change(uid, content, _user(request), revision))

    @router.put("/{uid}/status", summary="Say where the step stands: started, completed, cancelled")
    def set_status(uid: Uid, change: StatusChange, request: Request) -> EntryAnswer:
        return EntryAnswer.of(worklist.set_status(uid, change.status, _user(request)))

    @router.delete("/{uid}", status_code=204, summary="Delete an entry for good")
    def delete(uid: Uid, request: Request) -> None:
        worklist.delete(uid, _user(request))

    return router


def _user(request: Request) -> str:
    return request.scope.get("user") or "anonymous"
