"""Verification and Storage SCU: ask whether a peer answers, and send files to it (PS3.4 A, B).

A file goes out in the transfer syntax it has, read and sent piece by piece; nothing is transcoded.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.filereader import read_dataset
from pydicom.uid import UID
from pynetdicom.dsutils import split_dataset

from dicomsvc.dimse.channel import PDU_AND_PDV_HEADER_BYTES
from dicomsvc.dimse.commands import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    C_ECHO_RQ,
    C_STORE_RQ,
    SUCCESS,
    encode_request,
)
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES
from dicomsvc.dimse.failures import ConnectionEnded
from dicomsvc.dimse.pdu import ProposedContext
from dicomsvc.dimse.requestor import Association, Peer
from dicomsvc.dimse.verification import VERIFICATION_SOP_CLASS
from dicomsvc.errors import NotParseable, PeerFailure

_MAX_CONTEXTS: Final = 128
_MAX_MESSAGE_ID: Final = 0xFFFF
_SOP_INSTANCE_UID: Final = 0x00080018
_PIECE_BYTES: Final = 1 << 18
_ECHO: Final = encode_request(C_ECHO_RQ, 1, {AFFECTED_SOP_CLASS_UID: VERIFICATION_SOP_CLASS}, has_data_set=False)
_NO_PROGRESS: Final = 2
"""Associations in a row that brought no file across, before the rest is given up."""

Progress = Callable[[Path, int], None]
"""Called with a file and the number of its bytes that have just been sent."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """How one file fared. ``status`` is the peer's answer; `None` when there was none."""

    path: Path
    sop_instance_uid: str
    status: int | None
    message: str

    @property
    def ok(self) -> bool:
        """Whether the peer has the instance: success or warning (PS3.7 C.1, C.3)."""
        return self.status is not None and (self.status == SUCCESS or self.status >> 12 == 0xB)


@dataclass(frozen=True, slots=True)
class _Outgoing:
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    offset: int
    size: int

    @property
    def context(self) -> tuple[str, str]:
        return self.sop_class_uid, self.transfer_syntax

    def result(self, status: int | None, message: str) -> SendResult:
        return SendResult(self.path, self.sop_instance_uid, status, message)


def echo(peer: Peer) -> float:
    """Ask a peer for a C-ECHO and return how many seconds the answer took, association included.

    Raises
    ------
    PeerFailure
        When it does not answer, or not with success.
    """
    started = time.monotonic()
    with Association(peer, [ProposedContext(1, VERIFICATION_SOP_CLASS, MESSAGE_SYNTAXES)]) as association:
        context = next(iter(association.contexts.values()), None)
        if context is None:
            raise PeerFailure(f"{peer.host}:{peer.port} does not offer verification")
        try:
            association.channel.send_command(context.context_id, _ECHO)
        except ConnectionEnded as error:
            raise PeerFailure(f"{peer.host}:{peer.port} ended the association: {error}") from error
        status = association.response(1).command.status
        if status != SUCCESS:
            raise PeerFailure(f"{peer.host}:{peer.port} answers the echo with status {status or 0:#06x}")
    return time.monotonic() - started


def send_files(
    paths: Sequence[Path], peer: Peer, *, progress: Progress = lambda path, sent: None
) -> Iterator[SendResult]:
    """Send Part 10 files and yield a result for each; raises nothing for a file or peer that fails.

    Files that need more than 128 presentation contexts go over several associations. When an association breaks, its
    file has failed and the next one starts another.
    """
    files: list[_Outgoing] = []
    for path in paths:
        try:
            files.append(_read_head(path))
        except (OSError, NotParseable) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            yield SendResult(path, "", None, f"{path.name} cannot be read: {reason}")
    contexts = list(dict.fromkeys(file.context for file in files))
    for start in range(0, len(contexts), _MAX_CONTEXTS):
        group = contexts[start : start + _MAX_CONTEXTS]
        members = set(group)
        yield from _send_group([file for file in files if file.context in members], group, peer, progress)


def _send_group(
    files: Sequence[_Outgoing], contexts: Sequence[tuple[str, str]], peer: Peer, progress: Progress
) -> Iterator[SendResult]:
    proposed = [
        ProposedContext(2 * number + 1, sop_class, (transfer_syntax,))
        for number, (sop_class, transfer_syntax) in enumerate(contexts)
    ]
    position, fruitless = 0, 0
    while position < len(files):
        fruitless += 1
        try:
            with Association(peer, proposed) as association:
                while position < len(files):
                    result = _send(association, files[position], position % _MAX_MESSAGE_ID + 1, progress)
                    position, fruitless = position + 1, 0
                    yield result
        except PeerFailure as error:
            failed = files[position:] if fruitless >= _NO_PROGRESS else files[position : position + 1]
            position += len(failed)
            for file in failed:
                yield file.result(None, error.message)


def _send(association: Association, file: _Outgoing, message_id: int, progress: Progress) -> SendResult:
    context = association.contexts.get(file.context)
    if context is None:
        return file.result(None, f"the peer does not take {file.sop_class_uid} in {file.transfer_syntax}")
    uids = {AFFECTED_SOP_CLASS_UID: file.sop_class_uid, AFFECTED_SOP_INSTANCE_UID: file.sop_instance_uid}
    request = encode_request(C_STORE_RQ, message_id, uids)
    try:
        association.channel.send_command(context.context_id, request)
        _send_data_set(association, context.context_id, file, progress)
    except ConnectionEnded as error:
        raise PeerFailure(f"the association broke while {file.path.name} was sent: {error}") from error
    except OSError as error:
        raise PeerFailure(f"{file.path.name} cannot be read: {error.strerror}") from error
    command = association.response(message_id).command
    return file.result(command.status, command.error_comment)


def _send_data_set(association: Association, context_id: int, file: _Outgoing, progress: Progress) -> None:
    channel = association.channel
    piece = min(channel.fragment_bytes, _PIECE_BYTES) & ~1  # PS3.8 E.2: fragments have even length
    buffer = memoryview(bytearray(PDU_AND_PDV_HEADER_BYTES + piece))
    left = file.size - file.offset
    with file.path.open("rb", buffering=0) as stream:
        stream.seek(file.offset)
        while left:
            read = stream.readinto(buffer[PDU_AND_PDV_HEADER_BYTES:][: min(piece, left)])
            if not read:
                raise PeerFailure(f"{file.path.name} became shorter while it was sent")
            left -= read
            channel.send_fragment(context_id, buffer[: PDU_AND_PDV_HEADER_BYTES + read], last=not left)
            progress(file.path, read)


def _read_head(path: Path) -> _Outgoing:
    size = path.stat().st_size
    try:
        meta, offset = split_dataset(path)
        syntax = UID(meta.TransferSyntaxUID)
        sop_class_uid, sop_instance_uid = _sop_uids(path, offset, syntax) or (
            str(meta.MediaStorageSOPClassUID),
            str(meta.MediaStorageSOPInstanceUID),
        )
        head = _Outgoing(path, sop_class_uid, sop_instance_uid, str(syntax), offset, size)
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
