"""Our own API: the change feed and what the service is. Jobs and uploads bring their own routers."""

from dataclasses import asdict
from datetime import datetime

from fastapi import APIRouter, Query
from pydantic import BaseModel

from dicomsvc import __version__
from dicomsvc.service.heartbeat import living_processes
from dicomsvc.store import Store


class ChangeEntry(BaseModel):
    """An instance was stored or deleted. Read on with ``since`` = the last ``sequence``."""

    sequence: int
    at: datetime
    kind: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str


class ProcessEntry(BaseModel):
    """A living process of the service."""

    role: str
    host: str
    pid: int
    address: str
    at: datetime
    resident_bytes: int
    counters: dict[str, float]


class ServiceStatus(BaseModel):
    version: str
    ae_title: str
    processes: list[ProcessEntry]


def api_router(store: Store) -> APIRouter:
    """Return the routes under ``/api`` that belong to no other room."""
    router = APIRouter(prefix="/api", tags=["service"])

    @router.get("/changes", summary="What was stored and deleted, in order")
    def changes(since: int = Query(0, ge=0), limit: int = Query(1000, ge=1, le=10_000)) -> list[ChangeEntry]:
        return [ChangeEntry(**asdict(change)) for change in store.changes(since, limit)]

    @router.get("/status", summary="Version and living processes")
    def status() -> ServiceStatus:
        return ServiceStatus(
            version=__version__,
            ae_title=store.settings.dimse.ae_title,
            processes=[ProcessEntry(**asdict(process)) for process in living_processes(store.engine)],
        )

    return router
