"""``/api/ihc/regions``: a person looks at a region, turns thresholds, and changes cells."""

import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import cv2
import numpy as np
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from dicomsvc.ai.ihc.drawing import png
from dicomsvc.ai.ihc.engine import Engine, Stop
from dicomsvc.ai.ihc.presets import DEFAULT, preset_named
from dicomsvc.ai.ihc.regions.documents import geojson, write_zip
from dicomsvc.ai.ihc.regions.edits import Line, append_edit, read_edits, replay
from dicomsvc.ai.ihc.regions.making import Maker, Order
from dicomsvc.ai.ihc.regions.models import (
    CellOrder,
    ChangeEntry,
    ClassOrder,
    RegionEntry,
    RegionOrder,
    ScoringEntry,
    ScoringOrder,
    ThresholdOrder,
)
from dicomsvc.ai.ihc.regions.region import Region
from dicomsvc.ai.ihc.regions.review import Review, addition, drawing_of, require_cell, review
from dicomsvc.ai.ihc.regions.storage import Regions
from dicomsvc.ai.ihc.thresholds import read_thresholds
from dicomsvc.errors import BadRequest
from dicomsvc.store import Store

FormFiles = Callable[[Request, Collection[str], Path], AbstractAsyncContextManager[Mapping[str, Path]]]
Id = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")]
Cell = Annotated[int, PathParameter(ge=1, lt=1 << 31)]
Picture = Literal["picture", "labels", "value", "refined", "overlaid", "seg", "hematoxylin", "marker", "dapi", "lap2"]
_JPEG_QUALITY: Final = 92


def region_routes(store: Store, engine: Engine, form_files: FormFiles) -> APIRouter:
    """Return the routes; ``form_files`` receives a form's files."""
    router = APIRouter(prefix="/api/ihc", tags=["immunohistochemistry"])
    regions = Regions(store)
    _add_making(router, regions, Maker(store, engine, regions), engine, form_files)
    _add_scoring(router, regions, engine)
    _add_changes(router, regions)
    return router


def _add_making(router: APIRouter, regions: Regions, maker: Maker, engine: Engine, form_files: FormFiles) -> None:
    @router.post("/regions", status_code=201, summary="Look at a part of a stored slide")
    async def create(order: RegionOrder, request: Request) -> RegionEntry:
        wish = Order(preset_named(order.marker), order.model, _user(request))
        call = partial(maker.of_slide, order.series_instance_uid, order.region.rectangle(), wish)
        return RegionEntry.of((await engine.run(request, call)).card)

    @router.post("/pictures", status_code=201, summary="Look at a picture, sent as the file `img` of a form")
    async def create_of_picture(
        request: Request,
        mpp: Annotated[float, Query(ge=0.05, le=1.1, description="Micrometres a pixel")],
        marker: Annotated[str, Query(max_length=32)] = DEFAULT,
        model: Annotated[str | None, Query(max_length=80)] = None,
    ) -> RegionEntry:
        wish = Order(preset_named(marker), model, _user(request))
        async with form_files(request, ("img",), regions.root.parent) as files:
            if "img" not in files:
                raise BadRequest("the form has no file img")
            region = await engine.run(request, lambda stop: maker.of_picture(files["img"], mpp, wish, stop))
        return RegionEntry.of(region.card)

    @router.get("/regions", summary="All regions, latest first")
    def list_regions() -> list[RegionEntry]:
        return [RegionEntry.of(card) for card in regions.list()]

    @router.get("/regions/{region_id}", summary="What a region is of, and by which model")
    def show(region_id: Id) -> RegionEntry:
        return RegionEntry.of(regions.card(region_id))

    @router.delete("/regions/{region_id}", status_code=204, response_class=Response, summary="Remove a region")
    def delete(region_id: Id) -> Response:
        regions.delete(region_id)
        return Response(status_code=204)


def _add_scoring(router: APIRouter, regions: Regions, engine: Engine) -> None:
    @router.post("/regions/{region_id}/scoring", summary="Score at thresholds, from the table of cells")
    def score(region_id: Id, order: ScoringOrder) -> ScoringEntry:
        region, seen, _ = _reviewed(regions, region_id, order)
        return _scored(region, seen, order)

    @router.get("/regions/{region_id}/images/{name}", response_class=Response, summary="A picture of a region")
    async def image(region_id: Id, name: Picture, request: Request) -> Response:
        thresholds = read_thresholds(dict(request.query_params))
        data = await engine.run(request, lambda stop: _image(regions, region_id, name, thresholds, stop))
        kind = "image/jpeg" if name == "picture" else "image/png"
        return Response(data, media_type=kind, headers={"Cache-Control": "no-store"})

    @router.get("/regions/{region_id}/results.zip", response_class=FileResponse, summary="Everything, as a ZIP")
    async def results(region_id: Id, request: Request) -> FileResponse:
        thresholds = read_thresholds(dict(request.query_params))
        path = await engine.run(request, lambda stop: _results(regions, region_id, thresholds, stop))
        remove = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, media_type="application/zip", filename="results.zip", background=remove)


def _add_changes(router: APIRouter, regions: Regions) -> None:
    @router.get("/regions/{region_id}/edits", summary="Who changed what, and when")
    def edits(region_id: Id) -> list[ChangeEntry]:
        return [ChangeEntry(**line) for line in read_edits(regions.folder(region_id))]

    @router.post("/regions/{region_id}/cells", status_code=201, summary="Add a cell")
    def add(region_id: Id, order: CellOrder, request: Request) -> ChangeEntry:
        region = regions.open(region_id)
        thresholds = order.thresholds()
        given = [
            None if each is None else region.card.from_slide(np.array(each, np.float64).reshape(-1, 2))
            for each in (order.point, order.outline)
        ]
        positive = None if order.class_ is None else order.class_ == "positive"

        def decide(lines: list[Line]) -> Line:
            seen = review(region, thresholds, replay(lines, len(region.table)))
            point = None if given[0] is None else (float(given[0][0, 0]), float(given[0][0, 1]))
            return addition(region, seen, point, given[1], positive)

        return _change(regions, region, request, decide)

    @router.delete("/regions/{region_id}/cells/{cell}", summary="Remove a cell, the model's or one that was added")
    def remove(region_id: Id, cell: Cell, request: Request) -> ChangeEntry:
        region = regions.open(region_id)

        def decide(lines: list[Line]) -> Line:
            require_cell(region, replay(lines, len(region.table)), cell)
            return {"what": "remove", "cell": cell}

        return _change(regions, region, request, decide)

    @router.patch("/regions/{region_id}/cells/{cell}", summary="Say that a cell is positive, or negative")
    def reclassify(region_id: Id, cell: Cell, order: ClassOrder, request: Request) -> ChangeEntry:
        region = regions.open(region_id)

        def decide(lines: list[Line]) -> Line:
            require_cell(region, replay(lines, len(region.table)), cell)
            return {"what": "class", "cell": cell, "positive": order.class_ == "positive"}

        return _change(regions, region, request, decide)


def _change(regions: Regions, region: Region, request: Request, decide: Callable[[list[Line]], Line]) -> ChangeEntry:
    line = append_edit(regions.folder(region.card.id), _user(request), decide)
    regions.touch(region.card.id)
    return ChangeEntry(**line)


def _reviewed(regions: Regions, region_id: str, order: ThresholdOrder) -> tuple[Region, Review, list[Line]]:
    region = regions.open(region_id)
    lines = read_edits(regions.folder(region_id))
    return region, review(region, order.thresholds(), replay(lines, len(region.table))), lines


def _scored(region: Region, seen: Review, order: ScoringOrder) -> ScoringEntry:
    classes = None
    added: list[dict[str, Any]] = []
    if order.classes:
        counted, positive = seen.answer.counted, seen.answer.positive
        classes = (counted.astype(np.uint8) * (1 + positive) + ord("0")).astype(np.uint8).tobytes().decode("ascii")
        added = [
            {"cell": number, "class": "positive" if cell.positive else "negative", "outline": cell.outline}
            for number, cell in seen.added.items()
        ]
    return ScoringEntry(
        scoring=seen.scoring(),
        warnings=region.card.warnings,
        classes=classes,
        added=added,
        geojson=geojson(region, seen) if order.geojson else None,
    )


def _image(regions: Regions, region_id: str, name: Picture, thresholds: Any, stop: Stop) -> bytes:
    stop.check()
    region = regions.open(region_id)
    if name == "picture":
        shown = cv2.cvtColor(region.maps.picture, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
    if name == "labels":
        # A number of 24 bits, the lowest 8 in red.
        labels = region.found.labels
        return png(np.stack([labels & 255, labels >> 8 & 255, labels >> 16 & 255], axis=2).astype(np.uint8))
    if name == "value":
        return png(region.found.value)
    if name in ("refined", "overlaid"):
        lines = read_edits(regions.folder(region_id))
        drawing = drawing_of(region, review(region, thresholds, replay(lines, len(region.table))))
        return png(drawing.refined() if name == "refined" else drawing.overlaid(region.maps.picture))
    return (regions.folder(region_id) / f"{name}.png").read_bytes()


def _results(regions: Regions, region_id: str, thresholds: Any, stop: Stop) -> Path:
    region, folder = regions.open(region_id), regions.folder(region_id)
    lines = read_edits(folder)
    seen = review(region, thresholds, replay(lines, len(region.table)))
    path = folder / f"results-{uuid.uuid4().hex}.zip"
    try:
        write_zip(path, region, seen, lines, stop.check)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _user(request: Request) -> str:
    return request.scope.get("user") or "anonymous"
