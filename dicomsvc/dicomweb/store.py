"""Store (STOW-RS, PS3.18 10.5) and delete: bodies streamed to the store's disk, never held in memory."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dicomsvc.audit import record
from dicomsvc.audit.web import address_of, not_stored
from dicomsvc.config import Settings
from dicomsvc.dicom.xml import dataset_xml
from dicomsvc.dicomweb.capabilities import capabilities_routes
from dicomsvc.dicomweb.media_types import DICOM_JSON, PLAIN_JSON, MediaType, choose, read_accept
from dicomsvc.dicomweb.multipart_in import MultipartReader
from dicomsvc.dicomweb.receiver import BodyReader, Failure, Outcome, Receiver, WholeBody
from dicomsvc.dicomweb.search import path_uid
from dicomsvc.dicomweb.store_response import store_document, store_status
from dicomsvc.dicomweb.urls import DICOMWEB_PATH, dicomweb_root
from dicomsvc.errors import BadRequest, DicomsvcError, TooLarge, UnsupportedMediaType
from dicomsvc.store import Source, Store

_log = logging.getLogger(__name__)
_PIECE_BYTES: Final = 1 << 20
_IDLE_SECONDS: Final = 120
_STORING_THREADS: Final = 4
_DICOM_XML_BODY: Final = MediaType("application/dicom+xml")


def store_routes(store: Store, settings: Settings) -> list[BaseRoute]:
    """Return the routes that store and delete, and the one that tells what the service can do."""
    threads = ThreadPoolExecutor(_STORING_THREADS, thread_name_prefix="stow")

    async def store_instances(request: Request) -> Response:
        return await _store_instances(request, store, settings, threads)

    async def delete(request: Request) -> Response:
        uids = [path_uid(request, name) for name in ("study", "series", "instance")]
        study = uids[0] or ""
        await run_in_threadpool(store.delete, _user(request), study, uids[1], uids[2])
        return Response(status_code=204)

    studies = DICOMWEB_PATH + "/studies"
    return [
        *capabilities_routes(settings),
        Route(studies, store_instances, methods=["POST"]),
        Route(studies + "/{study}", store_instances, methods=["POST"]),
        Route(studies + "/{study}", delete, methods=["DELETE"]),
        Route(studies + "/{study}/series/{series}", delete, methods=["DELETE"]),
        Route(studies + "/{study}/series/{series}/instances/{instance}", delete, methods=["DELETE"]),
    ]


def _user(request: Request) -> str:
    return str(request.scope.get("user", "anonymous"))


async def _store_instances(request: Request, store: Store, settings: Settings, threads: ThreadPoolExecutor) -> Response:
    media_type = choose(read_accept(request.scope), (DICOM_JSON, _DICOM_XML_BODY, PLAIN_JSON))
    study_instance_uid = path_uid(request, "study")
    reader = _body_reader(request)
    max_bytes = int(settings.http.max_upload_gb * (1 << 30))
    _require_size(request, max_bytes)
    source = Source("stow", _user(request), address_of(request.scope))
    receiver = Receiver(store, reader, source, study_instance_uid, threads)
    try:
        outcomes, stopped_by = await _receive(request, receiver, max_bytes)
    except ClientDisconnect:
        _log.info("a client went away while it was storing")
        # Nobody reads it.
        return Response(status_code=400)
    if not outcomes:
        raise stopped_by or BadRequest("the body has no part; PS3.18 10.5.1 says how it is written")
    _tell_failures(outcomes, request, store)
    document = store_document(outcomes, dicomweb_root(request.scope, settings.http), study_instance_uid)
    body = dataset_xml(document) if media_type is _DICOM_XML_BODY else json.dumps(document).encode()
    status = stopped_by.http_status if stopped_by else store_status(outcomes)
    headers = {"Content-Type": media_type.content_type()}
    if status == 503:
        headers["Retry-After"] = "30"
    if stopped_by or receiver.full:
        # The rest of the body is not read.
        headers["Connection"] = "close"
    return Response(body, status, headers)


def _require_size(request: Request, max_bytes: int) -> None:
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > max_bytes:
        raise TooLarge("the body is larger than the largest accepted (http.max_upload_gb)")


def _body_reader(request: Request) -> BodyReader:
    """Return the reader for the request's Content-Type.

    Raises
    ------
    UnsupportedMediaType
        When instances cannot be taken out of such a body.
    BadRequest
        When it is multipart without a usable boundary.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("the body has a Content-Encoding; send it as it is")
    header = Message()
    header["Content-Type"] = request.headers.get("content-type", "")
    main, part = header.get_content_type(), str(header.get_param("type", "application/dicom")).strip().lower()
    if main == "application/dicom" and header["Content-Type"]:
        return WholeBody()
    if main != "multipart/related" or part != "application/dicom":
        raise UnsupportedMediaType(
            'the body is neither multipart/related; type="application/dicom" nor application/dicom'
        )
    return MultipartReader(str(header.get_boundary() or ""))


async def _receive(request: Request, receiver: Receiver, max_bytes: int) -> tuple[list[Outcome], DicomsvcError | None]:
    """Read the body; return the outcomes, and the error that ended reading before its end."""
    taking: asyncio.Task[None] | None = None
    received = 0
    try:
        async for piece in _pieces(request):
            received += len(piece)
            if taking is not None:
                await taking
                taking = None
            if received > max_bytes:
                raise TooLarge("the body is larger than the largest accepted (http.max_upload_gb)")
            if receiver.full:
                break
            # One piece is written while the next one comes in.
            taking = asyncio.create_task(run_in_threadpool(receiver.feed, piece))
        if taking is not None:
            await taking
            taking = None
        return await run_in_threadpool(receiver.stop if receiver.full else receiver.finish), None
    except DicomsvcError as error:
        if taking is not None:
            await asyncio.wait([taking])
        return await run_in_threadpool(receiver.stop), error
    except BaseException:
        # The client is gone, or the service stops: what was complete stays, the rest leaves no trace.
        if taking is not None:
            await asyncio.wait([taking])
        await asyncio.shield(run_in_threadpool(receiver.stop))
        raise


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Yield the body in pieces of about a mebibyte.

    Raises
    ------
    BadRequest
        When nothing comes for too long.
    """
    chunks: list[bytes] = []
    size = 0
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                chunk = await anext(stream)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise BadRequest(f"nothing of the body came for {_IDLE_SECONDS} seconds") from None
        chunks.append(chunk)
        size += len(chunk)
        if size >= _PIECE_BYTES:
            yield b"".join(chunks)
            chunks, size = [], 0
    if size:
        yield b"".join(chunks)


def _tell_failures(outcomes: list[Outcome], request: Request, store: Store) -> None:
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    kinds = Counter(type(outcome.error).__name__ for outcome in failures)
    if kinds:
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        _log.warning("of %d parts some were not stored: %s", len(outcomes), counts)
        names = [(failure.sop_class_uid, failure.sop_instance_uid) for failure in failures]
        record(store.engine, not_stored(request.scope, names, f"not stored: {counts}"))
