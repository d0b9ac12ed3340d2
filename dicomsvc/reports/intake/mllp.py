"""ORU^R01 messages as reports: the handler that the MLLP listener calls, and a thread that structures what has come."""

import asyncio
import logging
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Final

from dicomsvc.hl7.acknowledge import AckCode, Acknowledgement, Condition
from dicomsvc.hl7.message import Message
from dicomsvc.reports.hl7.reading import read_reports
from dicomsvc.reports.intake.received import Answer, Outcome, ReceivedReport
from dicomsvc.reports.intake.receiving import Intake
from dicomsvc.reports.intake.structuring import structure_quietly, warm_up
from dicomsvc.store import Store

Receive = Callable[[ReceivedReport], Awaitable[Outcome]]
_log = logging.getLogger(__name__)
_WHO: Final = "hl7"
_STOP_SECONDS: Final = 20.0
_MOST_WAITING: Final = 10_000
_AT_ONCE: Final = 4


class ReportMessages:
    """Takes ORU^R01 messages.

    ``receive`` makes a report durable and says what became of it; it is called once a report, on the event loop. It
    may raise `dicomsvc.errors.OutOfResources`, at which the sender is asked to try again.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._reading = asyncio.Semaphore(_AT_ONCE)

    async def handle(self, message: Message) -> Acknowledgement:
        """Receive each report of a message; the first that is rejected is answered with the reason."""
        async with self._reading:
            reports = await asyncio.to_thread(read_reports, message)
        for report in reports:
            outcome = await self._receive(report)
            if outcome.answer is Answer.REJECTED:
                return Acknowledgement(AckCode.ERROR, Condition.APPLICATION, outcome.reason)
        return Acknowledgement(AckCode.ACCEPT)


class ReportReceiver:
    """Keeps the reports of messages and structures them, from `start` to `stop`.

    A report is acknowledged once it is durable, and structured right after; one that is not, since the process ends,
    is found by the upkeep of a worker.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._intake = Intake(store)
        self.messages = ReportMessages(self._received)
        self._kept: queue.Queue[tuple[str, int] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._structure, name="structure", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End once what has come is structured, or some seconds later."""
        self._kept.put(None)
        self._thread.join(_STOP_SECONDS)

    async def _received(self, report: ReceivedReport) -> Outcome:
        receipt = await asyncio.to_thread(self._intake.keep, report, _WHO)
        if receipt.outcome.answer is Answer.ACCEPTED and receipt.uid is not None:
            try:
                self._kept.put_nowait((receipt.uid, receipt.version))
            except queue.Full:
                _log.warning("reports come faster than they are structured; a worker will see to the rest")
        return receipt.outcome

    def _structure(self) -> None:
        warm_up()
        while (kept := self._kept.get()) is not None:
            try:
                structure_quietly(self._store.engine, *kept)
            except Exception as error:  # noqa: BLE001 - the border: the thread must go on with the next report
                _log.error("a report could not be structured: %s", type(error).__name__)
