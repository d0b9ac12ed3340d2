"""Verification and Storage SCU: ask whether a peer answers, and send files to it (PS3.4 A, B).

A file goes out in the transfer syntax it has, read and sent piece by piece.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicomsvc.dimse.commands import (
    AFFECTED_SOP_CLASS_UID,
    C_ECHO_RQ,
    SUCCESS,
    encode_request,
)
from dicomsvc.dimse.contexts import MESSAGE_SYNTAXES, MOST_CONTEXTS
from dicomsvc.dimse.failures import ConnectionEnded, MessageBroken
from dicomsvc.dimse.outgoing import Outgoing, Progress, read_head, send_instance
from dicomsvc.dimse.pdu import ProposedContext
from dicomsvc.dimse.requestor import Association, Peer
from dicomsvc.dimse.verification import VERIFICATION_SOP_CLASS
from dicomsvc.errors import NotParseable, PeerFailure

_MAX_MESSAGE_ID: Final = 0xFFFF
_ECHO: Final = encode_request(C_ECHO_RQ, 1, {AFFECTED_SOP_CLASS_UID: VERIFICATION_SOP_CLASS}, has_data_set=False)
_NO_PROGRESS: Final = 2
"""Associations in a row that brought no file across, before the rest is given up."""


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
    files: list[Outgoing] = []
    for path in paths:
        try:
            files.append(read_head(path))
        except (OSError, NotParseable) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            yield SendResult(path, "", None, f"{path.name} cannot be read: {reason}")
    contexts = list(dict.fromkeys(file.context for file in files))
    for start in range(0, len(contexts), MOST_CONTEXTS):
        group = contexts[start : start + MOST_CONTEXTS]
        members = set(group)
        yield from _send_group([file for file in files if file.context in members], group, peer, progress)


def _send_group(
    files: Sequence[Outgoing], contexts: Sequence[tuple[str, str]], peer: Peer, progress: Progress
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
                yield _result(file, None, error.message)


def _send(association: Association, file: Outgoing, message_id: int, progress: Progress) -> SendResult:
    context = association.contexts.get(file.context)
    if context is None:
        return _result(file, None, f"the peer does not take {file.sop_class_uid} in {file.transfer_syntax}")
    try:
        send_instance(association.channel, context.context_id, file, message_id, progress=progress)
    except ConnectionEnded as error:
        raise PeerFailure(f"the association broke while {file.path.name} was sent: {error}") from error
    except MessageBroken as error:
        raise PeerFailure(str(error)) from error
    except OSError as error:
        return _result(file, None, f"{file.path.name} cannot be read: {error.strerror}")
    command = association.response(message_id).command
    return _result(file, command.status, command.error_comment)


def _result(file: Outgoing, status: int | None, message: str) -> SendResult:
    return SendResult(file.path, file.sop_instance_uid, status, message)
