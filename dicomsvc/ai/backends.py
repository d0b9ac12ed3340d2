"""A backend for one command: the configured or running model server, else one that lives as long as the command."""

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dicomsvc.ai.catalogue.repository import Model
from dicomsvc.ai.catalogue.staging import stage_models
from dicomsvc.ai.catalogue.state import StateFile
from dicomsvc.ai.inference import Backend, InProcessBackend, TritonBackend
from dicomsvc.ai.inference.endpoint import read_endpoint, write_endpoint
from dicomsvc.ai.triton.control import Control
from dicomsvc.ai.triton.runtime import find_runtime
from dicomsvc.ai.triton.server import Server, launch
from dicomsvc.config import Settings
from dicomsvc.errors import ServerUnavailable

_log = logging.getLogger(__name__)
_START_SECONDS: Final = 120
_LOOK_EVERY_SECONDS: Final = 0.2


@contextmanager
def backend_for(settings: Settings, *models: Model) -> Iterator[Backend]:
    """Yield a backend on which the models are loaded. Must be entered in the process's main thread.

    In process only where ``triton.in_process`` says so. Else the configured server; else the one that runs for the data
    folder; else a server of its own in a temporary folder, which ends with the context.

    Raises
    ------
    ConfigurationError
        When the own server's runtime environment is missing, or ONNX Runtime is, which then is needed.
    ServerUnavailable, ModelFailure
        When the server does not answer, or cannot load a model.
    """
    if settings.triton.in_process:
        with tempfile.TemporaryDirectory(prefix="dicomsvc-", ignore_cleanup_errors=True) as name:
            yield from _closing(InProcessBackend(_repository(settings, models, Path(name))))
        return
    if settings.triton.url is not None or read_endpoint(settings.data) is not None:
        running = TritonBackend(settings)
        try:
            for model in models:
                running.load(model.name)
        except ServerUnavailable:
            running.close()
            if settings.triton.url is not None:
                raise
        else:
            yield from _closing(running)
            return
    with _own_server(settings, models) as own:
        yield own


def _closing(backend: Backend) -> Iterator[Backend]:
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def _own_server(settings: Settings, models: Sequence[Model]) -> Iterator[Backend]:
    runtime = find_runtime(settings.triton)
    with tempfile.TemporaryDirectory(prefix="dicomsvc-", ignore_cleanup_errors=True) as name:
        data = Path(name)
        repository = _staged(settings, models, data / "triton" / "repository")
        _log.info("starting a model server for this command")
        server = launch(runtime, repository, data, settings.triton.memory_mb)
        try:
            _load(server, models)
            write_endpoint(data, server.endpoint)
            yield from _closing(TritonBackend(settings.model_copy(update={"data": data})))
        finally:
            server.stop()


def _repository(settings: Settings, models: Sequence[Model], scratch: Path) -> Path:
    """Return a folder that has all of the models: their own, where that is the same one."""
    folders = {model.folder.parent for model in models}
    return folders.pop() if len(folders) == 1 else _staged(settings, models, scratch)


def _staged(settings: Settings, models: Sequence[Model], repository: Path) -> Path:
    trusted = StateFile(settings.data.absolute() / "models").read().trusted
    instances = settings.triton.instances or len(os.sched_getaffinity(0))
    stage_models(repository, [(model.folder, model.versions) for model in models], trusted, instances)
    return repository


def _load(server: Server, models: Sequence[Model]) -> None:
    control = Control(server.endpoint)
    deadline = time.monotonic() + _START_SECONDS
    try:
        while True:
            try:
                control.version()
                break
            except ServerUnavailable as error:
                if not server.alive or time.monotonic() > deadline:
                    raise ServerUnavailable("a model server of this command's own does not start") from error
                time.sleep(_LOOK_EVERY_SECONDS)
        for model in models:
            control.load(model.name)
    finally:
        control.close()
