"""What a worker does for the trail: keep it, anchor it, send it."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Engine

from dicomsvc.audit.sending import Sender
from dicomsvc.audit.trail import Keeper
from dicomsvc.audit.verification import Anchor, AnchorFile, head_of
from dicomsvc.config import Settings
from dicomsvc.errors import DicomsvcError

_log = logging.getLogger(__name__)
_PERIOD_SECONDS: Final = 1.0
_ANCHOR_SECONDS: Final = 600.0
_LONGEST_PAUSE_SECONDS: Final = 60.0


class AuditUpkeep:
    """Runs in threads of its own from `start` to `stop`; several at the same time do no harm."""

    def __init__(self, engine: Engine, settings: Settings, *, anchor_seconds: float = _ANCHOR_SECONDS) -> None:
        self._engine = engine
        self._keeper = Keeper(engine, settings)
        self._anchors = AnchorFile(settings.data.absolute())
        self._anchor_seconds = anchor_seconds
        self._anchored: Anchor | None = None
        self._anchor_due = time.monotonic() + anchor_seconds
        self._sender = None if settings.audit.collector is None else Sender(engine, settings.audit)
        self._told = 0
        self._stopped = threading.Event()
        loops: list[Callable[[], None]] = [self._keep_on] if self._sender is None else [self._keep_on, self._send_on]
        self._threads = [threading.Thread(target=loop, name="audit upkeep", daemon=True) for loop in loops]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        if self._sender is not None:
            self._sender.close()

    def counters(self) -> Mapping[str, float]:
        """Return figures by metric name."""
        figures: dict[str, float] = {"dicomsvc_audit_events_total": self._told}
        if self._sender is not None:
            figures.update(self._sender.counters())
        return figures

    def _keep_on(self) -> None:
        while not self._stopped.is_set():
            self._try(self._keep)
            self._stopped.wait(_PERIOD_SECONDS)
        self._try(self._keep)
        self._try(self._anchor)

    def _keep(self) -> None:
        self._told += self._keeper.keep()
        if time.monotonic() >= self._anchor_due:
            self._anchor_due = time.monotonic() + self._anchor_seconds
            self._anchor()

    def _anchor(self) -> None:
        head = head_of(self._engine)
        if head.id and head != self._anchored:
            self._anchors.add(head)
            self._anchored = head
            _log.info("audit trail: anchor %s", head)

    def _send_on(self) -> None:
        assert self._sender is not None
        pause = _PERIOD_SECONDS
        while not self._stopped.is_set():
            try:
                while self._sender.send() and not self._stopped.is_set():
                    pause = _PERIOD_SECONDS
                pause = _PERIOD_SECONDS
            except DicomsvcError as error:
                _log.warning("audit trail: %s; again in %.0f s", error, pause)
                self._stopped.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            except Exception as error:  # noqa: BLE001 - the border: the trail must go on, and the log must not quote it
                _log.error("audit trail: sending failed (%s)", type(error).__name__)
                pause = _LONGEST_PAUSE_SECONDS
            self._stopped.wait(pause)

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except (DicomsvcError, OSError) as error:
            _log.warning("audit trail: %s", error if isinstance(error, DicomsvcError) else error.strerror)
        except Exception as error:  # noqa: BLE001 - the border: the trail must go on, and the log must not quote it
            _log.error("audit trail: keeping failed (%s)", type(error).__name__)
