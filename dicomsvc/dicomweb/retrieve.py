"""WADO-RS instances (PS3.18 10.4.1.1.1 to 10.4.1.1.3): studies, series and instances as ``application/dicom``.

Files go out byte for byte as they were stored, unless a client asks for Explicit VR Little Endian.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dicomsvc.audit import record as record_event
from dicomsvc.audit.web import retrieved
from dicomsvc.config import Settings
from dicomsvc.dicomweb.body import Body, BodyResponse, closing, coalesce, new_boundary, part_head
from dicomsvc.dicomweb.conditional import Unsatisfiable, etag, is_not_modified, requested_range
from dicomsvc.dicomweb.media_types import MediaType, choose, read_accept
from dicomsvc.dicomweb.resources import INSTANCE, SERIES, STUDY, file_pieces, find_records
from dicomsvc.dicomweb.transcode import can_make_explicit, explicit_pieces
from dicomsvc.dicomweb.urls import dicomweb_root, instance_url
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.wsi.native import EXPLICIT

DICOM: Final = "application/dicom"
_MIXED: Final = "*"


class Retrieve:
    """Endpoints of the three levels."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> list[BaseRoute]:
        return [Route(path, self.retrieve, methods=["GET"]) for path in (STUDY, SERIES, INSTANCE)]

    async def retrieve(self, request: Request) -> Response:
        records = await run_in_threadpool(find_records, self._store, request)
        chosen = choose(read_accept(request.scope), _offers(records, single="instance" in request.path_params))
        explicit = chosen.only_if_named
        for record in records:
            record.readable_path()
        record_event(self._store.engine, retrieved(request.scope, records))
        if chosen.multipart:
            return self._multipart(request, records, explicit=explicit)
        return self._single(request, records[0], explicit=explicit)

    def _multipart(self, request: Request, records: Sequence[InstanceRecord], *, explicit: bool) -> Response:
        tag = etag(*(record.sha256 for record in records), str(explicit), weak=True)
        headers = {"etag": tag, "vary": "Accept"}
        if is_not_modified(request.headers, tag):
            return Response(status_code=304, headers=headers)
        boundary = new_boundary()
        root = dicomweb_root(request.scope, self._settings.http)
        heads = [
            part_head(boundary, _part_type(record, explicit), first=not number, location=_location(root, record))
            for number, record in enumerate(records)
        ]
        length = sum(map(len, heads)) + sum(record.size for record in records) + len(closing(boundary))
        pieces = coalesce(self._parts(records, heads, boundary, explicit=explicit))
        headers["content-type"] = MediaType(DICOM, multipart=True).content_type(boundary)
        return BodyResponse(Body(pieces, None if explicit else length), headers=headers)

    def _parts(
        self, records: Sequence[InstanceRecord], heads: Sequence[bytes], boundary: str, *, explicit: bool
    ) -> Iterator[bytes]:
        for record, head in zip(records, heads, strict=True):
            yield head
            yield from self._content(record, explicit=explicit)
        yield closing(boundary)

    def _content(self, record: InstanceRecord, *, explicit: bool) -> Iterator[bytes]:
        if explicit and record.transfer_syntax_uid != EXPLICIT:
            return explicit_pieces(self._store, record)
        return file_pieces(self._store, record)

    def _single(self, request: Request, record: InstanceRecord, *, explicit: bool) -> Response:
        transcoded = explicit and record.transfer_syntax_uid != EXPLICIT
        tag = f'"{record.sha256.hex()}{"-explicit" if transcoded else ""}"'
        headers = {"etag": tag, "vary": "Accept"}
        if is_not_modified(request.headers, tag):
            return Response(status_code=304, headers=headers)
        headers["content-type"] = _part_type(record, explicit)
        if transcoded:
            return BodyResponse(Body(explicit_pieces(self._store, record)), headers=headers)
        return ranged(request, headers, record.size, partial(file_pieces, self._store, record))


def _offers(records: Sequence[InstanceRecord], *, single: bool) -> list[MediaType]:
    stored = {record.transfer_syntax_uid for record in records}
    syntax = stored.pop() if len(stored) == 1 else _MIXED
    forms = (True, False) if single else (True,)
    offers = [MediaType(DICOM, multipart, syntax) for multipart in forms]
    if syntax != EXPLICIT and all(map(can_make_explicit, records)):
        offers += [MediaType(DICOM, multipart, EXPLICIT, only_if_named=True) for multipart in forms]
    return offers


def _part_type(record: InstanceRecord, explicit: bool) -> str:
    return MediaType(DICOM, False, EXPLICIT if explicit else record.transfer_syntax_uid).part_content_type()


def _location(root: str, record: InstanceRecord) -> str:
    return instance_url(root, record.study_instance_uid, record.series_instance_uid, record.sop_instance_uid)


def ranged(
    request: Request, headers: dict[str, str], size: int, pieces: Callable[[int, int], Iterator[bytes]]
) -> Response:
    """Return the whole content of ``size`` bytes, or the part that the request's Range header names.

    ``pieces`` takes the offset of the first byte and the number of bytes.
    """
    headers["accept-ranges"] = "bytes"
    try:
        part = requested_range(request.headers, size, headers["etag"])
    except Unsatisfiable:
        return Response(status_code=416, headers={"content-range": f"bytes */{size}", "accept-ranges": "bytes"})
    if part is None:
        return BodyResponse(Body(pieces(0, size), size), headers=headers)
    headers["content-range"] = f"bytes {part.offset}-{part.offset + part.length - 1}/{size}"
    return BodyResponse(Body(pieces(part.offset, part.length), part.length), headers=headers, status_code=206)
