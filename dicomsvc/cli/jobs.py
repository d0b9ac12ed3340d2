"""``dicomsvc jobs``: work items listed, followed, cancelled, tried again."""

from typing import Annotated

import typer

from dicomsvc.cli.context import DataOption, open_store
from dicomsvc.cli.output import JsonFlag, emit, progress_bar
from dicomsvc.jobs import Jobs
from dicomsvc.jobs import follow as follow_items

jobs = typer.Typer(help="Work items: conversions, imports, analyses, with progress.", no_args_is_help=True)
UidArgument = Annotated[str, typer.Argument(help="UID of the work item")]


@jobs.command("list")
def list_jobs(
    state: Annotated[str | None, typer.Option(help="SCHEDULED, IN PROGRESS, COMPLETED or CANCELED")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List work items, newest first."""
    with open_store(data) as store:
        items = Jobs(store.engine).search(state=state, limit=limit)
    text = "\n".join(item.describe() for item in items) or "no work items"
    emit([item.as_dict() for item in items], text, as_json=as_json)


@jobs.command()
def show(uid: UidArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Show one work item with its inputs, outputs and log."""
    with open_store(data) as store:
        item = Jobs(store.engine).get(uid)
    emit(item.as_dict(), "\n".join([item.describe(), *item.log]), as_json=as_json)


@jobs.command()
def follow(uid: UidArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Wait for a work item and show its progress."""
    with open_store(data) as store, progress_bar("working") as report:
        [item] = follow_items(Jobs(store.engine), [uid], report)
    emit(item.as_dict(), item.describe(), as_json=as_json)
    if not item.succeeded:
        raise typer.Exit(1)


@jobs.command()
def cancel(uid: UidArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Ask for a work item to stop."""
    with open_store(data) as store:
        item = Jobs(store.engine).request_cancel(uid)
    emit(item.as_dict(), item.describe(), as_json=as_json)


@jobs.command()
def retry(uid: UidArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Try a failed or cancelled work item again."""
    with open_store(data) as store:
        item = Jobs(store.engine).retry(uid)
    emit(item.as_dict(), item.describe(), as_json=as_json)
