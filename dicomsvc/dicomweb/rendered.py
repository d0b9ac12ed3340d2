"""Rendered resources and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.7): pictures for people, as JPEG or PNG.

Of a whole slide image the picture is that of the level, read from the coarsest level that has enough pixels.
"""

import os
from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dicomsvc.audit import record as record_event
from dicomsvc.audit.web import looked_at
from dicomsvc.config import Settings
from dicomsvc.dicomweb.body import closing, new_boundary, part_head
from dicomsvc.dicomweb.conditional import etag, is_not_modified
from dicomsvc.dicomweb.frames import frame_numbers
from dicomsvc.dicomweb.media_types import MediaType, choose, read_accept
from dicomsvc.dicomweb.render import DEFAULT_SIDE, Source, apply_profile, encode, render
from dicomsvc.dicomweb.resources import INSTANCE, SERIES, STUDY, find_records
from dicomsvc.dicomweb.viewport import Rendering, read_rendering
from dicomsvc.errors import BadRequest, NotFound
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.wsi.image import StoredImage, open_image
from dicomsvc.wsi.slide import open_slide

THUMBNAIL_SIDE: Final = 256
_MAX_FRAMES: Final = 64
_PICTURES: Final = (MediaType("image/jpeg"), MediaType("image/png"))
_WHOLE_SLIDE: Final = "1.2.840.10008.5.1.4.1.1.77.1.6"
_IGNORED: Final = '299 dicomsvc "the parameter annotation is ignored"'


class RetrieveRendered:
    """Endpoints of the three levels and of frames."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._rendering = anyio.CapacityLimiter(max(1, os.cpu_count() or 1))

    def routes(self) -> list[BaseRoute]:
        levels = (INSTANCE + "/frames/{frames}", INSTANCE, SERIES, STUDY)
        return [
            Route(f"{path}/{kind}", partial(self.retrieve, default_side=side), methods=["GET"])
            for path in levels
            for kind, side in (("rendered", DEFAULT_SIDE), ("thumbnail", THUMBNAIL_SIDE))
        ]

    async def retrieve(self, request: Request, *, default_side: int) -> Response:
        frames = frame_numbers(request.path_params["frames"]) if "frames" in request.path_params else []
        if len(frames) > _MAX_FRAMES:
            raise BadRequest(f"at most {_MAX_FRAMES} frames are rendered at once")
        multipart = len(frames) > 1
        offers = [MediaType(media.name, multipart) for media in _PICTURES]
        chosen = choose(read_accept(request.scope), offers)
        rendering = read_rendering(request.query_params)
        records = await run_in_threadpool(find_records, self._store, request)
        record = representative(records)
        tag = etag(record.sha256, request.url.path, request.url.query, chosen.name, weak=multipart)
        headers = {"etag": tag, "vary": "Accept", "cache-control": "private, no-cache"}
        if "annotation" in request.query_params:
            headers["warning"] = _IGNORED
        if is_not_modified(request.headers, tag):
            return Response(status_code=304, headers=headers)
        record_event(self._store.engine, looked_at(request.scope, [record]))
        make = partial(self._pictures, record, frames, rendering, chosen, default_side)
        pictures = await anyio.to_thread.run_sync(make, limiter=self._rendering)
        if not multipart:
            return Response(pictures[0], headers={**headers, "content-type": chosen.name})
        return _multipart(pictures, chosen, headers)

    def _pictures(
        self,
        record: InstanceRecord,
        frames: Sequence[int],
        rendering: Rendering,
        chosen: MediaType,
        default_side: int,
    ) -> list[bytes]:
        image = self._open(record)
        sources = [Source(image, image.reader.decoded(number)) for number in frames] or [Source(image)]
        open_pyramid = partial(
            open_slide, self._store, record.study_instance_uid, record.series_instance_uid, like=image
        )
        made = []
        for source in sources:
            picture: Image.Image = render(source, open_pyramid, rendering, default_side)
            picture, profile = apply_profile(picture, image, rendering.profile)
            made.append(encode(picture, chosen.name, rendering.quality, profile))
        return made

    def _open(self, record: InstanceRecord) -> StoredImage:
        for found in self._store.instances.metadata([record]):
            return open_image(self._store, *found)
        raise NotFound(f"instance {record.sop_instance_uid} was deleted")


def representative(records: Sequence[InstanceRecord]) -> InstanceRecord:
    """Return the instance that a picture of several is made of: a slide's finest level, else the first with pixels.

    Raises
    ------
    NotFound
        When none has pixels.
    """
    images = [record for record in records if record.number_of_frames]
    if not images:
        raise NotFound("there are no images to render")
    slides = [record for record in images if record.sop_class_uid == _WHOLE_SLIDE]
    return max(slides, key=lambda record: record.number_of_frames) if slides else images[0]


def _multipart(pictures: Sequence[bytes], chosen: MediaType, headers: dict[str, str]) -> Response:
    boundary = new_boundary()
    pieces = []
    for number, picture in enumerate(pictures):
        pieces += [part_head(boundary, chosen.name, first=not number), picture]
    pieces.append(closing(boundary))
    return Response(b"".join(pieces), headers={**headers, "content-type": chosen.content_type(boundary)})
