"""Whether this node can take responsibility for an instance: it is stored, and its file has the bytes it came with."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from dicomsvc.dimse.commitment.model import COMMITTED, FailureReason, Reference
from dicomsvc.pacs.commitment.records import Commitments, Held
from dicomsvc.store import Condition, InstanceRecord, Store

LEASE_SECONDS: Final = 20.0
_RENEW_SECONDS: Final = 5.0
_AT_ONCE: Final = 100


class HeldNoMore(Exception):
    """Somebody else has taken the request over."""


def check(
    store: Store, commitments: Commitments, held: Held, holder: str, go_on: Callable[[], None] = lambda: None
) -> bool:
    """Check the instances of a request that ``holder`` holds, from where it was left; false when it is held no more.

    What is found is kept after each hundred instances. ``go_on`` is called after every 4 MB, and may raise to stop.
    """
    renewed = time.monotonic()

    def each_piece() -> None:
        nonlocal renewed
        go_on()
        if time.monotonic() - renewed > _RENEW_SECONDS:
            renewed = time.monotonic()
            if not commitments.renew(held.key, holder, lease_seconds=LEASE_SECONDS):
                raise HeldNoMore

    position = 0
    try:
        while batch := commitments.unchecked(held.key, position, _AT_ONCE):
            references = [reference for _, reference in batch]
            reasons = [COMMITTED] * len(batch)
            if held.duplicate:
                reasons = [FailureReason.DUPLICATE_TRANSACTION_UID] * len(batch)
            else:
                reasons = _reasons(store, references, each_piece)
            position = batch[-1][0]
            commitments.found(held.key, zip((place for place, _ in batch), reasons, strict=True))
    except HeldNoMore:
        return False
    return commitments.checked(held.key, holder)


def _reasons(store: Store, references: Sequence[Reference], each_piece: Callable[[], None]) -> list[int]:
    records = store.instances.find_sop_instances([reference.sop_instance_uid for reference in references])
    reasons = []
    for reference in references:
        reasons.append(_reason(store, reference, records.get(reference.sop_instance_uid), each_piece))
        each_piece()
    return reasons


def _reason(store: Store, reference: Reference, record: InstanceRecord | None, each_piece: Callable[[], None]) -> int:
    if record is None:
        return FailureReason.NO_SUCH_OBJECT_INSTANCE
    if record.sop_class_uid != reference.sop_class_uid:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    condition = store.examine(record, each_piece)
    if condition is Condition.SOUND:
        return COMMITTED
    if condition is Condition.MISSING:
        return FailureReason.NO_SUCH_OBJECT_INSTANCE
    return FailureReason.PROCESSING_FAILURE
