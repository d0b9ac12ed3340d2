"""From a request's path to stored instances and their bytes."""

import os
from collections.abc import Iterator

from starlette.requests import Request

from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dicomweb.body import PIECE_BYTES
from dicomsvc.errors import BadRequest, DamagedFile, NotFound
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.store.digest import SendingDigest

STUDY = "/dicomweb/studies/{study}"
SERIES = STUDY + "/series/{series}"
INSTANCE = SERIES + "/instances/{instance}"


def find_records(store: Store, request: Request) -> list[InstanceRecord]:
    """Return the instances that the path names; blocks.

    Raises
    ------
    BadRequest
        When it holds something that is no UID.
    NotFound
        When there are none.
    """
    uids = [request.path_params[name] for name in ("study", "series", "instance") if name in request.path_params]
    if not all(map(is_valid_uid, uids)):
        raise BadRequest("the path holds something that is no UID")
    return store.instances.find(*uids)


def file_pieces(store: Store, record: InstanceRecord, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Yield bytes of an instance's file; the whole by default.

    They are compared with what they were before they leave: by the checks of the file's blocks, once these are known;
    a whole file until then, and a small one, by its digest, which tells of damage before the last bytes leave. A
    damaged file is served no longer.

    Raises
    ------
    NotFound
        When it was deleted.
    DamagedFile
        When it is damaged or has another size than it came with.
    OutOfResources
        When the database does not answer.
    """
    try:
        descriptor = os.open(record.readable_path(), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"instance {record.sop_instance_uid} was deleted") from None
    try:
        yield from _checked(store, record, descriptor, offset, record.size if length is None else offset + length)
    except DamagedFile:
        store.mark_open_damaged(record, descriptor)
        raise
    finally:
        os.close(descriptor)


def _checked(store: Store, record: InstanceRecord, descriptor: int, offset: int, end: int) -> Iterator[bytes]:
    if os.fstat(descriptor).st_size != record.size:
        raise DamagedFile(f"the file of instance {record.sop_instance_uid} has another size than it came with")
    is_whole = (offset, end) == (0, record.size)
    blocks = None if is_whole and end <= PIECE_BYTES else store.instances.blocks(record)
    digest = SendingDigest(record.sha256, end) if is_whole and blocks is None else None
    at, stop = (offset, end) if blocks is None else blocks.around(offset, end - offset)
    while at < stop:
        piece = _read(descriptor, min(PIECE_BYTES, stop - at), at, record)
        if (blocks is not None and not blocks.hold(at, piece)) or (digest is not None and not digest.holds(piece)):
            raise DamagedFile(f"the file of instance {record.sop_instance_uid} is damaged; restore it from a backup")
        yield piece[max(0, offset - at) : end - at]
        at += len(piece)


def _read(descriptor: int, length: int, offset: int, record: InstanceRecord) -> bytes:
    try:
        piece = os.pread(descriptor, length, offset)
        while len(piece) < length and (more := os.pread(descriptor, length - len(piece), offset + len(piece))):
            piece += more
    except OSError as error:
        raise DamagedFile(f"instance {record.sop_instance_uid} cannot be read: {error.strerror}") from None
    if len(piece) != length:
        raise DamagedFile(f"the file of instance {record.sop_instance_uid} is cut short")
    return piece
