"""Starting, watching and stopping the processes of a service."""

import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dicomsvc.config import Settings
from dicomsvc.errors import ConfigurationError
from dicomsvc.service.child import dump_settings, on_stop

_log = logging.getLogger(__name__)
_START_SECONDS = 90
_GRACE_SECONDS = 30
_LONGEST_PAUSE_SECONDS = 30.0
_HEALTHY_SECONDS = 60
# The settings that have the address of a role.
_SECTIONS = {"web": "http", "dimse": "dimse", "hl7": "hl7"}


@dataclass(slots=True)
class _Child:
    role: str
    process: "subprocess.Popen[str]"
    started: float
    address: str = ""
    pause_seconds: float = 1.0


@dataclass(slots=True)
class _Restart:
    at: float
    pause_seconds: float


@dataclass(slots=True)
class Supervisor:
    """Runs a process for each of ``roles`` until SIGTERM or SIGINT.

    ``settings.database.url`` must be set and the schema current. ``announce`` is called once, with the addresses by
    role, when all roles answer.
    """

    settings: Settings
    roles: Sequence[str]
    announce: Callable[[dict[str, str]], None]
    _children: dict[str, _Child] = field(default_factory=dict)
    _restarts: dict[str, _Restart] = field(default_factory=dict)
    _events: "queue.SimpleQueue[tuple[str, str]]" = field(default_factory=queue.SimpleQueue)
    _stopping: bool = False

    def run(self) -> None:
        """Run until told to stop.

        Raises
        ------
        ConfigurationError
            When a role does not start the first time.
        """
        on_stop(self._request_stop)
        try:
            for role in self.roles:
                self._start(role)
            if self._await_ready():
                self.announce({role: child.address for role, child in self._children.items()})
                self._watch()
        finally:
            self._stop_children()

    def _request_stop(self) -> None:
        self._stopping = True
        self._events.put(("", "stop"))

    def _start(self, role: str, pause_seconds: float = 1.0) -> None:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "dicomsvc.cli.role_process", role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A Ctrl-C at the terminal is for the supervisor, which then stops the roles in order.
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            process.stdin.write(dump_settings(self._settings_of(role)) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            _log.error("%s left before it was told its settings", role)
        child = _Child(role, process, time.monotonic(), pause_seconds=pause_seconds)
        self._children[role] = child
        threading.Thread(target=self._listen, args=(child,), daemon=True).start()

    def _settings_of(self, role: str) -> Settings:
        """Return the settings, with the port that the role had before where it was to choose one."""
        last = self._children.get(role)
        section = _SECTIONS.get(role)
        if section is None or last is None or not last.address:
            return self.settings
        bind = last.address.rpartition("://")[2].rpartition("@")[2]
        return self.settings.model_copy(
            update={section: getattr(self.settings, section).model_copy(update={"bind": bind})}
        )

    def _listen(self, child: _Child) -> None:
        assert child.process.stdout is not None
        for line in child.process.stdout:
            word, _, address = line.strip().partition(" ")
            if word == "ready":
                child.address = address
                self._events.put((child.role, "ready"))
        child.process.wait()
        self._events.put((child.role, "exit"))

    def _await_ready(self) -> bool:
        waiting = set(self.roles)
        deadline = time.monotonic() + _START_SECONDS
        while waiting and not self._stopping:
            try:
                role, event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise ConfigurationError(f"{', '.join(sorted(waiting))} did not start in {_START_SECONDS} s") from None
            if event == "ready":
                waiting.discard(role)
            elif event == "exit":
                raise ConfigurationError(f"{role} does not start; the lines above say why")
        return not self._stopping

    def _watch(self) -> None:
        while not self._stopping:
            try:
                role, event = self._events.get(timeout=1.0)
            except queue.Empty:
                self._start_due()
                continue
            if event == "exit" and not self._stopping:
                self._plan_restart(self._children[role])
            self._start_due()

    def _plan_restart(self, child: _Child) -> None:
        lived = time.monotonic() - child.started
        pause = 1.0 if lived > _HEALTHY_SECONDS else min(child.pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
        _log.error("%s ended with status %s; starts again in %.0f s", child.role, child.process.returncode, pause)
        self._restarts[child.role] = _Restart(time.monotonic() + pause, pause)

    def _start_due(self) -> None:
        now = time.monotonic()
        for role in [role for role, restart in self._restarts.items() if restart.at <= now]:
            self._start(role, self._restarts.pop(role).pause_seconds)

    def _stop_children(self) -> None:
        # In this order: nothing new comes in, then what runs may end.
        running = [child for child in self._children.values() if child.process.poll() is None]
        for child in running:
            child.process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for child in running:
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.warning("%s did not end in %d s and is killed", child.role, _GRACE_SECONDS)
                child.process.kill()
                child.process.wait()
