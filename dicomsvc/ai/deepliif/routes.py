"""``/api/infer`` and ``/api/postprocess``: the requests that DeepLIIF's ImageJ plugin and scripts send."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from dicomsvc.ai.deepliif.answers import Pictures, infer, postprocess
from dicomsvc.ai.deepliif.parameters import Wish, read_wish
from dicomsvc.ai.ihc.engine import Engine
from dicomsvc.errors import BadRequest

FormFiles = Callable[[Request, Collection[str], Path], AbstractAsyncContextManager[Mapping[str, Path]]]
_JSON: Final = "application/json"
Text = Annotated[str | None, Query(max_length=20)]
ModelName = Annotated[str | None, Query(max_length=80, description="Model; ours, not in DeepLIIF's contract")]


def _form(**files: bool) -> dict[str, Any]:
    """Return how OpenAPI tells of a form with these files; the value says whether one is required."""
    properties = {name: {"type": "string", "format": "binary"} for name in files}
    schema = {"type": "object", "properties": properties, "required": [name for name in files if files[name]]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def deepliif_routes(engine: Engine, form_files: FormFiles, folder: Path) -> APIRouter:
    """Return the routes; ``form_files`` receives a form's files into ``folder``."""
    router = APIRouter(prefix="/api", tags=["DeepLIIF"])

    @router.post("/infer", summary="Score a picture of immunohistochemistry", openapi_extra=_form(img=True))
    async def infer_picture(
        request: Request,
        resolution: Text = None,
        pil: Text = None,
        slim: Text = None,
        nopost: Text = None,
        prob_thresh: Text = None,
        size_thresh: Text = None,
        size_thresh_upper: Text = None,
        marker_thresh: Text = None,
        model: ModelName = None,
    ) -> Response:
        wish = _wish(request)
        async with form_files(request, ("img",), folder) as files:
            call = partial(infer, engine, _file(files, "img"), wish, model)
            return Response(await engine.run(request, call), media_type=_JSON)

    @router.post(
        "/postprocess",
        summary="Score a picture again from its segmentation, at other thresholds",
        openapi_extra=_form(img=True, seg_img=True, marker_img=False),
    )
    async def postprocess_picture(
        request: Request,
        resolution: Text = None,
        pil: Text = None,
        slim: Text = None,
        prob_thresh: Text = None,
        size_thresh: Text = None,
        size_thresh_upper: Text = None,
        marker_thresh: Text = None,
    ) -> Response:
        wish = _wish(request)
        async with form_files(request, ("img", "seg_img", "marker_img"), folder) as files:
            pictures = Pictures(_file(files, "img"), _file(files, "seg_img"), files.get("marker_img"))
            return Response(await engine.run(request, partial(postprocess, engine, pictures, wish)), media_type=_JSON)

    return router


def _wish(request: Request) -> Wish:
    return read_wish(dict(request.query_params))


def _file(files: Mapping[str, Path], name: str) -> Path:
    if name not in files:
        raise BadRequest(f"the form has no file {name}")
    return files[name]
