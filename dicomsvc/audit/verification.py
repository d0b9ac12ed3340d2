"""Proving that the trail is what it was: every hash computed again, and compared with what was kept elsewhere."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, select

from dicomsvc.audit.trail import audit_event, audit_head, link_of
from dicomsvc.errors import BadRequest
from dicomsvc.store.database import database_errors

_MOST_FINDINGS: Final = 100
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the hash of a row was; kept where whoever changes the trail does not come."""

    id: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.id}:{self.hash.hex()}"


@dataclass(slots=True)
class Verification:
    """What `verify` found: rows from ``first`` to ``last``, the last one's hash, each place where the chain breaks."""

    checked: int
    first: int
    last: int
    hash: bytes
    anchors: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.findings

    def add(self, finding: str) -> None:
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(finding)


def verify(engine: Engine, anchors: Iterable[Anchor] = ()) -> Verification:
    """Compute the chain again and compare it with its head and with ``anchors``."""
    with database_errors(), engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        head = connection.execute(select(audit_head)).one_or_none()
        if head is None:
            result = Verification(0, 0, 0, b"")
            result.add("the head of the chain is missing")
            return result
        result = Verification(0, head.pruned_id + 1, head.pruned_id, head.pruned_hash)
        _follow(connection, result, _wanted(anchors, result))
    if result.last < head.id:
        result.add(f"rows {result.last + 1} to {head.id} are missing at the end")
    elif result.last > head.id:
        result.add(f"rows {head.id + 1} to {result.last} were added by something else")
    elif result.hash != head.hash:
        result.add(f"row {result.last} is not the one that was added last")
    return result


def _wanted(anchors: Iterable[Anchor], result: Verification) -> Mapping[int, Sequence[bytes]]:
    wanted: dict[int, list[bytes]] = {}
    for anchor in anchors:
        # Of rows that were removed on purpose nothing can be said.
        if anchor.id >= result.first:
            wanted.setdefault(anchor.id, []).append(anchor.hash)
    return wanted


def _follow(connection: Connection, result: Verification, wanted: Mapping[int, Sequence[bytes]]) -> None:
    rows = connection.execution_options(stream_results=True, max_row_buffer=_PAGE).execute(
        select(audit_event).order_by(audit_event.c.id)
    )
    for row in rows:
        link = link_of(row)
        if link.id != result.last + 1:
            result.add(f"rows {result.last + 1} to {link.id - 1} are missing")
        elif link.hash_after(result.hash) != row.hash:
            result.add(f"row {link.id} was changed or does not follow the row before it")
        for known in wanted.get(link.id, ()):
            result.anchors += 1
            if known != row.hash:
                result.add(f"row {link.id} is not the one that an anchor names")
        result.checked, result.last, result.hash = result.checked + 1, link.id, row.hash
    for missing in sorted(number for number in wanted if number > result.last):
        result.add(f"row {missing}, which an anchor names, is missing")


def head_of(engine: Engine) -> Anchor:
    """Return the chain's last row as an anchor."""
    with database_errors(), engine.connect() as connection:
        row = connection.execute(select(audit_head.c.id, audit_head.c.hash)).one()
        return Anchor(row.id, row.hash)


def parse_anchor(text: str) -> Anchor:
    """Return the anchor that is written as ``ID:HASH``.

    Raises
    ------
    BadRequest
        When it is not written so.
    """
    number, _, hexadecimal = text.strip().partition(":")
    try:
        anchor = Anchor(int(number), bytes.fromhex(hexadecimal))
    except ValueError:
        anchor = Anchor(0, b"")
    if anchor.id < 1 or len(anchor.hash) != 32:
        raise BadRequest("an anchor is ID:HASH, as `dicomsvc audit anchor` prints it")
    return anchor


class AnchorFile:
    """Anchors in a file beside the store, out of the database: one a line, with the time."""

    def __init__(self, data: Path) -> None:
        self.path = data / "audit-anchors"

    def add(self, anchor: Anchor) -> None:
        """Append an anchor durably."""
        line = f"{anchor} {datetime.now(UTC).isoformat(timespec='seconds')}\n".encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def __iter__(self) -> Iterator[Anchor]:
        try:
            lines = self.path.read_text("ascii", "replace").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                yield parse_anchor(line.partition(" ")[0])
            except BadRequest:
                # Cut short by a crash.
                continue
