"""``dicomsvc triton``: the own model server without the rest of the service, and its runtime environment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from dicomsvc.ai.inference.endpoint import find_endpoint
from dicomsvc.ai.triton.control import Control
from dicomsvc.ai.triton.install import install_runtime
from dicomsvc.ai.triton.lock import KeeperProcess, find_keeper
from dicomsvc.ai.triton.runtime import find_runtime, runtime_folder
from dicomsvc.cli.context import DataOption, settings_for
from dicomsvc.cli.output import JsonFlag, emit, progress_bar
from dicomsvc.config import Settings
from dicomsvc.errors import ConfigurationError, Conflict, DicomsvcError, ServerUnavailable
from dicomsvc.service.child import dump_settings

triton = typer.Typer(help="The model server: install, start, look at, stop.", no_args_is_help=True)
_STOP_SECONDS = 20
_KEPT_BY = "dicomsvc triton up"


@triton.command()
def install(
    runtime: Annotated[Path | None, typer.Option("--runtime", help="Folder for it.", show_default=False)] = None,
    as_json: JsonFlag = False,
) -> None:
    """Install the model server's runtime environment (320 MB); costs nothing when it is there."""
    settings = settings_for(triton={"runtime": runtime})
    folder = runtime_folder(settings.triton)
    with progress_bar("model server") as report:
        fresh = install_runtime(folder, report)
    text = f"the model server is {'now' if fresh else 'already'} installed in {folder}"
    emit({"runtime": str(folder), "installed": fresh}, text, as_json=as_json)


@triton.command()
def up(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Start the model server in the background and wait until it answers; `serve` does this by itself."""
    settings = settings_for(data)
    _require_own(settings)
    find_runtime(settings.triton)
    if find_keeper(settings.data) is None:
        _start_keeper(settings)
    status(data, as_json)


@triton.command()
def status(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Show whether the model server answers and which models it has; exit status 1 when not all is well."""
    settings = settings_for(data)
    found = _look(settings)
    models = found["models"]
    lines = [f"model server  {found['server'] or found['problem']}"]
    if found["server"]:
        lines.append(f"address       {found['address']}")
    if found["kept_by"]:
        lines.append(f"run by        {found['kept_by']} (process {found['keeper_pid']})")
    lines += [f"model         {name}  {state}" for name, state in models.items()]
    emit(found, "\n".join(lines), as_json=as_json)
    if not found["server"] or any(state != "READY" for state in models.values()):
        raise typer.Exit(1)


@triton.command()
def down(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Stop the model server that `dicomsvc triton up` started."""
    settings = settings_for(data)
    keeper = find_keeper(settings.data)
    if keeper is not None:
        _stop(settings, keeper)
    text = "the model server has ended" if keeper else "no model server runs for this data folder"
    emit({"stopped": keeper is not None}, text, as_json=as_json)


@contextmanager
def server_for_command(settings: Settings) -> Iterator[None]:
    """Have a model server for as long as a command runs: the configured or running one, else one of its own."""
    own = settings.triton.url is None and not settings.triton.in_process and find_keeper(settings.data) is None
    if own:
        find_runtime(settings.triton)
        _start_keeper(settings)
    try:
        yield
    finally:
        keeper = find_keeper(settings.data) if own else None
        if keeper is not None and keeper.kept_by == _KEPT_BY:
            _stop(settings, keeper)


def _require_own(settings: Settings) -> None:
    if settings.triton.in_process:
        raise ConfigurationError("triton.in_process is set: models run in the worker, there is no server to start")
    if settings.triton.url is not None:
        raise ConfigurationError(f"triton.url is set: the server at {settings.triton.url} is used, none is started")


def _start_keeper(settings: Settings) -> None:
    settings.data.mkdir(parents=True, exist_ok=True)
    folder = settings.data / "triton"
    folder.mkdir(mode=0o700, exist_ok=True)
    log = folder / "keeper.log"
    with open(log, "ab", opener=_private) as errors:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "dicomsvc.cli.triton_process", _KEPT_BY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert process.stdin is not None and process.stdout is not None
    with process.stdin as stdin:
        stdin.write(dump_settings(settings) + "\n")
    if not process.stdout.readline().startswith("ready"):
        raise ServerUnavailable(f"the model server does not start; see {log}")


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _look(settings: Settings) -> dict[str, Any]:
    keeper = find_keeper(settings.data)
    found: dict[str, Any] = {
        "server": None,
        "address": None,
        "problem": None,
        "keeper_pid": keeper and keeper.pid,
        "kept_by": keeper and keeper.kept_by,
        "models": {},
    }
    try:
        endpoint = find_endpoint(settings.triton, settings.data)
        control = Control(endpoint)
        try:
            found["server"] = f"Triton {control.version()}"
            found["address"] = endpoint.address
            found["models"] = {
                model.name: model.state or "not loaded"
                if model.state != "UNAVAILABLE"
                else model.reason or "not loaded"
                for model in control.models()
            }
        finally:
            control.close()
    except DicomsvcError as error:
        found["problem"] = error.message
    return found


def _stop(settings: Settings, keeper: KeeperProcess) -> None:
    if keeper.kept_by != _KEPT_BY:
        raise Conflict(f"the model server is run by `{keeper.kept_by}` (process {keeper.pid}); stop that instead")
    os.kill(keeper.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while find_keeper(settings.data) == keeper:
        if time.monotonic() > deadline:
            raise ServerUnavailable(f"the model server's keeper (process {keeper.pid}) does not end")
        time.sleep(0.1)
