"""``/api/jobs``: work items listed, looked at, followed, cancelled, tried again."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse

from dicomsvc.ingest.models import JobEntry
from dicomsvc.jobs import Jobs, WorkItem
from dicomsvc.store import Store

Uid = Annotated[str, Path(max_length=64, pattern=r"^[0-9.]+$", description="UID of the work item")]
_LOOK_EVERY_SECONDS = 0.5
_SIGN_OF_LIFE_SECONDS = 15.0


def job_routes(store: Store, jobs: Jobs) -> APIRouter:
    """Return the routes under ``/api/jobs``."""
    router = APIRouter(prefix="/api/jobs", tags=["jobs"])

    @router.get("", summary="Work items, latest first")
    def list_jobs(
        state: Annotated[
            Literal["SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"] | None, Query(description="PS3.4 CC.1.1")
        ] = None,
        kind: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
    ) -> list[JobEntry]:
        return [JobEntry.of(item) for item in jobs.search(state=state, kind=kind, limit=limit, offset=offset)]

    @router.get("/{uid}", summary="One work item; with `wait`, once it has changed or ended")
    async def get_job(
        uid: Uid,
        wait: Annotated[float, Query(ge=0, le=60, description="Longest time to wait for a change, in seconds")] = 0,
    ) -> JobEntry:
        first = item = await asyncio.to_thread(jobs.get, uid)
        deadline = time.monotonic() + wait
        while not item.final and item.updated == first.updated and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            item = await asyncio.to_thread(jobs.get, uid)
        return JobEntry.of(item)

    @router.get(
        "/{uid}/events",
        summary="Progress as server-sent events, each a work item, until it has ended",
        response_class=StreamingResponse,
    )
    async def events(uid: Uid, request: Request) -> StreamingResponse:
        item = await asyncio.to_thread(jobs.get, uid)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_events(jobs, item), media_type="text/event-stream", headers=headers)

    @router.post("/{uid}/cancel", summary="Stop a work item")
    def cancel(uid: Uid) -> JobEntry:
        return JobEntry.of(jobs.request_cancel(uid))

    @router.post("/{uid}/retry", status_code=201, summary="Make a new work item like one that failed or was cancelled")
    def retry(uid: Uid, request: Request) -> JobEntry:
        return JobEntry.of(jobs.retry(uid, request.scope.get("user")))

    return router


async def _events(jobs: Jobs, item: WorkItem) -> AsyncIterator[str]:
    said = time.monotonic()
    yield _event(item)
    while not item.final:
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
        latest = await asyncio.to_thread(jobs.get, item.uid)
        if latest.updated != item.updated:
            yield _event(latest)
            said = time.monotonic()
        elif time.monotonic() - said > _SIGN_OF_LIFE_SECONDS:
            # Proxies close connections that say nothing.
            yield ": waiting\n\n"
            said = time.monotonic()
        item = latest


def _event(item: WorkItem) -> str:
    return f"event: job\ndata: {JobEntry.of(item).model_dump_json()}\n\n"
