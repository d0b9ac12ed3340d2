"""One run of the own Triton server: how it is started, and what is cleaned up after it.

It listens on a Unix socket in a folder that only this user may enter, and on no network address. Calls that change it
ask for a secret besides. Its shared memory is named after the data folder, so that what a killed run left is found.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from dicomsvc.ai.inference.endpoint import HEADER_KEY, Endpoint
from dicomsvc.ai.triton.runtime import Runtime

_log = logging.getLogger(__name__)
_RESTRICTED: Final = "model-repository,shared-memory,trace,logging"
_LONGEST_SOCKET_PATH: Final = 107
_EXIT_SECONDS: Final = 2
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the kernel keeps it
_LOG_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Server:
    """A running server."""

    process: "subprocess.Popen[bytes]"
    endpoint: Endpoint
    socket: Path
    prefix: str

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self, seconds: float = _EXIT_SECONDS + 5) -> None:
        """End it, with everything that it leaves."""
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                _log.warning("the model server did not end in %.0f s and is killed", seconds)
                self.process.kill()
                self.process.wait()
        clean_up(self.prefix)
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()

    def stubs(self, model: str) -> list[psutil.Process]:
        """Return the living processes that run a model."""
        found = []
        for process in self._children():
            with contextlib.suppress(psutil.Error):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and any(Path(part).parts[-3:-2] == (model,) for part in process.cmdline()[1:2]):
                    found.append(process)
        return found

    def _children(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return list(psutil.Process(self.process.pid).children(recursive=True))
        return []

    def memory_bytes(self) -> int:
        """Return the memory of the server and its stubs, shared memory counted once."""
        private = 0
        for process in (psutil.Process(self.process.pid), *self._children()) if self.alive else ():
            with contextlib.suppress(psutil.Error):
                memory = process.memory_info()
                private += max(0, memory.rss - memory.shared)
        return private + sum(size for _, size in _shared_memory(self.prefix))


def launch(runtime: Runtime, repository: Path, data: Path, memory_mb: int) -> Server:
    """Start a server on a model repository; it loads nothing yet. Ends with the thread that calls this.

    ``data`` is the data folder, under whose ``triton/`` the socket and the server's log lie. ``memory_mb`` is what each
    process that runs a model may allocate.
    """
    family = shared_memory_prefix(data)
    clean_up(family)
    prefix = f"{family}{secrets.token_hex(4)}_"
    folder = _socket_folder(data, family)
    name = f"g{secrets.token_hex(4)}"
    secret = secrets.token_hex(16)
    # gRPC takes a whole path for an address, and Triton appends ":" and the port: so the port is part of the name.
    command = [
        *(str(runtime.server), f"--model-repository={repository}", f"--backend-directory={runtime.backends}"),
        *(f"--grpc-address=unix:{folder}/{name}", "--grpc-port=1", "--allow-http=false", "--allow-metrics=false"),
        *("--model-control-mode=explicit", "--disable-auto-complete-config", "--strict-readiness=false"),
        *("--exit-on-error=false", f"--exit-timeout-secs={_EXIT_SECONDS}", "--log-format=ISO8601"),
        f"--grpc-restricted-protocol={_RESTRICTED}:{HEADER_KEY}={secret}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
    ]
    guard = Path(__file__).with_name("guard.py")
    with _open_log(data / "triton" / "server.log") as log:
        process = subprocess.Popen(  # noqa: S603 - the runtime's own program
            [sys.executable, "-I", str(guard), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(runtime) | {"DICOMSVC_MODEL_MEMORY_MB": str(memory_mb)},
            start_new_session=True,
            cwd=runtime.folder,
        )
    endpoint = Endpoint(f"unix:{folder}/{name}:1", secret, pid=process.pid, host=socket.gethostname())
    return Server(process, endpoint, folder / f"{name}:1", prefix)


def clean_up(prefix: str) -> None:
    """End what is left of servers whose shared memory has this prefix, and remove that memory."""
    for process in _leftover(prefix):
        with contextlib.suppress(psutil.Error):
            process.kill()
            process.wait(5)
    for file, _ in _shared_memory(prefix):
        with contextlib.suppress(OSError):
            file.unlink()


def shared_memory_prefix(data: Path) -> str:
    """Return what the names of shared memory of this data folder's servers begin with."""
    return f"dicomsvc_{os.geteuid()}_{hashlib.sha256(os.fsencode(data.absolute())).hexdigest()[:12]}_"


def _leftover(prefix: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["name", "cmdline", "uids"]):
        mine = process.info["uids"] is not None and process.info["uids"].effective == os.geteuid()
        if mine and (process.info["name"] or "").startswith("triton"):
            command: list[Any] = process.info["cmdline"] or []
            if any(part.startswith(prefix) or f"shm-region-prefix-name={prefix}" in part for part in command):
                yield process


def _shared_memory(prefix: str) -> list[tuple[Path, int]]:
    found = []
    for file in _SHARED_MEMORY.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            found.append((file, file.stat().st_blocks * 512))
    return found


def _environment(runtime: Runtime) -> dict[str, str]:
    """Return the server's environment: nothing of ours, which may hold secrets."""
    return {
        "PATH": f"{runtime.folder / 'bin'}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": runtime.library_path(),
        "HOME": str(runtime.folder),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "TMPDIR": tempfile.gettempdir(),
    }


def _socket_folder(data: Path, family: str) -> Path:
    """Return a folder that only this user may enter, whose path fits into a socket's address."""
    preferred = data.absolute() / "triton" / "run"
    candidates = (preferred, Path(tempfile.gettempdir()) / family.rstrip("_"))
    for folder in candidates:
        if len(os.fsencode(folder)) + 16 < _LONGEST_SOCKET_PATH:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid == os.geteuid() and not folder.is_symlink() and _takes_sockets(folder):
                folder.chmod(0o700)
                for old in folder.glob("g*:1"):
                    old.unlink()
                return folder
    return Path(tempfile.mkdtemp(prefix="dicomsvc-"))


def _takes_sockets(folder: Path) -> bool:
    probe = folder / f"g{secrets.token_hex(4)}:1"
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(probe))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _open_log(path: Path) -> Iterator[Any]:
    """Open the server's log to append, putting a long one aside."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        log.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n".encode())
        log.flush()
        yield log
