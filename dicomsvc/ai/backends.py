"""A backend for one command: the configured or running model server, else one that lives as long as the command."""

import logging
import os
import tempfile
import time
from collections.abc import Iterator
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
def backend_for(settings: Settings, model: Model) -> Iterator[Backend]:
    """Yield a backend on which the model is loaded. Must be entered in the process's main thread.

    In process only where ``triton.in_process`` says so. Else the configured server; else the one that runs for the data
    folder; else a server of its own in a temporary folder, which ends with the context.

    Raises
    ------
    ConfigurationError
        When the own server's runtime environment is missing, or ONNX Runtime is, which then is needed.
    ServerUnavailable, ModelFailure
        When the server does not answer, or cannot load the model.
    """
    if settings.triton.in_process:
        backend: Backend = InProcessBackend(model.folder.parent)
        yield from _closing(backend)
        return
    if settings.triton.url is not None or read_endpoint(settings.data) is not None:
        running = TritonBackend(settings)
        try:
            running.load(model.name)
        except ServerUnavailable:
            running.close()
            if settings.triton.url is not None:
                raise
        else:
            yield from _closing(running)
            return
    with _own_server(settings, model) as own:
        yield own


def _closing(backend: Backend) -> Iterator[Backend]:
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def _own_server(settings: Settings, model: Model) -> Iterator[Backend]:
    runtime = find_runtime(settings.triton)
    trusted = StateFile(settings.data.absolute() / "models").read().trusted
    with tempfile.TemporaryDirectory(prefix="dicomsvc-", ignore_cleanup_errors=True) as name:
        data = Path(name)
        repository = data / "triton" / "repository"
        instances = settings.triton.instances or len(os.sched_getaffinity(0))
        stage_models(repository, [(model.folder, model.versions)], trusted, instances)
        _log.info("starting a model server for this command")
        server = launch(runtime, repository, data, settings.triton.memory_mb)
        try:
            _load(server, model.name)
            write_endpoint(data, server.endpoint)
            yield from _closing(TritonBackend(settings.model_copy(update={"data": data})))
        finally:
            server.stop()


def _load(server: Server, model: str) -> None:
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
        control.load(model)
    finally:
        control.close()
