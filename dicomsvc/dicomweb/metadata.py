"""WADO-RS metadata (PS3.18 10.4.1.1.4): DICOM JSON as it was made and compressed at ingest, or XML."""

from collections.abc import Iterator, Sequence

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dicomsvc.audit import record as record_event
from dicomsvc.audit.web import looked_at
from dicomsvc.config import Settings
from dicomsvc.dicom.json import Metadata, metadata_dataset, metadata_gzip, metadata_json
from dicomsvc.dicom.xml import dataset_xml
from dicomsvc.dicomweb.body import Body, BodyResponse, closing, coalesce, new_boundary, part_head
from dicomsvc.dicomweb.conditional import accepts_gzip, etag, is_not_modified
from dicomsvc.dicomweb.media_types import DICOM_JSON, DICOM_XML, PLAIN_JSON, choose, read_accept
from dicomsvc.dicomweb.resources import INSTANCE, SERIES, STUDY, find_records
from dicomsvc.dicomweb.urls import dicomweb_root, instance_url
from dicomsvc.store import InstanceRecord, Store

Items = Sequence[tuple[Metadata, str]]


class RetrieveMetadata:
    """Endpoints of the three levels."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> list[BaseRoute]:
        return [Route(f"{path}/metadata", self.retrieve, methods=["GET"]) for path in (STUDY, SERIES, INSTANCE)]

    async def retrieve(self, request: Request) -> Response:
        chosen = choose(read_accept(request.scope), (DICOM_JSON, PLAIN_JSON, DICOM_XML))
        records = await run_in_threadpool(find_records, self._store, request)
        root = dicomweb_root(request.scope, self._settings.http)
        gzip = not chosen.multipart and accepts_gzip(request.headers)
        tag = etag(*(record.sha256 for record in records), root, chosen.name, str(gzip), weak=chosen.multipart)
        headers = {"etag": tag, "vary": "Accept, Accept-Encoding", "cache-control": "private, no-cache"}
        if is_not_modified(request.headers, tag):
            return Response(status_code=304, headers=headers)
        if gzip:
            headers["content-encoding"] = "gzip"
        record_event(self._store.engine, looked_at(request.scope, records))
        boundary = new_boundary() if chosen.multipart else ""
        headers["content-type"] = chosen.content_type(boundary)
        items = await run_in_threadpool(self._items, records, root)
        if boundary:
            return BodyResponse(Body(coalesce(_xml_parts(items, boundary))), headers=headers)
        return BodyResponse(Body(metadata_gzip(items) if gzip else metadata_json(items)), headers=headers)

    def _items(self, records: Sequence[InstanceRecord], root: str) -> Items:
        return [
            (
                metadata,
                instance_url(root, record.study_instance_uid, record.series_instance_uid, record.sop_instance_uid),
            )
            for record, metadata in self._store.instances.metadata(records)
        ]


def _xml_parts(items: Items, boundary: str) -> Iterator[bytes]:
    for number, (metadata, url) in enumerate(items):
        yield part_head(boundary, DICOM_XML.name, first=not number)
        yield dataset_xml(metadata_dataset(metadata, url))
    yield closing(boundary)
