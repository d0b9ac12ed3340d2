"""Keeps one Triton server running for a data folder: starts it, watches it, starts it again, stops it."""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Final

from dicomsvc.ai.inference.endpoint import remove_endpoint, write_endpoint
from dicomsvc.ai.triton.control import Control
from dicomsvc.ai.triton.lock import keep_alone
from dicomsvc.ai.triton.models import Models
from dicomsvc.ai.triton.runtime import Runtime, find_runtime
from dicomsvc.ai.triton.server import Server, launch
from dicomsvc.ai.triton.watch import RestartNeeded, Watch
from dicomsvc.config import Settings
from dicomsvc.errors import ConfigurationError, DicomsvcError, ServerUnavailable

_log = logging.getLogger(__name__)
_START_SECONDS: Final = 60
_LOOK_SECONDS: Final = 0.25
_CHECK_SECONDS: Final = 2.0
_WITHOUT_RUNTIME_SECONDS: Final = 15.0
_SHORTEST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0
_HEALTHY_SECONDS: Final = 60.0
_FAR_ABOVE: Final = 1.25
_MEMORY_PAUSE_SECONDS: Final = 600.0
_TIDY_SECONDS: Final = 60.0


@dataclass(slots=True)
class KeeperStatus:
    """How it stands. ``state``: ``starting``, ``running``, ``down``, ``missing`` or ``elsewhere``."""

    state: str = "starting"
    address: str = ""
    version: str = ""
    problem: str = ""
    restarts: int = 0
    heals: int = 0
    memory_bytes: int = 0
    models: dict[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """Return one line for people."""
        if self.state == "running":
            return f"Triton {self.version} at {self.address}"
        return f"{self.state}: {self.problem}" if self.problem else self.state

    def counters(self) -> dict[str, float]:
        """Return what a heartbeat tells."""
        return {
            "triton_up": float(self.state == "running"),
            "triton_restarts": float(self.restarts),
            "triton_heals": float(self.heals),
            "triton_memory_bytes": float(self.memory_bytes),
            "triton_models_ready": float(sum(state == "READY" for state in self.models.values())),
            "triton_models_enabled": float(len(self.models)),
        }


class Keeper:
    """Keeps the server of ``settings.data``; one at a time does, others wait for its end.

    ``kept_by`` is told to whoever asks who runs the server.
    """

    def __init__(self, settings: Settings, models: Models, kept_by: str) -> None:
        self._settings = settings
        self._models = models
        self._kept_by = kept_by
        self._told = ""
        self._memory_restart: float | None = None
        self.status = KeeperStatus()

    def run(self, stop: Event, on_ready: Callable[[], None]) -> None:
        """Keep it until ``stop``; must be the process's main thread, with which the server dies.

        ``on_ready`` is called once: when the server answers, or when it is known that it cannot yet.
        """
        tell = _once(on_ready)
        while not stop.is_set():
            with keep_alone(self._settings.data, self._kept_by) as mine:
                if mine:
                    self._keep(stop, tell)
                    return
            self.status.state, self.status.problem = "elsewhere", "another process keeps the model server"
            tell()
            stop.wait(_CHECK_SECONDS)

    def _keep(self, stop: Event, tell: Callable[[], None]) -> None:
        remove_endpoint(self._settings.data)
        pause = _SHORTEST_PAUSE_SECONDS / 2
        while not stop.is_set():
            started = time.monotonic()
            try:
                self._run_once(find_runtime(self._settings.triton), stop, tell)
            except ConfigurationError as error:
                self._say_once("missing", str(error))
                tell()
                stop.wait(_WITHOUT_RUNTIME_SECONDS)
                continue
            except (DicomsvcError, RestartNeeded, OSError) as error:
                self._say_once("down", str(error))
                tell()
            if stop.is_set():
                break
            pause = _next_pause(pause, time.monotonic() - started)
            self.status.restarts += 1
            _log.warning("the model server starts again in %.1f s", pause)
            stop.wait(pause)
        self.status.state = "down"

    def _say_once(self, state: str, problem: str) -> None:
        self.status.state, self.status.problem = state, problem
        if problem != self._told:
            _log.warning("model server: %s", problem)
        self._told = problem

    def _run_once(self, runtime: Runtime, stop: Event, tell: Callable[[], None]) -> None:
        self.status.state = "starting"
        repository = self._models.stage()
        repository.mkdir(parents=True, exist_ok=True)
        server = launch(runtime, repository, self._settings.data, self._settings.triton.memory_mb)
        control = Control(server.endpoint)
        try:
            self._await_ready(server, control, stop)
            if not stop.is_set():
                self._announce(server)
                self._watch(server, control, stop, tell)
        finally:
            remove_endpoint(self._settings.data)
            control.close()
            server.stop()

    def _await_ready(self, server: Server, control: Control, stop: Event) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not stop.wait(_LOOK_SECONDS / 2):
            if not server.alive:
                raise RestartNeeded(f"it ended with status {server.process.returncode} while it started; {self._log}")
            with contextlib.suppress(ServerUnavailable):
                self.status.version = control.version()
                return
            if time.monotonic() > deadline:
                raise RestartNeeded(f"it was not ready after {_START_SECONDS} s; {self._log}")

    def _announce(self, server: Server) -> None:
        write_endpoint(self._settings.data, server.endpoint)
        self.status.state, self.status.problem, self._told = "running", "", ""
        self.status.address = server.endpoint.address
        _log.info("Triton %s answers (process %d)", self.status.version, server.process.pid)

    def _watch(self, server: Server, control: Control, stop: Event, tell: Callable[[], None]) -> None:
        watch = Watch(control, self._settings.triton.timeout_seconds, server.stubs)
        healed_before = self.status.heals
        next_check = 0.0
        while not stop.is_set():
            if not server.alive:
                raise RestartNeeded(f"it ended with status {server.process.returncode}; {self._log}")
            if time.monotonic() >= next_check:
                watch.check(self._enabled())
                self.status.heals = healed_before + watch.heals
                self.status.models = dict(watch.states)
                self._bound_memory(server, idle=watch.idle_seconds > 0)
                if watch.heals and watch.idle_seconds > _TIDY_SECONDS:
                    raise RestartNeeded("it is idle, and processes that died of models it has healed are still there")
                next_check = time.monotonic() + _CHECK_SECONDS
                tell()
            stop.wait(_LOOK_SECONDS)

    def _enabled(self) -> Sequence[str]:
        try:
            return self._models.enabled()
        except DicomsvcError as error:
            _log.warning("which models are enabled cannot be read: %s", error)
            return tuple(self.status.models)

    def _bound_memory(self, server: Server, *, idle: bool) -> None:
        self.status.memory_bytes = server.memory_bytes()
        limit = self._settings.triton.memory_mb << 20
        # Not again and again: what it needs at work may simply be more than that.
        lately = self._memory_restart is not None and time.monotonic() - self._memory_restart < _MEMORY_PAUSE_SECONDS
        if not lately and self.status.memory_bytes > (limit if idle else limit * _FAR_ABOVE):
            self._memory_restart = time.monotonic()
            raise RestartNeeded(
                f"it uses {self.status.memory_bytes >> 20} MB, more than triton.memory_mb "
                f"({self._settings.triton.memory_mb}) allows; if it needs that, raise it or lower triton.instances"
            )

    @property
    def _log(self) -> str:
        return f"see {self._settings.data / 'triton' / 'server.log'}"


def _next_pause(pause: float, lived: float) -> float:
    return _SHORTEST_PAUSE_SECONDS if lived > _HEALTHY_SECONDS else min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _once(call: Callable[[], None]) -> Callable[[], None]:
    calls = [call]

    def call_once() -> None:
        if calls:
            calls.pop()()

    return call_once
