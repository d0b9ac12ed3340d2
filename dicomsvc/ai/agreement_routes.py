"""``/api/studies/{study}/agreement``: how far those who drew on a slide agree, and what most of them drew."""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Final

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from dicomsvc.ai.agreement.documents import plain
from dicomsvc.ai.agreement.stored import Question, compare_stored
from dicomsvc.ai.agreement.things import LEAST_IOU
from dicomsvc.ai.agreement.writing import WrittenConsensus, write_consensus
from dicomsvc.errors import OutOfResources
from dicomsvc.store import Store

Uid = Annotated[str, Path(max_length=64, pattern=r"^[0-9.]+$", description="Study Instance UID")]
_Name = Annotated[str, Field(max_length=324)]
_MOST_WAITING: Final = 8


class ConsensusOrder(BaseModel):
    """Whose drawings make the consensus: everybody's, or some people's, of all classes, or some."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    series_instance_uid: str | None = Field(None, max_length=64, pattern=r"^[0-9.]+$")
    """The slide; all of the study unless given."""
    annotators: tuple[_Name, ...] = Field((), max_length=50)
    classes: tuple[Annotated[str, Field(max_length=64)], ...] = Field((), max_length=100)
    models: bool = False
    """Whether results of models count as one more annotator."""
    least_iou: float = Field(LEAST_IOU, gt=0, le=1)


def agreement_routes(store: Store) -> APIRouter:
    """Return the routes under ``/api/studies/{study}/agreement``."""
    router = APIRouter(prefix="/api/studies", tags=["agreement"])
    # A comparison keeps a core busy, and holds all outlines in memory.
    comparing = CapacityLimiter(1)

    async def alone(work: Any) -> Any:
        if comparing.statistics().tasks_waiting >= _MOST_WAITING:
            raise OutOfResources("too many comparisons are asked for at once; try again later")
        return await to_thread.run_sync(work, limiter=comparing)

    @router.get("/{study_instance_uid}/agreement", summary="Agreement of those who drew on the slides of a study")
    async def show(
        study_instance_uid: Uid,
        series_instance_uid: Annotated[str | None, Query(max_length=64, pattern=r"^[0-9.]+$")] = None,
        annotator: Annotated[list[_Name] | None, Query(max_length=50, description="Only these people")] = None,
        label: Annotated[
            list[Annotated[str, Field(max_length=64)]] | None, Query(max_length=100, description="Only these classes")
        ] = None,
        models: Annotated[bool, Query(description="Count results of models as one more annotator")] = False,
        least_iou: Annotated[float, Query(gt=0, le=1)] = LEAST_IOU,
    ) -> list[dict[str, Any]]:
        people, classes = tuple(annotator or ()), tuple(label or ())
        question = Question(study_instance_uid, series_instance_uid, people, classes, models, least_iou)
        found = await alone(partial(compare_stored, store, question))
        return [plain(asdict(each)) for each in found]

    @router.post(
        "/{study_instance_uid}/agreement", status_code=201, summary="Store what more than half of the annotators drew"
    )
    async def create(study_instance_uid: Uid, order: ConsensusOrder, request: Request) -> list[WrittenConsensus]:
        question = Question(study_instance_uid, **order.model_dump())
        found: list[WrittenConsensus] = await alone(
            partial(write_consensus, store, question, request.scope.get("user") or "anonymous")
        )
        return found

    return router
