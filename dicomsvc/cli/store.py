"""Commands that look after the store: migrate, reindex, verify, delete."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from dicomsvc.cli.context import DataOption, open_store, settings_for
from dicomsvc.cli.output import JsonFlag, emit, progress_bar
from dicomsvc.store import Reach
from dicomsvc.store.database import make_engine
from dicomsvc.store.database import migrate as migrate_schema
from dicomsvc.store.embedded import with_database


def migrate(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Bring the database's schema to this version's state."""
    settings, embedded = with_database(settings_for(data))
    engine = make_engine(settings.database)
    try:
        revision = migrate_schema(engine)
    finally:
        engine.dispose()
        if embedded is not None:
            embedded.stop()
    emit({"revision": revision}, f"the schema is at revision {revision}", as_json=as_json)


def reindex(
    data: DataOption = None,
    rebuild: Annotated[bool, typer.Option(help="Empty the index first and make all of it again.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make the index from the files: add what is missing, remove what has lost its file."""
    with open_store(data) as store, progress_bar("indexing") as report:
        result = store.reindex(rebuild=rebuild, progress=report)
    text = f"{result.files} files: {result.added} added, {result.removed} rows without a file removed"
    for name in result.unreadable:
        text += f"\nnot readable: {name}"
    emit(asdict(result), text, as_json=as_json)
    if result.unreadable:
        raise typer.Exit(1)


def verify(
    data: DataOption = None,
    older_than: Annotated[
        float,
        typer.Option(
            min=0, max=36500, help="Only files that were not read for so many days, and damaged ones.", metavar="DAYS"
        ),
    ] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Compare every file with the digest taken when it came; damaged ones are no longer served."""
    with open_store(data) as store, progress_bar("verifying") as report:
        begun = time.monotonic()

        def tell(reach: Reach) -> None:
            rate = reach.bytes / 1e6 / max(time.monotonic() - begun, 0.001)
            size = f"{reach.bytes / 1e9:.1f} of {reach.all_bytes / 1e9:.1f} GB, {rate:.0f} MB/s"
            report(reach.files, reach.all_files, size)

        result = store.verify(tell, older_than_days=older_than)
    lines = [f"{result.checked} files checked, {result.bytes / 1e6:.0f} MB"]
    lines += [f"damaged: {uid}  (restore its file from a backup, then verify again)" for uid in result.damaged]
    lines += [f"missing: {uid}  (restore its file, or run `dicomsvc reindex` to forget it)" for uid in result.missing]
    lines += [f"not in the index: {name}  (run `dicomsvc reindex`)" for name in result.orphans]
    emit({**asdict(result), "sound": result.sound}, "\n".join(lines), as_json=as_json)
    if not result.sound:
        raise typer.Exit(1)


def delete(
    study: Annotated[str, typer.Argument(help="Study Instance UID")],
    series: Annotated[str | None, typer.Option(help="Series Instance UID: only this series")] = None,
    instance: Annotated[str | None, typer.Option(help="SOP Instance UID: only this instance")] = None,
    who: Annotated[str, typer.Option(help="Who deletes, for the audit record")] = "command line",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Delete a study, a series or an instance for good; the audit record keeps who and when."""
    if not yes:
        typer.confirm(f"Delete {instance or series or study} for good?", abort=True)
    with open_store(data) as store:
        count = store.delete(who, study, series, instance)
    emit({"deleted": count}, f"{count} instances deleted", as_json=as_json)
