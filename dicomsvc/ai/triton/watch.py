"""Watches the models of a running server: loads what is wanted, heals what died, says when only a restart helps."""

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import psutil

from dicomsvc.ai.inference.grpc import DeadModel, TooLate
from dicomsvc.ai.triton.control import Control, Served
from dicomsvc.errors import ModelFailure, ServerUnavailable

_log = logging.getLogger(__name__)
_CANARY_PERIOD_SECONDS: Final = 10.0
_CANARY_SHARE: Final = 0.01
_CANARY_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 60.0
_MOST_FAILURES: Final = 6
_MOST_HEALS: Final = 3


class RestartNeeded(Exception):
    """The server does not answer, or a model stays dead."""


@dataclass(slots=True)
class _Health:
    """What is known of one version. ``heals`` counts those since it last answered; ``cost_seconds`` a canary's."""

    successes: int = 0
    answered: float = 0.0
    asked: float = 0.0
    late_since: float | None = None
    cost_seconds: float = 0.0
    heals: int = 0


@dataclass(slots=True)
class _Retry:
    at: float
    pause_seconds: float


@dataclass(slots=True)
class Watch:
    """One server's models.

    ``stubs`` returns a model's living processes, where they can be seen. A server that is not ``owned`` may have models
    of others, which are left alone.
    """

    control: Control
    hung_seconds: float
    stubs: Callable[[str], list[psutil.Process]] | None = None
    owned: bool = True
    heals: int = 0
    idle_since: float | None = field(default_factory=time.monotonic)
    states: Mapping[str, str] = field(default_factory=dict)
    _health: dict[tuple[str, int], _Health] = field(default_factory=dict)
    _retries: dict[str, _Retry] = field(default_factory=dict)
    _failures: int = 0
    _replaced: list[psutil.Process] = field(default_factory=list)

    def check(self, enabled: Collection[str]) -> None:
        """Look once.

        Raises
        ------
        RestartNeeded
            When the server has not answered several times, or healing a model has not helped.
        """
        self._bury_replaced()
        try:
            models = self.control.models()
            if self._load_and_unload(models, enabled):
                models = self.control.models()
            ready = [model for model in models if model.ready and model.name in enabled]
            self._count(ready)
            for model in ready:
                self._look_at(model)
            self.states = {
                name: "READY" if any(model.name == name for model in ready) else self._why_not(name, models)
                for name in enabled
            }
            self._failures = 0
        except ServerUnavailable as error:
            self._failures += 1
            _log.warning("the model server does not answer (%d times now): %s", self._failures, error)
            if self._failures >= _MOST_FAILURES:
                raise RestartNeeded("it does not answer") from error

    def _load_and_unload(self, models: list[Served], enabled: Collection[str]) -> bool:
        """Make what is loaded what is enabled, and return whether there was anything to do."""
        ready = {model.name for model in models if model.ready}
        busy = {model.name for model in models if model.state in ("LOADING", "UNLOADING")}
        unwanted = sorted(ready - set(enabled) - busy) if self.owned else []
        for name in unwanted:
            _log.info("model %s is no longer enabled and is unloaded", name)
            self.control.unload(name)
        now = time.monotonic()
        missing = set(enabled) - ready - busy
        due = sorted(name for name in missing if name not in self._retries or self._retries[name].at <= now)
        for name in due:
            self._load(name, self._retries.get(name))
        return bool(due or unwanted)

    def _load(self, name: str, retry: _Retry | None) -> None:
        try:
            self.control.load(name)
        except ModelFailure as error:
            pause = min(retry.pause_seconds * 2, _LONGEST_PAUSE_SECONDS) if retry else 2.0
            self._retries[name] = _Retry(time.monotonic() + pause, pause)
            _log.warning("%s; tried again in %.0f s", error, pause)
        else:
            self._retries.pop(name, None)
            _log.info("model %s is loaded", name)

    def _count(self, ready: list[Served]) -> None:
        successes = self.control.successes()
        now = time.monotonic()
        busy = False
        keys = {(model.name, model.number) for model in ready}
        self._health = {key: health for key, health in self._health.items() if key in keys}
        for model in ready:
            key = (model.name, model.number)
            health = self._health.setdefault(key, _Health(answered=now, asked=now))
            if successes.get(key, 0) != health.successes:
                busy = True
                health.successes = successes.get(key, 0)
                self._answered(health)

        if busy:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now

    @property
    def idle_seconds(self) -> float:
        """How long no model has been called, canaries apart."""
        return 0.0 if self.idle_since is None else time.monotonic() - self.idle_since

    def _answered(self, health: _Health) -> None:
        health.answered = time.monotonic()
        health.late_since = None
        health.heals = 0

    def _look_at(self, model: Served) -> None:
        if self._lacks_processes(model):
            self._heal(model, "a process of it died")
            return
        health = self._health[model.name, model.number]
        now = time.monotonic()
        period = max(_CANARY_PERIOD_SECONDS, health.cost_seconds / _CANARY_SHARE)
        if now - max(health.answered, health.asked) < period:
            return
        health.asked = now
        try:
            self.control.canary(model.name, model.number, _CANARY_SECONDS)
        except DeadModel:
            self._heal(model, "its process is dead")
        except TooLate:
            # It may be busy with batches that take long, or hang.
            health.late_since = health.late_since or now
            if now - health.late_since > self.hung_seconds:
                self._heal(model, f"it has not answered for {now - health.late_since:.0f} s")
        else:
            self._answered(health)
            health.cost_seconds = time.monotonic() - now
            # The canary itself must not look like work.
            health.successes = self.control.successes().get((model.name, model.number), 0)

    def _lacks_processes(self, model: Served) -> bool:
        if self.stubs is None:
            return False
        versions = [number for name, number in self._health if name == model.name]
        wanted = sum(self.control.processes(model.name, number) for number in versions)
        if len(self.stubs(model.name)) >= wanted:
            return False
        # Somebody else may be loading it anew at this moment.
        time.sleep(0.3)
        still = [other for other in self.control.models() if other.name == model.name]
        return all(other.ready for other in still) and len(self.stubs(model.name)) < wanted

    def _heal(self, model: Served, why: str) -> None:
        health = self._health[model.name, model.number]
        if health.heals >= _MOST_HEALS:
            raise RestartNeeded(f"model {model.name} stays dead")
        heals = health.heals + 1
        _log.warning("model %s: %s; it is unloaded and loaded again", model.name, why)
        self.heals += 1
        self._replaced += self.stubs(model.name) if self.stubs else []
        self.control.unload(model.name)
        # Not after the end of unloading: with a process killed in the midst of something, that may never come.
        self._load(model.name, None)
        for key in [key for key in self._health if key[0] == model.name]:
            self._health[key] = _Health(answered=0.0, asked=0.0, heals=heals)

    def _bury_replaced(self) -> None:
        """End processes of healed models that unloading has not ended within a period."""
        replaced, self._replaced = self._replaced, []
        for process in replaced:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _why_not(self, name: str, models: list[Served]) -> str:
        reasons = [model.reason or model.state for model in models if model.name == name]
        return next((reason for reason in reasons if reason), "not loaded")
