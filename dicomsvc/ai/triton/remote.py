"""Watches our models on a Triton server that somebody else runs: loads them, and heals those whose process died."""

import logging
from collections.abc import Callable
from threading import Event
from typing import Final

from dicomsvc.ai.inference.endpoint import find_endpoint
from dicomsvc.ai.triton.control import Control
from dicomsvc.ai.triton.keeper import KeeperStatus
from dicomsvc.ai.triton.models import Models
from dicomsvc.ai.triton.watch import RestartNeeded, Watch
from dicomsvc.config import Settings
from dicomsvc.errors import DicomsvcError

_log = logging.getLogger(__name__)
_CHECK_SECONDS: Final = 5.0


class RemoteWatch:
    """Watches the server of ``settings.triton.url``. What else that server has is left alone."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self._settings = settings
        self._models = models
        self.status = KeeperStatus(address=settings.triton.url or "")

    def run(self, stop: Event, on_ready: Callable[[], None]) -> None:
        """Watch until ``stop``; ``on_ready`` is called once, after the first look."""
        control = Control(find_endpoint(self._settings.triton, self._settings.data))
        watch = Watch(control, self._settings.triton.timeout_seconds, owned=False)
        try:
            self._look(watch, control)
            on_ready()
            while not stop.wait(_CHECK_SECONDS):
                self._look(watch, control)
        finally:
            control.close()

    def _look(self, watch: Watch, control: Control) -> None:
        problem = ""
        try:
            self.status.version = control.version()
            watch.check(self._models.enabled())
        except (DicomsvcError, RestartNeeded) as error:
            problem = str(error)
        if problem != self.status.problem:
            _log.warning("model server at %s: %s", self.status.address, problem or "answers")
        self.status.problem = problem
        self.status.state = "down" if problem else "running"
        self.status.heals = watch.heals
        self.status.models = dict(watch.states)
