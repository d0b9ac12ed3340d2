"""``/api/uploads`` (tus 1.0: creation, termination, expiration), ``/api/upload-sets`` and ``/api/slides``."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.requests import ClientDisconnect

from dicomsvc.errors import BadRequest, UnsupportedMediaType
from dicomsvc.ingest.models import JobEntry, UploadEntry, UploadSetEntry, job_url, upload_url
from dicomsvc.ingest.removal import remove_upload
from dicomsvc.ingest.requests import ImportOptions, read_options_json
from dicomsvc.ingest.uploads import Upload, Uploads
from dicomsvc.jobs import Jobs
from dicomsvc.store import Store

_VERSION = "1.0.0"
_TUS = {"Tus-Resumable": _VERSION}
_PIECE_TYPE = "application/offset+octet-stream"
_LONGEST_HEADER = 64 << 10
Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
OptionsQuery = Annotated[str, Query(max_length=_LONGEST_HEADER, description="Import options as JSON")]


def upload_routes(store: Store, jobs: Jobs) -> APIRouter:
    """Return the routes by which files come over HTTP."""
    uploads = Uploads(store, jobs)
    router = APIRouter(prefix="/api", tags=["uploads"])
    _add_tus(router, uploads)
    _add_sets(router, uploads)
    _add_single_shot(router, uploads)
    return router


def _add_tus(router: APIRouter, uploads: Uploads) -> None:
    @router.options("/uploads", summary="What of tus is understood", status_code=204)
    def capabilities() -> Response:
        extensions = {"Tus-Version": _VERSION, "Tus-Extension": "creation,termination,expiration"}
        return Response(status_code=204, headers={**_TUS, **extensions, "Tus-Max-Size": str(uploads.max_bytes)})

    @router.post(
        "/uploads",
        summary="Start a resumable upload (tus)",
        status_code=201,
        response_class=Response,
        description="Needs `Upload-Length` and, in `Upload-Metadata`, `filename`; takes `options` (JSON) and `set`.",
    )
    def create(request: Request) -> Response:
        if (refusal := _other_version(request)) is not None:
            return refusal
        length = _number(request, "Upload-Length")
        metadata = _metadata(request.headers.get("Upload-Metadata", ""))
        if "filename" not in metadata:
            raise BadRequest("Upload-Metadata has no filename")
        options = read_options_json(metadata.get("options", "{}"))
        upload = uploads.create(metadata["filename"], length, options, _user(request), metadata.get("set") or None)
        headers = {**_TUS, "Location": upload_url(upload.id), "Upload-Offset": "0"}
        return Response(status_code=201, headers=headers | (_finished(uploads, upload) if length == 0 else {}))

    @router.head("/uploads/{upload_id}", summary="How far an upload is (tus)", response_class=Response)
    def stand(upload_id: Id, request: Request) -> Response:
        upload = uploads.get(upload_id, _user(request))
        headers = {**_TUS, "Upload-Offset": str(uploads.offset(upload)), "Cache-Control": "no-store"}
        if upload.length is not None:
            headers["Upload-Length"] = str(upload.length)
        return Response(status_code=200, headers=headers | _finished(uploads, upload))

    @router.get("/uploads/{upload_id}", summary="An upload and the work item that it became")
    def show(upload_id: Id, request: Request) -> UploadEntry:
        upload = uploads.get(upload_id, _user(request))
        item = uploads.work_item(upload)
        return UploadEntry(
            id=upload.id,
            url=upload_url(upload.id),
            name=upload.name,
            offset=uploads.offset(upload),
            length=upload.length,
            job=None if item is None else JobEntry.of(item),
        )

    @router.patch("/uploads/{upload_id}", summary="Send the next piece (tus)", status_code=204, response_class=Response)
    async def send(upload_id: Id, request: Request) -> Response:
        if (refusal := _other_version(request)) is not None:
            return refusal
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _PIECE_TYPE:
            raise UnsupportedMediaType(f"a piece of an upload has the type {_PIECE_TYPE}")
        upload = await asyncio.to_thread(uploads.get, upload_id, _user(request))
        offset = await uploads.receive(upload, _number(request, "Upload-Offset"), _body(request))
        finished = await asyncio.to_thread(_finished, uploads, upload)
        return Response(status_code=204, headers={**_TUS, "Upload-Offset": str(offset), **finished})

    @router.delete("/uploads/{upload_id}", summary="Give an upload up (tus)", status_code=204, response_class=Response)
    def terminate(upload_id: Id, request: Request) -> Response:
        remove_upload(uploads, uploads.get(upload_id, _user(request)))
        return Response(status_code=204, headers=_TUS)


def _add_sets(router: APIRouter, uploads: Uploads) -> None:
    @router.post("/upload-sets", status_code=201, summary="Start a set of files that belong together")
    def create_set(request: Request, response: Response, options: ImportOptions | None = None) -> UploadSetEntry:
        made = uploads.create_set(options or ImportOptions(), _user(request))
        url = f"/api/upload-sets/{made.id}"
        response.headers["Location"] = url
        return UploadSetEntry(id=made.id, url=url)

    @router.post("/upload-sets/{set_id}/finish", status_code=202, summary="All files are here: import them")
    def finish_set(set_id: Id, request: Request, response: Response) -> JobEntry:
        item = uploads.finish(_only_set(uploads, set_id, request))
        response.headers["Location"] = job_url(item.uid)
        return JobEntry.of(item)

    @router.delete("/upload-sets/{set_id}", status_code=204, summary="Give a set up", response_class=Response)
    def delete_set(set_id: Id, request: Request) -> Response:
        remove_upload(uploads, _only_set(uploads, set_id, request))
        return Response(status_code=204)


def _only_set(uploads: Uploads, set_id: str, request: Request) -> Upload:
    found = uploads.get(set_id, _user(request))
    if not found.is_set:
        raise BadRequest("this is an upload of one file, no set")
    return found


def _add_single_shot(router: APIRouter, uploads: Uploads) -> None:
    async def take_slide(
        request: Request,
        response: Response,
        filename: Annotated[str, Query(min_length=1, max_length=1024)],
        options: OptionsQuery = "{}",
    ) -> JobEntry:
        length = _number(request, "Content-Length") if "Content-Length" in request.headers else None
        checked = read_options_json(options)
        upload = await asyncio.to_thread(uploads.create, filename, length, checked, _user(request))
        try:
            await uploads.receive(upload, 0, _body(request))
            item = await asyncio.to_thread(uploads.finish, upload)
        except BaseException:
            # Nobody knows this upload's id to go on with it.
            await asyncio.to_thread(remove_upload, uploads, upload)
            raise
        response.headers["Location"] = job_url(item.uid)
        return JobEntry.of(item)

    for method in ("POST", "PUT"):
        router.add_api_route(
            "/slides",
            take_slide,
            methods=[method],
            status_code=202,
            summary="Send one file, whole, as the body",
            operation_id=f"{method.lower()}_slide",
        )


def _finished(uploads: Uploads, upload: Upload) -> dict[str, str]:
    """Make the work item when the last byte is there; a set's files wait for the set."""
    if upload.set_id is not None or upload.is_set or uploads.offset(upload) != upload.length:
        return {}
    return {"Content-Location": job_url(uploads.finish(upload).uid)}


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        raise BadRequest("the connection broke off") from None


def _user(request: Request) -> str:
    return str(request.scope.get("user", ""))


def _other_version(request: Request) -> Response | None:
    if request.headers.get("Tus-Resumable") == _VERSION:
        return None
    return Response(status_code=412, headers={"Tus-Version": _VERSION})


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest(f"{name} must be a number of bytes")
    return int(text)


def _metadata(header: str) -> dict[str, str]:
    """Read ``Upload-Metadata``: pairs of a key and base64, separated by commas."""
    pairs = {}
    for entry in header.split(","):
        key, _, value = entry.strip().partition(" ")
        try:
            pairs[key] = base64.b64decode(value, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            raise BadRequest("Upload-Metadata is not pairs of a key and base64 of UTF-8") from None
    return pairs
