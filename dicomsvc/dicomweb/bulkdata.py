"""WADO-RS bulk data (PS3.18 10.4.1.1.5): single values, and all of an instance, a series or a study.

Encapsulated pixel data is no single value: it goes out as its frames, each a part.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dicomsvc.audit import record as record_event
from dicomsvc.audit.web import looked_at
from dicomsvc.config import Settings
from dicomsvc.dicom.json import BulkRange
from dicomsvc.dicom.uids import TRANSFER_SYNTAXES
from dicomsvc.dicomweb.body import Body, BodyResponse, closing, coalesce, new_boundary, part_head
from dicomsvc.dicomweb.conditional import etag, is_not_modified
from dicomsvc.dicomweb.frame_media import OCTETS, frame_offers
from dicomsvc.dicomweb.media_types import Accept, MediaType, choose, read_accept
from dicomsvc.dicomweb.resources import INSTANCE, SERIES, STUDY, file_pieces, find_records
from dicomsvc.dicomweb.retrieve import ranged
from dicomsvc.dicomweb.urls import dicomweb_root, instance_url
from dicomsvc.errors import NotFound
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.wsi.frame_reader import open_frames

_SINGLE: Final = MediaType(OCTETS)
_MULTIPART: Final = MediaType(OCTETS, multipart=True)
# Numbers go out little endian (PS3.18 8.7.3.5), whatever the file has.
_WORDS: Final = {"OW": 2, "US": 2, "SS": 2, "OF": 4, "OL": 4, "UL": 4, "SL": 4, "FL": 4} | dict.fromkeys(
    ("OD", "OV", "UV", "SV", "FD"), 8
)


@dataclass(frozen=True, slots=True)
class BulkValue:
    """A bulk value of a stored instance, by the path that its URI ends with."""

    store: Store
    record: InstanceRecord
    path: str
    where: BulkRange

    def pieces(self, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        length = self.where.length if length is None else length
        word = _WORDS.get(self.where.vr, 1)
        if word == 1 or not TRANSFER_SYNTAXES[self.record.transfer_syntax_uid].big_endian:
            return file_pieces(self.store, self.record, self.where.offset + offset, length)
        return self._swapped(word, offset, length)

    def _swapped(self, word: int, offset: int, length: int) -> Iterator[bytes]:
        begin, end = offset // word * word, -(-(offset + length) // word) * word
        skip, rest = offset - begin, b""
        where = self.where.offset + begin, min(end, self.where.length) - begin
        for piece in file_pieces(self.store, self.record, *where):
            # Pieces end where they like.
            data = rest + piece
            rest = data[len(data) // word * word :]
            words = np.frombuffer(data[: len(data) - len(rest)], f">u{word}")
            swapped = words.astype(f"<u{word}").tobytes()[skip : skip + length]
            skip, length = 0, length - len(swapped)
            yield swapped


class RetrieveBulkData:
    """Endpoints of single values and of the three levels."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> list[BaseRoute]:
        levels = [Route(f"{path}/bulkdata", self.retrieve_all, methods=["GET"]) for path in (STUDY, SERIES, INSTANCE)]
        return [Route(INSTANCE + "/bulkdata/{path:path}", self.retrieve, methods=["GET"]), *levels]

    async def retrieve(self, request: Request) -> Response:
        value = await run_in_threadpool(self._find, request)
        value.record.readable_path()
        record_event(self._store.engine, looked_at(request.scope, [value.record]))
        accept = read_accept(request.scope)
        tag = etag(value.record.sha256, value.path)
        if value.where.encapsulated:
            return await run_in_threadpool(self._frames, accept, value)
        chosen = choose(accept, (_SINGLE, _MULTIPART))
        headers = {"etag": tag, "vary": "Accept"}
        if is_not_modified(request.headers, tag):
            return Response(status_code=304, headers=headers)
        if not chosen.multipart:
            headers["content-type"] = OCTETS
            return ranged(request, headers, value.where.length, value.pieces)
        boundary = new_boundary()
        head, tail = part_head(boundary, OCTETS, first=True, location=self._url(request, value)), closing(boundary)
        headers["content-type"] = chosen.content_type(boundary)
        length = len(head) + value.where.length + len(tail)
        return BodyResponse(Body(coalesce(chain((head,), value.pieces(), (tail,))), length), headers=headers)

    def _frames(self, accept: Accept, value: BulkValue) -> Response:
        reader = open_frames(self._store, value.record)
        chosen = choose(accept, frame_offers(reader.syntax, single=False))
        read = reader.encoded if chosen.transfer_syntax_uid == reader.syntax.uid else reader.native
        boundary = new_boundary()

        def pieces() -> Iterator[bytes]:
            for number in range(1, reader.index.number_of_frames + 1):
                yield part_head(boundary, chosen.part_content_type(), first=number == 1)
                yield read(number)
            yield closing(boundary)

        headers = {"content-type": chosen.content_type(boundary), "vary": "Accept"}
        return BodyResponse(Body(coalesce(pieces())), headers=headers)

    async def retrieve_all(self, request: Request) -> Response:
        choose(read_accept(request.scope), (_MULTIPART,))
        values = await run_in_threadpool(self._find_all, request)
        record_event(self._store.engine, looked_at(request.scope, [value.record for value in values]))
        boundary = new_boundary()
        parts = coalesce(self._all_parts(request, values, boundary))
        headers = {"content-type": _MULTIPART.content_type(boundary), "vary": "Accept"}
        return BodyResponse(Body(parts), headers=headers)

    def _all_parts(self, request: Request, values: Sequence[BulkValue], boundary: str) -> Iterator[bytes]:
        first = True
        for value in values:
            url = self._url(request, value)
            if not value.where.encapsulated:
                yield part_head(boundary, OCTETS, first=first, location=url)
                yield from value.pieces()
                first = False
                continue
            reader = open_frames(self._store, value.record)
            media = MediaType(reader.syntax.media_type, False, reader.syntax.uid)
            for number in range(1, reader.index.number_of_frames + 1):
                yield part_head(boundary, media.part_content_type(), first=first, location=f"{url}/frames/{number}")
                yield reader.encoded(number)
                first = False
        yield closing(boundary)

    def _find(self, request: Request) -> BulkValue:
        path = request.path_params["path"]
        (record,) = find_records(self._store, request)
        for _, metadata in self._store.instances.metadata([record]):
            where = metadata.bulk.get(path)
            if where is not None:
                return BulkValue(self._store, record, path, where)
        raise NotFound(f"instance {record.sop_instance_uid} has no such bulk data")

    def _find_all(self, request: Request) -> list[BulkValue]:
        found = self._store.instances.metadata(find_records(self._store, request))
        values = [
            BulkValue(self._store, record, path, where)
            for record, metadata in found
            for path, where in metadata.bulk.items()
        ]
        if not values:
            raise NotFound("there is no bulk data")
        return values

    def _url(self, request: Request, value: BulkValue) -> str:
        record = value.record
        root = dicomweb_root(request.scope, self._settings.http)
        uids = (record.study_instance_uid, record.series_instance_uid, record.sop_instance_uid)
        return f"{instance_url(root, *uids)}/bulkdata/{value.path}"
