"""``/api/slides/SERIES/clicks`` and ``/api/images/clicks``."""

import json
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path as File
from typing import Annotated, Any, Final

import numpy as np
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from dicomsvc.ai.clicks.documents import geojson_document
from dicomsvc.ai.clicks.points import Points, read_points
from dicomsvc.ai.clicks.service import Asked, ClickService
from dicomsvc.errors import BadRequest, OutOfResources
from dicomsvc.store import Store

FormFiles = Callable[[Request, Collection[str], File], AbstractAsyncContextManager[Mapping[str, File]]]
Uid = Annotated[str, Path(max_length=64, pattern=r"^[0-9.]+$", description="Series of the slide")]
_MODEL: Final = "nuclick"
_GEOJSON: Final = "application/geo+json"
_AT_ONCE: Final = 4
_MOST_WAITING: Final = 32
_FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "img": {"type": "string", "format": "binary"},
                        "points": {"type": "string", "description": "[[x, y], …] as JSON"},
                    },
                    "required": ["img", "points"],
                }
            }
        },
    }
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {}, _GEOJSON: {}}, "description": "Each click's thing, or why there is none"}
}


class ClickOrder(BaseModel):
    """Where somebody clicked. ``points`` are slide pixels (x, y), the slide's top left corner being (0, 0)."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    points: Points
    model: str = Field(_MODEL, max_length=80)
    """A model of the kind ``clicks``: ``NAME`` or ``NAME:NUMBER``."""
    store: bool = False
    """Keep what was found, as semi-automatic annotations and a report."""


def click_routes(store: Store, form_files: FormFiles) -> APIRouter:
    """Return the routes; ``form_files`` receives a form's files."""
    router = APIRouter(prefix="/api", tags=["clicks"])
    service = ClickService(store)
    answering = CapacityLimiter(_AT_ONCE)

    async def answered(request: Request, model: str, call: Callable[[], dict[str, Any]]) -> Response:
        if answering.statistics().tasks_waiting >= _MOST_WAITING:
            raise OutOfResources("too many clicks are being answered at once; try again later")
        document = await to_thread.run_sync(call, limiter=answering)
        if _GEOJSON in request.headers.get("accept", ""):
            shown = geojson_document(document, service.model(model))
            return Response(json.dumps(shown, ensure_ascii=False), media_type=_GEOJSON)
        return Response(json.dumps(document, ensure_ascii=False), media_type="application/json")

    @router.post(
        "/slides/{series_instance_uid}/clicks",
        summary="Outline what was clicked on a slide",
        response_class=Response,
        responses=_ANSWERS,
    )
    async def on_slide(series_instance_uid: Uid, order: ClickOrder, request: Request) -> Response:
        who = (request.scope.get("user") or "anonymous") if order.store else None
        asked = Asked(np.array(order.points, np.float64), order.model)
        return await answered(request, order.model, partial(service.on_slide, series_instance_uid, asked, keep_for=who))

    @router.post(
        "/images/clicks",
        summary="Outline what was clicked on a picture",
        response_class=Response,
        responses=_ANSWERS,
        openapi_extra=_FORM,
    )
    async def on_picture(
        request: Request,
        mpp: Annotated[float, Query(ge=0.01, le=100, description="Micrometres a pixel")],
        model: Annotated[str, Query(max_length=80)] = _MODEL,
    ) -> Response:
        async with form_files(request, ("img", "points"), store.layout.root / "clicks") as files:
            for name in ("img", "points"):
                if name not in files:
                    raise BadRequest(f"the form has no field {name}")
            asked = Asked(read_points(files["points"]), model)
            return await answered(request, model, partial(service.on_picture, files["img"], mpp, asked))

    return router
