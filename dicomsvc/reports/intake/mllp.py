"""The MLLP listener of a service: an event loop in a thread of its own, and one that structures what has come."""

import asyncio
import logging
import queue
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from dicomsvc.config import split_address
from dicomsvc.errors import ConfigurationError, OutOfResources
from dicomsvc.reports.hl7.mllp import Limits, MllpListener
from dicomsvc.reports.intake.received import Answer, Outcome, ReceivedReport
from dicomsvc.reports.intake.receiving import Intake
from dicomsvc.reports.intake.structuring import structure_quietly, warm_up
from dicomsvc.store import Store

_log = logging.getLogger(__name__)
_WHO: Final = "hl7"
_STOP_SECONDS: Final = 20.0
_MOST_WAITING: Final = 10_000


class MllpService:
    """Takes reports at ``hl7.bind`` from `start` to `stop`.

    A report is acknowledged once it is durable, and structured right after; one that is not, since the process ends,
    is found by the upkeep of a worker.
    """

    def __init__(self, store: Store) -> None:
        settings = store.settings.hl7
        if settings.bind is None:
            raise ConfigurationError("hl7.bind is not set: say with --mllp HOST:PORT where reports are to be taken")
        self._store = store
        self._intake = Intake(store)
        limits = Limits(
            message_bytes=settings.max_message_mb << 20,
            all_bytes=max(256, 2 * settings.max_message_mb) << 20,
            connections=settings.max_connections,
            idle_seconds=settings.idle_timeout_seconds,
            peers=frozenset(settings.peers),
        )
        self._host, port = split_address(settings.bind)
        self._listener = MllpListener(
            (self._host, port), self._receive, limits, default_charset=settings.default_charset
        )
        self._loop = asyncio.new_event_loop()
        self._kept: queue.Queue[tuple[str, int] | None] = queue.Queue(_MOST_WAITING)
        self._threads = [
            threading.Thread(target=self._loop.run_forever, name="mllp", daemon=True),
            threading.Thread(target=self._structure, name="structure", daemon=True),
        ]

    @property
    def address(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._listener.port}"

    def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            When the address cannot be had.
        """
        try:
            self._loop.run_until_complete(self._listener.start())
        except OutOfResources as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no more, answer what has come, end."""
        self._call(self._listener.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._kept.put(None)
        for thread in self._threads:
            thread.join(_STOP_SECONDS)

    def counters(self) -> Mapping[str, float]:
        """Return what happened since the start, by metric name."""
        counts = self._listener.counts
        answers = {f"hl7_answers_{code.lower()}": float(count) for code, count in counts.answers.items()}
        return {**answers, "hl7_refused_connections": float(counts.refused_connections)}

    async def _receive(self, report: ReceivedReport) -> Outcome:
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

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_STOP_SECONDS)
