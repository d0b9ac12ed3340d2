"""What reading a stored file told of it, and what becomes of one that has lost its bytes.

Whoever reads a file (`dicomsvc verify`, the scheduled verification, storage commitment) has a `Finding`; `settle` keeps
it: a damaged file is served no longer, one that has its bytes again is, and the audit trail is told.
"""

import errno
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, select, text, update

from dicomsvc.errors import OutOfResources
from dicomsvc.store import index
from dicomsvc.store.blocks import BlockChecker
from dicomsvc.store.database import database_errors
from dicomsvc.store.digest import EachPiece, digest_open, open_for_digest
from dicomsvc.store.tables import audit, instance, series, study

_log = logging.getLogger(__name__)
# Nothing about the file: this process or the server has too much to do.
_PASSING: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT)


class Condition(StrEnum):
    """What has become of a stored instance's file."""

    SOUND = "sound"
    DAMAGED = "damaged"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Subject:
    """A stored instance whose file is to be read.

    Parameters
    ----------
    damaged
        It is known to be, so far.
    has_checks
        The checks of its blocks are known.
    """

    key: int
    sop_instance_uid: str
    path: Path
    sha256: bytes
    damaged: bool
    has_checks: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What the file of a subject is like.

    Parameters
    ----------
    file
        Device and inode of what was read, None where nothing was.
    checks
        Of its blocks, where they were not known and the file is sound.
    """

    subject: Subject
    condition: Condition
    file: tuple[int, int] | None
    checks: bytes | None = None

    @property
    def is_as_expected(self) -> bool:
        return self.condition is Condition.SOUND and not self.subject.damaged


def look_at(subject: Subject, each_piece: EachPiece = lambda count: None) -> Finding:
    """Read a file and compare it with the digest taken when it came.

    Raises
    ------
    OutOfResources
        When it cannot be read now for reasons that are not its own.
    """
    file = None
    checker = None if subject.has_checks else BlockChecker()
    try:
        with open_for_digest(subject.path) as descriptor:
            file = _identity(os.fstat(descriptor))
            sound = digest_open(descriptor, each_piece, checker) == subject.sha256
    except FileNotFoundError:
        return Finding(subject, Condition.MISSING, None)
    except OSError as error:
        if error.errno in _PASSING:
            raise OutOfResources(f"a file cannot be read now: {error.strerror}") from error
        return Finding(subject, Condition.DAMAGED, file)
    if not sound:
        return Finding(subject, Condition.DAMAGED, file)
    return Finding(subject, Condition.SOUND, file, None if checker is None else checker.finish())


def examine(engine: Engine, subject: Subject, each_piece: EachPiece = lambda count: None) -> Condition:
    """Compare one instance's file with its digest, and settle what is wrong; a known damage is believed.

    Raises
    ------
    OutOfResources
        When file or database cannot be read now.
    """
    if subject.damaged:
        return Condition.DAMAGED
    finding = look_at(subject, each_piece)
    if finding.condition is Condition.SOUND or settle(engine, [finding]):
        return finding.condition
    # It was deleted, or has come again, while it was read.
    return look_at(subject, each_piece).condition


def settle(engine: Engine, findings: Sequence[Finding]) -> list[Finding]:
    """Keep what was found, and return those findings that tell of a file that is damaged or missing.

    What says nothing about the present is left out: the instance was deleted, or its file replaced, while it was read.
    """
    expected = [finding for finding in findings if finding.is_as_expected]
    if expected:
        with database_errors(), engine.begin() as connection:
            _note(connection, expected)
    settled = [finding for finding in findings if not finding.is_as_expected and _settle_one(engine, finding)]
    return [finding for finding in settled if finding.condition is not Condition.SOUND]


_NOTE = text(
    "UPDATE verification AS known SET verified_at = clock_timestamp(), checks = coalesce(known.checks, found.checks)"
    " FROM unnest(CAST(:keys AS bigint[]), CAST(:checks AS bytea[])) AS found (key, checks)"
    " WHERE known.instance_key = found.key AND known.instance_key IN ("
    # Somebody who holds a row notes the same, or deletes it.
    "SELECT instance_key FROM verification WHERE instance_key = ANY(:keys) FOR UPDATE SKIP LOCKED)"
)


def _note(connection: Connection, findings: Sequence[Finding]) -> None:
    keys, checks = [finding.subject.key for finding in findings], [finding.checks for finding in findings]
    connection.execute(_NOTE, {"keys": keys, "checks": checks})


def _settle_one(engine: Engine, finding: Finding) -> bool:
    subject = finding.subject
    with database_errors(), engine.begin() as connection:
        # Under the key's lock, so that an instance being stored, restored or deleted right now is no finding.
        index.lock_keys(connection, [subject.path.stem])
        if not _is_present(finding):
            return False
        if connection.scalar(select(instance.c.id).where(instance.c.id == subject.key)) is None:
            return False
        _note(connection, [finding])
        _mark(connection, subject.sop_instance_uid, finding.condition)
    return True


def _is_present(finding: Finding) -> bool:
    try:
        return _identity(finding.subject.path.stat()) == finding.file
    except FileNotFoundError:
        return finding.condition is Condition.MISSING
    except OSError:
        return finding.file is None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def mark_damaged(engine: Engine, sop_instance_uid: str) -> None:
    """Have an instance no longer served, since its file turned out to have lost its bytes."""
    with database_errors(), engine.begin() as connection:
        _mark(connection, sop_instance_uid, Condition.DAMAGED)


def mark_open_damaged(engine: Engine, sop_instance_uid: str, path: Path, descriptor: int) -> None:
    """Do the same for a file that is open, unless another one has taken its place."""
    with database_errors(), engine.begin() as connection:
        index.lock_keys(connection, [path.stem])
        try:
            is_present = os.path.samestat(path.stat(), os.fstat(descriptor))
        except OSError:
            return
        if is_present:
            _mark(connection, sop_instance_uid, Condition.DAMAGED)


def _mark(connection: Connection, sop_instance_uid: str, condition: Condition) -> None:
    """Note the condition; where that is news, the log and the audit trail are told."""
    damaged = condition is not Condition.SOUND
    marked = connection.execute(
        update(instance)
        .where(instance.c.sop_instance_uid == sop_instance_uid, instance.c.damaged.is_(not damaged))
        .values(damaged=damaged)
    )
    if not marked.rowcount:
        return
    if damaged:
        _log.error("the file of instance %s is %s; it is no longer served", sop_instance_uid, condition)
    else:
        _log.info("the file of instance %s has its bytes again; it is served", sop_instance_uid)
    uids = (
        select(study.c.study_instance_uid, series.c.series_instance_uid)
        .select_from(
            instance.join(series, instance.c.series_key == series.c.id).join(study, series.c.study_key == study.c.id)
        )
        .where(instance.c.sop_instance_uid == sop_instance_uid)
    )
    study_instance_uid, series_instance_uid = connection.execute(uids).one()
    connection.execute(
        audit.insert().values(
            who="",
            action="damaged" if damaged else "sound again",
            study_instance_uid=study_instance_uid,
            series_instance_uid=series_instance_uid,
            sop_instance_uid=sop_instance_uid,
            detail={"condition": condition},
        )
    )
