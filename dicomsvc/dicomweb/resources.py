"""From a request's path to stored instances and their bytes."""

import os
from collections.abc import Iterator

from starlette.requests import Request

from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dicomweb.body import PIECE_BYTES
from dicomsvc.errors import BadRequest, DamagedFile, NotFound
from dicomsvc.store import InstanceRecord, Store

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


def file_pieces(record: InstanceRecord, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Yield bytes of an instance's file; the whole by default.

    Raises
    ------
    NotFound
        When it was deleted.
    DamagedFile
        When it is damaged or has another size than it came with.
    """
    try:
        descriptor = os.open(record.readable_path(), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"instance {record.sop_instance_uid} was deleted") from None
    try:
        if os.fstat(descriptor).st_size != record.size:
            raise DamagedFile(f"the file of instance {record.sop_instance_uid} has another size than it came with")
        end = record.size if length is None else offset + length
        while offset < end:
            piece = _read(descriptor, min(PIECE_BYTES, end - offset), offset, record)
            offset += len(piece)
            yield piece
    finally:
        os.close(descriptor)


def _read(descriptor: int, length: int, offset: int, record: InstanceRecord) -> bytes:
    try:
        piece = os.pread(descriptor, length, offset)
    except OSError as error:
        raise DamagedFile(f"instance {record.sop_instance_uid} cannot be read: {error.strerror}") from None
    if not piece:
        raise DamagedFile(f"the file of instance {record.sop_instance_uid} is cut short")
    return piece
