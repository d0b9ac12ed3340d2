"""Undoing what a crash left half done.

Runs when a process starts and every few minutes: looks into spool folders whose processes are gone. For its own files
in doubt a process asks every few seconds. A file that has a second name in ``instances/`` but no row was never
acknowledged: both names go.
"""

import logging
import os
import shutil
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from dicomsvc.store.database import database_errors
from dicomsvc.store.index import lock_keys
from dicomsvc.store.layout import Layout
from dicomsvc.store.spool import SpoolArea, abandoned_folders
from dicomsvc.store.tables import instance

_log = logging.getLogger(__name__)
_KEY_LENGTH = 64


def sweep(layout: Layout, engine: Engine) -> int:
    """Clean up after processes that are gone; return how many files were removed that no row points to."""
    removed = 0
    for folder, lock in abandoned_folders(layout.spool):
        try:
            for file in folder.glob("*.part"):
                removed += settle(layout, engine, file)
            shutil.rmtree(folder)
        finally:
            os.close(lock)
    if removed:
        _log.info("removed %d files that were never acknowledged", removed)
    return removed


def settle_doubtful(layout: Layout, engine: Engine, area: SpoolArea) -> int:
    """Settle this process's own files of which it did not learn whether they were committed; return how many."""
    settled = 0
    while area.doubtful:
        settle(layout, engine, area.doubtful[0])
        area.doubtful.popleft()
        settled += 1
    return settled


def settle(layout: Layout, engine: Engine, spooled: Path) -> bool:
    """Remove a spool file, and its second name unless the index has it; return whether a second name went."""
    orphan = withdraw(layout, engine, spooled)
    spooled.unlink(missing_ok=True)
    return orphan


def withdraw(layout: Layout, engine: Engine, spooled: Path) -> bool:
    """Remove the second name of a spool file unless the index has it; return whether it went.

    Raises
    ------
    OutOfResources
        When the database does not answer.
    """
    orphan = False
    key = spooled.name.partition(".")[0]
    if len(key) == _KEY_LENGTH:
        with database_errors(), engine.begin() as connection:
            lock_keys(connection, [key])
            target = layout.instance_path(key)
            if target.exists() and spooled.exists() and target.samefile(spooled) and not _known(connection, key):
                target.unlink()
                orphan = True
    return orphan


def _known(connection: Connection, key: str) -> bool:
    return connection.scalar(select(instance.c.id).where(instance.c.file_key == key)) is not None
