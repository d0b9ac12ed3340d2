"""Who keeps the model server of a data folder: one process at a time, known by a lock that goes with it."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class KeeperProcess:
    """``kept_by``: the command that it is."""

    pid: int
    kept_by: str


@contextlib.contextmanager
def keep_alone(data: Path, kept_by: str) -> Iterator[bool]:
    """Yield whether this process is now the one that keeps the server."""
    folder = data / "triton"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(_lock_file(data), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(KeeperProcess(os.getpid(), kept_by))).encode(), 0)
            yield True
    finally:
        os.close(descriptor)


def find_keeper(data: Path) -> KeeperProcess | None:
    """Return the process that keeps the server now."""
    try:
        descriptor = os.open(_lock_file(data), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.suppress(ValueError, TypeError):
            return KeeperProcess(**json.loads(os.pread(descriptor, _LONGEST, 0)))
    finally:
        os.close(descriptor)
    return None


def _lock_file(data: Path) -> Path:
    return data / "triton" / "lock"
