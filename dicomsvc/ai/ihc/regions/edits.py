"""What people changed about a region's cells: appended durably, replayed in order."""

import fcntl
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dicomsvc.errors import DamagedFile, NotFound, OutOfResources, TooLarge
from dicomsvc.store.layout import sync_folder

MAX_EDITS: Final = 100_000
_FILE: Final = "edits.jsonl"
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AddedCell:
    """``outline`` in the region's pixels, an open polygon."""

    outline: tuple[tuple[float, float], ...]
    positive: bool


@dataclass(slots=True)
class Edits:
    """All changes together; cells count from 1, those that people added after the model's."""

    removed: set[int] = field(default_factory=set)
    positive: dict[int, bool] = field(default_factory=dict)
    added: dict[int, AddedCell] = field(default_factory=dict)
    last: int = 0
    """The number of the cell that was added last, or of the model's last cell."""
    count: int = 0

    def exists(self, cell: int, cells: int) -> bool:
        """Whether a cell is there, ``cells`` being how many the model found."""
        return cell not in self.removed and (1 <= cell <= cells or cell in self.added)


def replay(lines: Iterable[Line], cells: int) -> Edits:
    """Return what changes come to, over ``cells`` cells of the model."""
    edits = Edits(last=cells)
    for line in lines:
        cell = int(line["cell"])
        edits.count += 1
        if line["what"] == "add":
            outline = tuple((float(x), float(y)) for x, y in line["outline"])
            edits.added[cell] = AddedCell(outline, bool(line["positive"]))
            edits.last = max(edits.last, cell)
        elif line["what"] == "remove":
            edits.removed.add(cell)
        elif line["what"] == "restore":
            edits.removed.discard(cell)
        elif line["what"] == "class":
            edits.positive[cell] = bool(line["positive"])
    return edits


def read_edits(folder: Path) -> list[Line]:
    """Return the changes in order; a last line that was cut by a crash was never answered, and does not count."""
    try:
        data = (folder / _FILE).read_bytes()
    except FileNotFoundError:
        return []
    try:
        return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
    except ValueError as error:
        raise DamagedFile("the changes of a region cannot be read") from error


def append_edit(folder: Path, who: str, decide: Callable[[list[Line]], Line]) -> Line:
    """Append a change and return it once it is durable.

    ``decide`` gets all changes so far, nobody else writing meanwhile, and may raise to refuse.

    Raises
    ------
    NotFound
        When the region is gone.
    TooLarge
        When there are too many changes.
    OutOfResources
        When the disk refuses.
    """
    try:
        descriptor = os.open(folder / _FILE, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise NotFound("there is no such region; it may have expired") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        lines = read_edits(folder)
        if len(lines) >= MAX_EDITS:
            raise TooLarge(f"a region takes {MAX_EDITS} changes")
        whole = _whole_bytes(descriptor)
        line = {**decide(lines), "who": who, "at": datetime.now(UTC).isoformat(), "edit": len(lines) + 1}
        os.ftruncate(descriptor, whole)
        os.write(descriptor, json.dumps(line, allow_nan=False).encode() + b"\n")
        os.fsync(descriptor)
        sync_folder(folder)
        return line
    except OSError as error:
        raise OutOfResources(f"the change cannot be kept: {os.strerror(error.errno or 0)}") from error
    finally:
        os.close(descriptor)


def _whole_bytes(descriptor: int) -> int:
    """Return how many bytes are whole lines."""
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).rfind(b"\n") + 1
