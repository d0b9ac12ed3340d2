"""The MLLP listener of a service: one port for all rooms that take HL7 v2 messages, put together from their rows."""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from dicomsvc.config import Hl7Settings, split_address
from dicomsvc.errors import ConfigurationError, OutOfResources
from dicomsvc.hl7.acknowledge import AckCode, Acknowledgement, Condition
from dicomsvc.hl7.handlers import Handler, Handlers
from dicomsvc.hl7.message import Message
from dicomsvc.hl7.mllp import Limits, MllpListener
from dicomsvc.pacs.worklist.messages import OrderMessages
from dicomsvc.reports.intake.structuring import require_languages
from dicomsvc.store import Store
from dicomsvc.tls import server_context

_log = logging.getLogger(__name__)
_STOP_SECONDS: Final = 20.0
_REPORT: Final = ("ORU", "R01")


class Hl7Service:
    """Takes messages at ``hl7.bind`` from `start` to `stop`: orders, and reports where their extra is installed."""

    def __init__(self, store: Store) -> None:
        settings = store.settings.hl7
        if settings.bind is None:
            raise ConfigurationError("hl7.bind is not set: say with --mllp HOST:PORT where messages are to be taken")
        rows = OrderMessages(store).rows()
        self._reports = None
        try:
            require_languages()
        except ConfigurationError as error:
            _log.warning("HL7 messages with reports are refused: %s", error)
            rows[_REPORT] = Handler(_refuse_report)
        else:
            from dicomsvc.reports.intake.mllp import ReportReceiver

            self._reports = ReportReceiver(store)
            rows[_REPORT] = Handler(self._reports.messages.handle)
        self._host, port = split_address(settings.bind)
        self._listener = MllpListener(
            (self._host, port),
            Handlers(rows),
            _limits(settings),
            default_charset=settings.default_charset,
            tls=server_context(settings.tls, "hl7.tls"),
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mllp", daemon=True)

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
        self._thread.start()
        if self._reports is not None:
            self._reports.start()

    def stop(self) -> None:
        """Take no more, answer what has come, end."""
        self._call(self._listener.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)
        if self._reports is not None:
            self._reports.stop()

    def counters(self) -> Mapping[str, float]:
        """Return what happened since the start, by metric name."""
        counts = self._listener.counts
        answers = {f"hl7_answers_{code.lower()}": float(count) for code, count in counts.answers.items()}
        return {**answers, "hl7_refused_connections": float(counts.refused_connections)}

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_STOP_SECONDS)


async def _refuse_report(message: Message) -> Acknowledgement:
    reason = "reports are not taken here: this node is installed without the part that reads them"
    return Acknowledgement(AckCode.ERROR, Condition.APPLICATION, reason)


def _limits(settings: Hl7Settings) -> Limits:
    return Limits(
        message_bytes=settings.max_message_mb << 20,
        all_bytes=max(256, 2 * settings.max_message_mb) << 20,
        connections=settings.max_connections,
        idle_seconds=settings.idle_timeout_seconds,
        peers=frozenset(settings.peers),
    )
