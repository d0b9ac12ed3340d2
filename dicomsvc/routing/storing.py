"""Sending by C-STORE: as many instances as there are over one association (PS3.4 B)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from dicomsvc.dimse.contexts import MOST_CONTEXTS, sending_contexts
from dicomsvc.dimse.failures import ConnectionEnded, MessageBroken
from dicomsvc.dimse.outgoing import Outgoing, send_instance
from dicomsvc.dimse.requestor import Association, Peer
from dicomsvc.errors import Cancelled, DicomsvcError, OutOfResources, PeerFailure
from dicomsvc.routing.ledger import Item
from dicomsvc.routing.packing import Packing
from dicomsvc.routing.statuses import Answer, Verdict, verdict_of

_MAX_MESSAGE_ID: Final = 0xFFFF
_NO_PROGRESS: Final = 2
"""Associations in a row that broke before any answer came, before the peer is left alone for now."""

Progress = Callable[[int], None]
"""Called with the number of bytes that have just been sent."""


def store_all(peer: Peer, items: Sequence[Item], packing: Packing, progress: Progress) -> Iterator[Answer]:
    """Send instances and yield what became of each.

    Raises
    ------
    PeerFailure
        When the peer cannot be reached, refuses the association, or breaks it again and again; those that no answer
        was yielded for are still to be sent.
    """
    contexts = list(dict.fromkeys((item.sop_class_uid, item.transfer_syntax_uid) for item in items))
    for start in range(0, len(contexts), MOST_CONTEXTS):
        group = contexts[start : start + MOST_CONTEXTS]
        members = set(group)
        of_group = [item for item in items if (item.sop_class_uid, item.transfer_syntax_uid) in members]
        yield from _store_group(peer, group, of_group, packing, progress)


def _store_group(
    peer: Peer, contexts: Sequence[tuple[str, str]], items: Sequence[Item], packing: Packing, progress: Progress
) -> Iterator[Answer]:
    proposed = sending_contexts(contexts)
    position, fruitless = 0, 0
    while position < len(items):
        fruitless += 1
        with Association(peer, proposed) as association:
            try:
                while position < len(items):
                    answer = _store(association, items[position], position % _MAX_MESSAGE_ID + 1, packing, progress)
                    position += 1
                    if answer.status is not None:
                        fruitless = 0
                    yield answer
            except (PeerFailure, MessageBroken) as error:
                association.abort()
                damaged = isinstance(error, MessageBroken) and error.damaged
                verdict = Verdict.FAILED if damaged else Verdict.AGAIN
                # The one under way may be what the peer dies of: the others get their chance.
                yield Answer(items[position].sop_instance_uid, verdict, note=str(error))
                position += 1
                if fruitless >= _NO_PROGRESS:
                    raise PeerFailure(str(error)) from error


def _store(association: Association, item: Item, message_id: int, packing: Packing, progress: Progress) -> Answer:
    uid = item.sop_instance_uid
    try:
        with packing.packed(item, association.syntaxes(item.sop_class_uid)) as file:
            if isinstance(file, str):
                return Answer(uid, Verdict.SKIPPED, note=file)
            return _send(association, item, file, message_id, progress)
    except (Cancelled, OutOfResources, PeerFailure):
        raise
    except DicomsvcError as error:
        return Answer(uid, Verdict.FAILED, note=str(error))
    except OSError as error:
        return Answer(uid, Verdict.FAILED, note=f"the stored file cannot be read: {error.strerror}")


def _send(association: Association, item: Item, file: Outgoing, message_id: int, progress: Progress) -> Answer:
    uid = item.sop_instance_uid
    context = association.contexts[file.context]

    def sent(path: Path, count: int) -> None:
        progress(count)

    try:
        send_instance(association.channel, context.context_id, file, message_id, progress=sent)
    except ConnectionEnded as error:
        raise PeerFailure(f"the association broke while instance {uid} was sent: {error}") from error
    command = association.response(message_id).command
    if command.status is None:
        raise PeerFailure("the peer's response has no status")
    note = command.error_comment
    return Answer(uid, verdict_of(command.status), command.status, note, file.sop_instance_uid)
