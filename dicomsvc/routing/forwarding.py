"""The work item ``forward``: carry one forward out, from where an earlier attempt left it.

What it waits for it waits for without a process: the destination to come back (`Later`, with doubling pauses), or its
word that it keeps what it was sent.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dicomsvc.audit import Party
from dicomsvc.audit.transfers import Transfer
from dicomsvc.deidentify import deidentifier
from dicomsvc.dicom.uids import new_uid
from dicomsvc.dimse.availability import notify_availability
from dicomsvc.dimse.commitment import AskedState, CommitmentResult, commitment_result, request_commitment
from dicomsvc.dimse.peers import KnownPeer, KnownPeers
from dicomsvc.errors import (
    BadRequest,
    Cancelled,
    ConfigurationError,
    DicomsvcError,
    NotFound,
    OutOfResources,
    PeerFailure,
)
from dicomsvc.jobs import Later, Progress, Work
from dicomsvc.routing.forwards import Forward, ForwardState
from dicomsvc.routing.ledger import Item, Ledger
from dicomsvc.routing.packing import Packing
from dicomsvc.routing.statuses import Answer, Verdict, verdict_of_http
from dicomsvc.routing.storing import store_all
from dicomsvc.routing.stow import stow_all
from dicomsvc.routing.webhooks import post_webhook

KIND: Final = "forward"
_REPORT_EVERY_SECONDS: Final = 0.1
_ANSWER_SECONDS: Final = 2.0
_FIRST_LOOK_SECONDS: Final = 10.0
_LONGEST_LOOK_SECONDS: Final = 600.0


def forward(work: Work) -> Mapping[str, Any]:
    """Carry out the forward that ``inputs.forward`` names, unless ``inputs.order`` is no longer its last one.

    Raises
    ------
    Later
        When it is to be gone on with later.
    """
    ledger = Ledger(work.store, work.inputs["forward"], work.inputs["order"])
    record = _load(ledger)
    if record is None:
        return {"summary": "it is not asked for any more"}
    with ledger.place(record):
        record = _load(ledger)
        if record is None:
            return {"summary": "it is not asked for any more"}
        if record.state is ForwardState.CONFIRMING:
            return _confirm(work, ledger, record)
        if not ledger.start():
            return {"summary": "it is not asked for any more"}
        if record.action in ("store", "stow"):
            return _send(work, ledger, record)
        return _tell(work, ledger, record)


def _load(ledger: Ledger) -> Forward | None:
    try:
        return ledger.load()
    except NotFound:
        return None


@dataclass(slots=True)
class _Meter:
    """Counts what goes across, and tells it."""

    work: Work
    instances: int
    done: int
    bytes: int
    bytes_done: int
    started: float = field(default_factory=time.monotonic)
    moved: int = 0
    _told: float = 0.0

    def sent(self, count: int) -> None:
        """Note that bytes have left.

        Raises
        ------
        Cancelled
            When somebody asked for a stop.
        """
        self.moved += count
        now = time.monotonic()
        if now - self._told >= _REPORT_EVERY_SECONDS:
            self._told = now
            self.tell()

    def tell(self) -> None:
        rate = self.moved / 1e6 / max(time.monotonic() - self.started, 1e-3)
        done = min(self.bytes_done + self.moved, self.bytes)
        self.work.report(Progress(done, self.bytes, f"{self.done} of {self.instances} instances, {rate:.1f} MB/s"))


def _send(work: Work, ledger: Ledger, record: Forward) -> Mapping[str, Any]:
    items = ledger.items()
    meter = _Meter(work, record.instances, record.sent + record.confirmed, record.bytes, record.bytes_sent)
    heard = went = 0
    trouble, again = "", ""
    try:
        for answer in _audited(work, record, items, _answers(work, record, items, meter.sent)):
            ledger.record(answer)
            heard += 1
            went += answer.verdict is Verdict.SENT
            meter.done += answer.verdict is Verdict.SENT
            if answer.verdict is Verdict.AGAIN:
                again = answer.note or f"status {answer.status or 0:#06x}"
            meter.sent(0)
    except PeerFailure as error:
        trouble = str(error)
    except (Cancelled, OutOfResources):
        raise
    except DicomsvcError as error:
        # The settings are not such that anything could be sent; they may be mended.
        trouble = str(error)
    reason = trouble or again
    if reason:
        if not ledger.given_up():
            raise _paused(work, ledger, record, reason, holds=not heard, progress=bool(went), meter=meter)
        ledger.fail_rest(f"given up after {work.store.settings.routing.give_up_hours:g} hours: {reason}")
    meter.tell()
    if record.commitment and ledger.committable():
        ledger.begin_confirming(record.transaction_uid or new_uid(), "storage commitment is asked for")
        again_loaded = ledger.load()
        if again_loaded is not None:
            return _confirm(work, ledger, again_loaded)
    return _finished(ledger)


def _paused(
    work: Work, ledger: Ledger, record: Forward, reason: str, *, holds: bool, progress: bool, meter: _Meter
) -> Later:
    later = ledger.pause(record, reason, holds=holds, progress=progress)
    text = f"{meter.done} of {meter.instances} instances; again in {later.seconds:.0f} s: {reason}"
    work.report(Progress(min(meter.bytes_done, meter.bytes), meter.bytes, text))
    return later


def _answers(work: Work, record: Forward, items: Sequence[Item], progress: Callable[[int], None]) -> Iterator[Answer]:
    if not items:
        return iter(())
    settings = work.store.settings
    if record.action == "stow":
        destination = settings.routing.destinations.get(record.destination)
        if destination is None:
            raise ConfigurationError(f"there is no destination {record.destination} in the settings")
        return stow_all(destination, items, _packing(work, destination.deidentify), progress)
    peers = KnownPeers(work.store.engine, settings)
    known = _peer(peers, record.destination)
    return store_all(peers.call(known), items, _packing(work, known.deidentify), progress)


def _audited(work: Work, record: Forward, items: Sequence[Item], answers: Iterator[Answer]) -> Iterator[Answer]:
    """Yield the answers, and record what went and what is given up (PS3.15 A.5.3.7)."""
    classes = {item.sop_instance_uid: item.sop_class_uid for item in items}
    with Transfer(work.store.engine, Party(record.destination), requestor=Party(f"rule {record.rule}")) as transfer:
        for answer in answers:
            if answer.verdict in (Verdict.SENT, Verdict.FAILED):
                uid, went = answer.sop_instance_uid, answer.verdict is Verdict.SENT
                transfer.count(record.study_instance_uid, classes.get(uid, ""), uid, went=went)
            yield answer


def _packing(work: Work, profile: str | None) -> Packing:
    return Packing(work.store, None if profile is None else deidentifier(work.store.settings, profile))


def _peer(peers: KnownPeers, name: str) -> KnownPeer:
    known = peers.by_name(name)
    if known is None:
        raise ConfigurationError(f"there is no peer {name}; add it, or drop this forward")
    return known


def _tell(work: Work, ledger: Ledger, record: Forward) -> Mapping[str, Any]:
    """Notify a peer, or a webhook: one message for all instances that are still here."""
    items = ledger.items()
    if not items:
        return _finished(ledger)
    status: int | None = None
    try:
        if record.action == "webhook":
            status = post_webhook(record, work.store.settings.routing)
            verdict, note = verdict_of_http(status), f"HTTP status {status}"
        else:
            _notify(work, record, {item.sop_instance_uid for item in items})
            verdict, note = Verdict.SENT, ""
    except (PeerFailure, ConfigurationError) as error:
        verdict, note = Verdict.AGAIN, str(error)
    except (Cancelled, OutOfResources):
        raise
    except DicomsvcError as error:
        verdict, note = Verdict.FAILED, str(error)
    if verdict is Verdict.AGAIN and not ledger.given_up():
        raise ledger.pause(record, note, holds=True, progress=False)
    ledger.mark_all("sent" if verdict is Verdict.SENT else "failed", status, note)
    return _finished(ledger)


def _notify(work: Work, record: Forward, uids: set[str]) -> None:
    peers = KnownPeers(work.store.engine, work.store.settings)
    peer = peers.call(_peer(peers, record.destination))
    here = work.store.instances.find(record.study_instance_uid)
    told = [instance for instance in here if instance.sop_instance_uid in uids]
    notify_availability(peer, told, work.store.settings.dimse.ae_title)


def _confirm(work: Work, ledger: Ledger, record: Forward) -> Mapping[str, Any]:
    """Ask the peer whether it keeps what it was sent, or look what it has said (PS3.4 J)."""
    sent = ledger.committable()
    if not sent or record.transaction_uid is None:
        return _finished(ledger)
    result, trouble = _commitment(work, record, [(sop_class, there) for sop_class, _, there in sent])
    if result is not None and result.ended:
        _note_commitment(ledger, result, sent)
        return _finished(ledger)
    if trouble and result is None:
        ledger.fail_rest(f"sent, but storage commitment cannot be asked for: {trouble}", states=("sent",))
        return _finished(ledger)
    seconds = min(_FIRST_LOOK_SECONDS * 2.0 ** min(0 if result is None else result.attempts, 10), _LONGEST_LOOK_SECONDS)
    reason = trouble or "the peer has not said yet whether it keeps what it was sent"
    ledger.begin_confirming(record.transaction_uid, reason)
    work.report(Progress(record.bytes, record.bytes, f"{record.instances} of {record.instances} instances; {reason}"))
    raise Later(seconds, reason)


def _commitment(
    work: Work, record: Forward, references: Sequence[tuple[str, str]]
) -> tuple[CommitmentResult | None, str]:
    """Return what is known of the request, asking when nothing is, and what stands in its way."""
    assert record.transaction_uid is not None
    engine = work.store.engine
    try:
        return commitment_result(engine, record.transaction_uid), ""
    except NotFound:
        pass
    trouble = ""
    try:
        peers = KnownPeers(engine, work.store.settings)
        peer = peers.call(_peer(peers, record.destination))
        result = request_commitment(
            engine,
            peer,
            references,
            record.transaction_uid,
            wait_seconds=_ANSWER_SECONDS,
            settings=work.store.settings.commitment,
        )
        return result, ""
    except (PeerFailure, BadRequest, ConfigurationError) as error:
        trouble = str(error)
    try:
        # It is kept, and asked again by those who look after commitments.
        return commitment_result(engine, record.transaction_uid), trouble
    except NotFound:
        return None, trouble


def _note_commitment(ledger: Ledger, result: CommitmentResult, sent: Sequence[tuple[str, str, str]]) -> None:
    if result.state is not AskedState.ANSWERED:
        ledger.fail_rest(f"sent, but storage commitment is {result.state}: {result.last_error}", states=("sent",))
        return
    committed = set(result.committed)
    failed = {
        here: f"sent, but not kept by the peer (Failure Reason {result.failed.get(there, 0x0110):#06x})"
        for _, here, there in sent
        if there not in committed
    }
    ledger.confirm([here for _, here, there in sent if there in committed], failed)


def _finished(ledger: Ledger) -> Mapping[str, Any]:
    record = ledger.finish()
    counts = {name: getattr(record, name) for name in ("sent", "confirmed", "skipped")}
    summary = f"{record.sent + record.confirmed} of {record.instances} instances to {record.destination}"
    outputs: dict[str, Any] = {**counts, "forward": record.id, "summary": summary}
    if record.failed:
        outputs["failed"] = record.failed
    return outputs
