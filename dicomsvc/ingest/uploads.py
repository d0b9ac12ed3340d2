"""Uploads on disk: written in pieces, resumed after any interruption, then made into a work item.

Below ``uploads/`` of the data folder each upload, and each set of uploads, has a folder named by its random id::

    <id>/upload.json      what was asked for, written once
    <id>/offset           how many bytes are durable
    <id>/content/<name>   the bytes; those of a set's files lie in the set's folder
    <id>/work_item        UID, once complete
"""

import fcntl
import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dicomsvc.errors import BadRequest, Conflict, NotFound, OutOfResources, TooLarge
from dicomsvc.ingest.imports import plan
from dicomsvc.ingest.names import own_name
from dicomsvc.ingest.receiving import Receiver
from dicomsvc.ingest.requests import ImportOptions
from dicomsvc.jobs import Jobs, WorkItem
from dicomsvc.store import Store
from dicomsvc.store.layout import sync_folder

_ID = re.compile(r"[0-9a-f]{32}\Z")
_MOST_OPEN = 20_000


@dataclass(frozen=True, slots=True)
class Upload:
    """One file, or with ``is_set`` a set of them. ``length`` in bytes, ``None`` until known."""

    id: str
    requested_by: str
    options: ImportOptions
    name: str = ""
    length: int | None = None
    set_id: str | None = None
    is_set: bool = False


class Uploads:
    """The uploads of a store. Blocking, but for `receive`."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self.root = store.layout.root / "uploads"
        self.root.mkdir(mode=0o700, exist_ok=True)
        self.max_bytes = int(store.settings.http.max_upload_gb * (1 << 30))
        self._reserve_bytes = store.settings.store.disk_reserve_mb << 20

    def create(
        self,
        name: str,
        length: int | None,
        options: ImportOptions,
        requested_by: str,
        set_id: str | None = None,
    ) -> Upload:
        """Start an upload of one file.

        Raises
        ------
        BadRequest, UnsupportedMediaType
            When the name cannot be taken.
        TooLarge
            When it is larger than ``http.max_upload_gb``.
        OutOfResources
            When the disk would be fuller than the reserve allows.
        Conflict
            When the set has a file of this name, or is complete.
        """
        path = own_name(name)
        if length is not None and length > self.max_bytes:
            raise TooLarge("the file is larger than the largest accepted (http.max_upload_gb)")
        self.require_space(length or 0)
        if set_id is not None and self._work_item_uid(self.get(set_id, requested_by)) is not None:
            raise Conflict("the upload set is complete")
        upload = Upload(secrets.token_hex(16), requested_by, options, str(path), length, set_id)
        self._write(upload)
        return upload

    def create_set(self, options: ImportOptions, requested_by: str) -> Upload:
        """Start a set of files that belong together, as a MIRAX slide or a folder of DICOM files."""
        upload = Upload(secrets.token_hex(16), requested_by, options, is_set=True)
        self._write(upload)
        return upload

    def _write(self, upload: Upload) -> None:
        if sum(1 for _ in os.scandir(self.root)) >= _MOST_OPEN:
            raise OutOfResources("too many uploads are open; finish or delete some")
        folder = self.root / upload.id
        try:
            folder.mkdir(mode=0o700)
            if not upload.is_set:
                content = self.content(upload)
                content.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(content, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
            document = {
                "requested_by": upload.requested_by,
                "options": upload.options.model_dump(exclude_defaults=True),
                "name": upload.name,
                "length": upload.length,
                "set_id": upload.set_id,
                "is_set": upload.is_set,
            }
            _write_durably(folder / "upload.json", json.dumps(document))
            sync_folder(self.root)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            folder.rmdir()
            raise Conflict("the upload set has a file of this name already") from None
        except OSError as error:
            raise OutOfResources(f"the upload cannot be started: {os.strerror(error.errno or 0)}") from error

    def get(self, upload_id: str, requested_by: str) -> Upload:
        """Return an upload.

        Raises
        ------
        NotFound
            When there is none with this id, or somebody else started it.
        """
        try:
            if _ID.match(upload_id) is None:
                raise FileNotFoundError
            document = json.loads((self.root / upload_id / "upload.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound("there is no such upload; it may have expired") from None
        if document["requested_by"] != requested_by:
            raise NotFound("there is no such upload; it may have expired")
        document["options"] = ImportOptions(**document["options"])
        return Upload(id=upload_id, **document)

    def content(self, upload: Upload) -> Path:
        """Return where the bytes of a file, or the files of a set, lie."""
        folder = self.root / (upload.set_id or upload.id) / "content"
        return folder.joinpath(*PurePosixPath(upload.name).parts)

    def offset(self, upload: Upload) -> int:
        """Return how many bytes are durable."""
        try:
            return int((self.root / upload.id / "offset").read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0

    def require_space(self, length: int = 0) -> None:
        """Raise `OutOfResources` when ``length`` more bytes would leave less than the reserve."""
        if self._store.free_bytes() - length < self._reserve_bytes:
            raise OutOfResources("the store's disk is nearly full (store.disk_reserve_mb); try again later")

    async def receive(self, upload: Upload, offset: int, body: AsyncIterator[bytes]) -> int:
        """Append the body at ``offset`` and return the new offset; what came is durable, also when it ends early.

        Raises
        ------
        Conflict
            When ``offset`` is not where the upload stands, or another request writes to it.
        TooLarge
            When more comes than was announced, or is allowed.
        OutOfResources
            When the disk refuses.
        """
        limit = self.max_bytes if upload.length is None else upload.length
        with self.locked(upload):
            if offset != self.offset(upload):
                raise Conflict(f"the upload stands at offset {self.offset(upload)}")
            receiver = Receiver(self.content(upload), offset, limit, self._record(upload), self.require_space)
            return await receiver.take(body)

    def _record(self, upload: Upload) -> "Record":
        return Record(self.root / upload.id / "offset")

    @contextmanager
    def locked(self, upload: Upload) -> Iterator[None]:
        """Keep others from writing to, or removing, an upload."""
        try:
            descriptor = os.open(self.root / upload.id / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise NotFound("there is no such upload; it may have expired") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Conflict("another request is writing to this upload") from None
        finally:
            os.close(descriptor)

    def finish(self, upload: Upload) -> WorkItem:
        """Make the work item of a complete upload or set; the same one however often this is called.

        Raises
        ------
        Conflict
            When bytes are missing.
        BadRequest
            When a set has no file.
        """
        uid = self._work_item_uid(upload)
        if uid is not None:
            return self._jobs.get(uid)
        self._require_complete(upload)
        kind, inputs = plan(self.content(upload), upload.options)
        item = self._jobs.create(kind, inputs, upload.requested_by, key=f"upload:{upload.id}")
        _write_durably(self.root / upload.id / "work_item", item.uid)
        return item

    def _require_complete(self, upload: Upload) -> None:
        if not upload.is_set:
            if upload.length is not None and self.offset(upload) != upload.length:
                raise Conflict("the upload is not complete")
            return
        members = [member for member in self.all() if member.set_id == upload.id]
        if not members:
            raise BadRequest("the upload set has no file")
        missing = sum(self.offset(member) != member.length for member in members)
        if missing:
            raise Conflict(f"{missing} files of the upload set are not complete")

    def all(self) -> Iterator[Upload]:
        """Yield every upload and set."""
        for folder in self.root.iterdir():
            try:
                document = json.loads((folder / "upload.json").read_text(encoding="utf-8"))
                document["options"] = ImportOptions(**document["options"])
                yield Upload(id=folder.name, **document)
            except (OSError, ValueError):
                continue

    def work_item(self, upload: Upload) -> WorkItem | None:
        """Return the work item that a complete upload became."""
        uid = self._work_item_uid(upload)
        return None if uid is None else self._jobs.get(uid)

    def _work_item_uid(self, upload: Upload) -> str | None:
        try:
            return (self.root / upload.id / "work_item").read_text(encoding="ascii")
        except FileNotFoundError:
            return None


class Record:
    """Keeps how many bytes of an upload are durable."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, offset: int) -> None:
        _write_durably(self._path, str(offset))


def _write_durably(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.rename(path)
    sync_folder(path.parent)
