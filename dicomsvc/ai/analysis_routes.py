"""``/api/analyses``: models over slides, for those who do not speak UPS-RS."""

import io
from functools import partial
from typing import Annotated, Final, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse

from dicomsvc.ai.analysis.request import parse_regions
from dicomsvc.ai.analysis.review import Opinion, current_judgement, judge, latest_report
from dicomsvc.ai.analysis.submission import KIND, Wish, submit
from dicomsvc.ai.analysis_models import AnalysisEntry, AnalysisOrder, VerdictEntry, VerdictOrder
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.ai.overlay import overlay_picture
from dicomsvc.errors import Conflict, NotFound, OutOfResources
from dicomsvc.jobs import Jobs, State, WorkItem
from dicomsvc.objects.common import NOT_VERIFIED
from dicomsvc.objects.report_text import report_text
from dicomsvc.objects.segmentation import LABELMAP_STORAGE
from dicomsvc.objects.verification import Verdict
from dicomsvc.store import Store

Uid = Annotated[str, Path(max_length=64, pattern=r"^[0-9.]+$", description="UID of the analysis")]
_DRAWN_AT_ONCE: Final = 2
_MOST_WAITING: Final = 16
QueryUid = Annotated[str | None, Query(max_length=64, pattern=r"^[0-9.]+$")]


def analysis_routes(store: Store, jobs: Jobs) -> APIRouter:
    """Return the routes under ``/api/analyses``."""
    router = APIRouter(prefix="/api/analyses", tags=["analyses"])
    catalogue = Catalogue(store.settings)
    # A large picture takes some 200 MB while it is drawn.
    drawing = CapacityLimiter(_DRAWN_AT_ONCE)

    @router.post("", status_code=201, summary="Run a model over a slide, or regions of it")
    def create(
        order: AnalysisOrder,
        request: Request,
        idempotency_key: Annotated[
            str | None, Header(max_length=200, description="The same key makes one analysis, however often it is sent")
        ] = None,
    ) -> AnalysisEntry:
        wish = Wish(order.model, order.regions, order.options, order.priority)
        user = request.scope.get("user") or "anonymous"
        key = None if idempotency_key is None else f"analysis:{user}:{idempotency_key}"
        uids = order.study_instance_uid, order.series_instance_uid
        return AnalysisEntry.of(submit(store, catalogue, *uids, wish, user, key=key))

    @router.get("", summary="Analyses, latest first")
    def list_analyses(
        study_instance_uid: QueryUid = None,
        state: Annotated[
            Literal["SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"] | None, Query(description="PS3.4 CC.1.1")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
    ) -> list[AnalysisEntry]:
        items = jobs.search(kind=KIND, state=state, study_instance_uid=study_instance_uid, limit=limit, offset=offset)
        return [AnalysisEntry.of(item) for item in items]

    @router.get("/{uid}", summary="One analysis: progress, log, results")
    def show(uid: Uid) -> AnalysisEntry:
        return AnalysisEntry.of(_analysis(jobs, uid))

    @router.post("/{uid}/cancel", summary="Stop an analysis")
    def cancel(uid: Uid) -> AnalysisEntry:
        return AnalysisEntry.of(jobs.request_cancel(_analysis(jobs, uid).uid))

    @router.get("/{uid}/report.txt", response_class=PlainTextResponse, summary="The report as text")
    def report(uid: Uid) -> str:
        return report_text(latest_report(store, _analysis(jobs, uid)))

    @router.get("/{uid}/verdict", summary="The latest verdict on the result, null while nobody has given one")
    def verdict(uid: Uid) -> VerdictEntry | None:
        judgement = current_judgement(store, _analysis(jobs, uid))
        return None if judgement is None else VerdictEntry.of(judgement)

    @router.post("/{uid}/verdict", status_code=201, summary="Accept or reject the result")
    def give_verdict(uid: Uid, order: VerdictOrder, request: Request) -> VerdictEntry:
        opinion = Opinion(Verdict(order.verdict), order.person_name, order.organisation, order.comment)
        return VerdictEntry.of(judge(store, _analysis(jobs, uid), opinion, request.scope.get("user") or "anonymous"))

    @router.get("/{uid}/overlay.png", response_class=Response, summary="What was found, drawn over the slide")
    async def overlay(
        uid: Uid,
        region: Annotated[str | None, Query(max_length=80, description="X,Y,WIDTH,HEIGHT in slide pixels")] = None,
        max_size: Annotated[int, Query(ge=64, le=4096)] = 1600,
    ) -> Response:
        if drawing.statistics().tasks_waiting >= _MOST_WAITING:
            raise OutOfResources("too many pictures are asked for at once; try again later")
        draw = partial(_picture, store, jobs, uid, region, max_size)
        return Response(await to_thread.run_sync(draw, limiter=drawing), media_type="image/png")

    return router


def _analysis(jobs: Jobs, uid: str) -> WorkItem:
    item = jobs.get(uid)
    if item.kind != KIND:
        raise NotFound(f"there is no analysis {uid}")
    return item


def _note(store: Store, item: WorkItem) -> str:
    """Return what has been decided about a result, to stand below its picture."""
    try:
        judgement = current_judgement(store, item)
    except NotFound:
        judgement = None
    return NOT_VERIFIED if judgement is None else f"AI result, {judgement.verdict.lower()} by a person"


def _picture(store: Store, jobs: Jobs, uid: str, region: str | None, max_size: int) -> bytes:
    item = _analysis(jobs, uid)
    if item.state is not State.COMPLETED:
        raise Conflict(f"analysis {item.uid} is {item.state}; there is nothing to draw yet")
    place = None if region is None else parse_regions([region])[0].rectangle()
    # A label map shows the same as the segmentation that it lies beside.
    series = dict.fromkeys(
        each["series_instance_uid"] for each in item.outputs["instances"] if each["sop_class_uid"] != LABELMAP_STORAGE
    )
    inputs = item.inputs
    picture = overlay_picture(
        store,
        inputs["study_instance_uid"],
        inputs["series_instance_uid"],
        list(series),
        region=place,
        max_size=max_size,
        note=_note(store, item),
    )
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
