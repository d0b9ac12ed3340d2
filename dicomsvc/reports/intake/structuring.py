"""Structuring what has been received: at once where it came in, later by a worker where that did not happen."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Engine

from dicomsvc.errors import ConfigurationError, Conflict, OutOfResources
from dicomsvc.jobs import Jobs, Priority, Progress, Work, WorkItem
from dicomsvc.logs import places
from dicomsvc.reports.repository.reading import take, waiting, write
from dicomsvc.store.database import database_errors

KIND: Final = "structure-reports"
_KEY: Final = "reports:structure"
_AT_ONCE: Final = 200
_log = logging.getLogger(__name__)


def require_languages() -> None:
    """Raise `ConfigurationError` where the parts that read reports are not installed."""
    try:
        import dicomsvc.reports.pipeline  # noqa: F401 - an extra
    except ModuleNotFoundError as error:
        raise ConfigurationError("reports need an extra: pip install 'dicomsvc[nlp]'") from error


def warm_up() -> None:
    """Load rules and pipelines now, so that the first report does not wait for them."""
    from dicomsvc.reports.pipeline import structure

    for text in ("Diagnosis: benign.", "病理诊断：未见癌。"):
        structure(text)


def structure_version(engine: Engine, uid: str, number: int) -> bool:
    """Structure a version that waits; False when it does not wait any more, or could not be structured this time.

    The attempt is counted before it is made: a text that takes the process down is not tried for ever.
    """
    from dicomsvc.reports.pipeline import structure

    with database_errors(), engine.begin() as connection:
        version = take(connection, uid, number)
    if version is None:
        return False
    try:
        structured = structure(version.text)
    except Exception as error:  # noqa: BLE001 - the border: a text that the rules fail on must not stop the others
        _log.error("report %s could not be structured\n%s", uid, places(error))
        return False
    with database_errors(), engine.begin() as connection:
        write(connection, version, structured)
    return True


def order_structuring(jobs: Jobs, who: str) -> WorkItem:
    """Have a worker structure all that waits."""
    try:
        return jobs.create(KIND, {}, who, priority=Priority.HIGH, key=_KEY)
    except Conflict:
        # The one that had the key began just now, and may not see what came last.
        return jobs.create(KIND, {}, who, priority=Priority.HIGH, key=_KEY)


def structure_all(work: Work) -> Mapping[str, Any]:
    """Structure all that waits: the handler of `KIND`."""
    require_languages()
    # From here on a report that comes makes a work item of its own, so that none is left behind.
    Jobs(work.store.engine).release_key(work.uid)
    return structure_waiting(work.store.engine, lambda done: work.report(Progress(done, 0, f"{done} reports")))


def structure_waiting(engine: Engine, tell: Callable[[int], None]) -> dict[str, int]:
    """Structure until nothing waits; ``tell`` hears how many are done, and may raise to stop."""
    done = failed = 0
    tried: set[tuple[str, int]] = set()
    while True:
        with database_errors(), engine.connect() as connection:
            batch = [each for each in waiting(connection, _AT_ONCE + len(tried)) if each not in tried]
        if not batch:
            return {"structured": done, "not_structured": failed}
        for uid, number in batch:
            if structure_version(engine, uid, number):
                done += 1
            else:
                tried.add((uid, number))
                failed += 1
            tell(done)


def structure_quietly(engine: Engine, uid: str, number: int) -> None:
    """Structure a version now if that is possible; the upkeep will see to it otherwise."""
    try:
        structure_version(engine, uid, number)
    except OutOfResources as error:
        _log.warning("a report waits to be structured: %s", error)
