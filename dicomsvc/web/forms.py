"""Files that a form sends (multipart/form-data, RFC 7578), written to disk piece by piece."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from email.message import Message
from pathlib import Path
from typing import IO, Final

from starlette.requests import ClientDisconnect, Request

from dicomsvc.dicomweb.multipart_in import MultipartReader, PartData, PartEnd, PartStart
from dicomsvc.errors import BadRequest, OutOfResources, TooLarge, UnsupportedMediaType

_MAX_FILE_BYTES: Final = 512 << 20
_MAX_OTHER_BYTES: Final = 1 << 20


@asynccontextmanager
async def form_files(request: Request, names: Collection[str], folder: Path) -> AsyncIterator[Mapping[str, Path]]:
    """Yield where the files of the wanted fields lie; they are removed at the end.

    Other fields are read over. ``folder`` is made where it is not there.

    Raises
    ------
    UnsupportedMediaType
        When the body is no form.
    BadRequest
        When it is cut short, or a field comes twice.
    TooLarge
        When a file is larger than 512 MiB.
    OutOfResources
        When the disk refuses.
    """
    kind = Message()
    kind["Content-Type"] = request.headers.get("Content-Type", "")
    if kind.get_content_type() != "multipart/form-data":
        raise UnsupportedMediaType("send the pictures as a form (multipart/form-data)")
    own = folder / f"incoming-{uuid.uuid4().hex}"
    try:
        await asyncio.to_thread(own.mkdir, 0o700, True)
        form = _Form(MultipartReader(str(kind.get_param("boundary", ""))), frozenset(names), own)
        try:
            async for piece in request.stream():
                await asyncio.to_thread(form.take, piece)
        except ClientDisconnect:
            raise BadRequest("the client went away") from None
        finally:
            await asyncio.to_thread(form.close)
        yield form.files
    except OSError as error:
        raise OutOfResources(f"the file cannot be kept: {error.strerror}") from error
    finally:
        await asyncio.to_thread(shutil.rmtree, own, ignore_errors=True)


class _Form:
    def __init__(self, reader: MultipartReader, names: frozenset[str], folder: Path) -> None:
        self._reader = reader
        self._names = names
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._size = 0
        self.files: dict[str, Path] = {}

    def take(self, piece: bytes) -> None:
        for event in self._reader.feed(piece):
            if isinstance(event, PartStart):
                self._begin(_field(event.headers.get("content-disposition", "")))
            elif isinstance(event, PartData):
                self._write(event.data)
            elif isinstance(event, PartEnd):
                self._end()

    def close(self) -> None:
        """Close what is open.

        Raises
        ------
        BadRequest
            When the closing delimiter did not come.
        """
        ended = self._reader.ended
        self._end()
        if not ended:
            raise BadRequest("the form is cut short")

    def _begin(self, name: str) -> None:
        self._end()
        self._size = 0
        if name not in self._names:
            return
        if name in self.files:
            raise BadRequest(f"the form has several {name}")
        # The name is one of a few that we know, never the client's own.
        self.files[name] = self._folder / name
        self._file = self.files[name].open("xb")

    def _write(self, data: memoryview) -> None:
        self._size += len(data)
        if self._size > (_MAX_OTHER_BYTES if self._file is None else _MAX_FILE_BYTES):
            raise TooLarge(f"a file of a form has at most {_MAX_FILE_BYTES >> 20} MiB")
        if self._file is not None:
            self._file.write(data)

    def _end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _field(disposition: str) -> str:
    header = Message()
    header["Content-Disposition"] = disposition
    name = header.get_param("name", "", header="Content-Disposition")
    return name if isinstance(name, str) else ""
