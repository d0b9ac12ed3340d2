"""Files on their way to a peer, as C-STORE requests: read and sent piece by piece, never altered (PS3.7 9.1.1).

What is known by its digest is compared with it before its last byte leaves. A small file is read once more for that
before it is sent, so that damage costs its own C-STORE only; of a large one the last fragment is held back, and the
message that has begun can only be ended with the association.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final, Protocol, Self

from pydicom.filereader import read_dataset
from pydicom.uid import UID
from pynetdicom.dsutils import split_dataset

from dicomsvc.dicom.part10 import read_file_meta
from dicomsvc.dimse.channel import PDU_AND_PDV_HEADER_BYTES, MessageChannel
from dicomsvc.dimse.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    C_STORE_RQ,
    MOVE_ORIGINATOR_AE_TITLE,
    MOVE_ORIGINATOR_MESSAGE_ID,
    encode_request,
)
from dicomsvc.dimse.failures import MessageBroken
from dicomsvc.errors import DamagedFile, NotParseable
from dicomsvc.store.digest import require_digest

_SOP_INSTANCE_UID: Final = 0x00080018
_PIECE_BYTES: Final = 1 << 18
_CHECKED_BEFORE_BYTES: Final = 64 << 20

Progress = Callable[[Path, int], None]
"""Called with a file and the number of its bytes that have just been sent."""


@dataclass(frozen=True, slots=True)
class Originator:
    """Whose C-MOVE a C-STORE belongs to."""

    ae_title: str
    message_id: int


class Known(Protocol):
    """What is known of a file: a stored instance, or a copy of one."""

    @property
    def sop_class_uid(self) -> str: ...
    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def transfer_syntax_uid(self) -> str: ...
    @property
    def sha256(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A Part 10 file to send. ``offset``: where its data set begins; ``sha256``: digest of all of it, if known."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    offset: int
    size: int
    sha256: bytes | None = None

    @property
    def context(self) -> tuple[str, str]:
        """Abstract and transfer syntax of the presentation context that it needs."""
        return self.sop_class_uid, self.transfer_syntax

    @classmethod
    def of(cls, path: Path, known: Known) -> Self:
        """Return the file of which this is ``known``.

        Raises
        ------
        OSError
            When the file cannot be read.
        DamagedFile
            When it has no File Meta Information.
        """
        return cls(
            path,
            known.sop_class_uid,
            known.sop_instance_uid,
            known.transfer_syntax_uid,
            _data_set_offset(path),
            path.stat().st_size,
            known.sha256,
        )


def _data_set_offset(path: Path) -> int:
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return read_file_meta(data).end
    except (NotParseable, ValueError) as error:
        raise DamagedFile(f"{path.name} has lost its File Meta Information") from error


def read_head(path: Path) -> Outgoing:
    """Return what a C-STORE request says of any file.

    Raises
    ------
    OSError
        When the file cannot be read.
    NotParseable
        When it is no Part 10 file.
    """
    size = path.stat().st_size
    try:
        meta, offset = split_dataset(path)
        syntax = UID(meta.TransferSyntaxUID)
        sop_class_uid, sop_instance_uid = _sop_uids(path, offset, syntax) or (
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
        )
        head = Outgoing(path, sop_class_uid, sop_instance_uid, str(syntax), offset, size)
    except OSError:
        raise
    except Exception as error:
        raise NotParseable("it is no DICOM file with File Meta Information") from error
    if offset >= size:
        raise NotParseable("it has no data set")
    return head


def _sop_uids(path: Path, offset: int, syntax: UID) -> tuple[str, str] | None:
    """Return the data set's SOP Class and Instance UID, which receivers compare with the request's."""
    if syntax.is_deflated:
        return None
    with path.open("rb") as file:
        file.seek(offset)
        ds = read_dataset(
            file,
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=lambda tag, vr, length: tag > _SOP_INSTANCE_UID,
        )
    return str(ds.SOPClassUID), str(ds.SOPInstanceUID)


def send_instance(
    channel: MessageChannel,
    context_id: int,
    file: Outgoing,
    message_id: int,
    *,
    originator: Originator | None = None,
    progress: Progress = lambda path, sent: None,
) -> None:
    """Send a C-STORE request with its data set; the response is still to come.

    Raises
    ------
    OSError, DamagedFile
        When the file cannot be read, or has lost its bytes; nothing has been sent then.
    MessageBroken
        When that shows after the first byte has left: the association is to be aborted.
    ConnectionEnded
        When the peer is gone.
    """
    elements: dict[int, int | str] = {
        AFFECTED_SOP_CLASS_UID: file.sop_class_uid,
        AFFECTED_SOP_INSTANCE_UID: file.sop_instance_uid,
    }
    if originator is not None:
        elements[MOVE_ORIGINATOR_AE_TITLE] = originator.ae_title
        elements[MOVE_ORIGINATOR_MESSAGE_ID] = originator.message_id
    request = encode_request(C_STORE_RQ, message_id, elements)
    if file.sha256 is not None and file.size <= _CHECKED_BEFORE_BYTES:
        require_digest(file.path, file.sha256)
    with file.path.open("rb", buffering=0) as stream:
        digest = hashlib.sha256() if file.sha256 is not None and file.size > _CHECKED_BEFORE_BYTES else None
        if digest is not None:
            digest.update(stream.read(file.offset))
        stream.seek(file.offset)
        channel.send_command(context_id, request)
        piece = min(channel.fragment_bytes, _PIECE_BYTES) & ~1  # PS3.8 E.2: fragments have even length
        buffer = memoryview(bytearray(PDU_AND_PDV_HEADER_BYTES + piece))
        left = file.size - file.offset
        while left:
            part = buffer[: PDU_AND_PDV_HEADER_BYTES + min(piece, left)]
            value = part[PDU_AND_PDV_HEADER_BYTES:]
            try:
                read = stream.readinto(value) or 0
            except OSError as error:
                raise MessageBroken(f"{file.path.name} could not be read on") from error
            if not read:
                raise MessageBroken(f"{file.path.name} became shorter while it was sent")
            left -= read
            if digest is not None:
                digest.update(value[:read])
                if not left and digest.digest() != file.sha256:
                    raise MessageBroken(f"{file.path.name} is damaged", damaged=True)
            channel.send_fragment(context_id, part[: PDU_AND_PDV_HEADER_BYTES + read], last=not left)
            progress(file.path, read)
