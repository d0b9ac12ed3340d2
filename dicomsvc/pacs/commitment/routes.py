"""``/api/commitments``: storage commitment that peers asked for, and that this node asked for."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict

from dicomsvc.pacs.commitment.overview import Direction, again, find, latest
from dicomsvc.store import Store

Uid = Annotated[str, Path(max_length=64, pattern=r"^[0-9.]+$", description="Transaction UID")]


class CommitmentEntry(BaseModel):
    """A request for storage commitment; ``instances``, ``committed`` and ``failed`` are counts."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    direction: Direction
    """``received``: a peer asked this node; ``sent``: this node asked a peer."""
    transaction_uid: str
    ae_title: str
    """Application Entity Title of the peer."""
    state: str
    """received: requested, checked, reported, given up; sent: asking, asked, answered, refused, given up."""
    requested_at: datetime
    ended_at: datetime | None
    attempts: int
    last_error: str | None
    instances: int
    committed: int
    failed: int


class CommitmentDetail(CommitmentEntry):
    """A request with what failed."""

    failures: dict[str, str]
    """Failure Reasons (PS3.3 C.14.1.1) by SOP Instance UID."""


def commitment_routes(store: Store) -> APIRouter:
    """Return the routes under ``/api/commitments``."""
    router = APIRouter(prefix="/api/commitments", tags=["peers"])

    @router.get("", summary="Storage commitment that was asked for, the latest first")
    def list_commitments(limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[CommitmentEntry]:
        return [CommitmentEntry(**asdict(entry)) for entry in latest(store.engine, limit)]

    @router.get("/{uid}", summary="The requests under a Transaction UID, with what failed")
    def show_commitment(uid: Uid) -> list[CommitmentDetail]:
        return _details(store, uid)

    @router.post("/{uid}/retry", summary="Try again what was given up or refused")
    def retry_commitment(uid: Uid) -> list[CommitmentDetail]:
        again(store.engine, uid)
        return _details(store, uid)

    return router


def _details(store: Store, uid: str) -> list[CommitmentDetail]:
    return [
        CommitmentDetail(
            **asdict(entry), failures={instance: f"{reason:#06x}" for instance, reason in failures.items()}
        )
        for entry, failures in find(store.engine, uid)
    ]
