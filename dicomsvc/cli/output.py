"""What commands print: for people, or with ``--json`` one JSON document on standard output."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text for people.")]
_console = Console(stderr=True)


class Report(Protocol):
    """Called with what is done so far, the total, and what is being done."""

    def __call__(self, done: int, total: int, what: str = "") -> None: ...


def emit(document: Any, text: str, *, as_json: bool) -> None:
    """Print the result: ``document`` as JSON, or ``text``."""
    sys.stdout.write((json.dumps(document, ensure_ascii=False, default=str, indent=2) if as_json else text) + "\n")
    sys.stdout.flush()


@contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """Show a bar on standard error; on something that is no terminal only its end is printed."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console, transient=False) as bar:
        task = bar.add_task(title, total=None)

        def report(done: int, total: int, what: str = "") -> None:
            bar.update(task, completed=done, total=total, description=f"{title} {what}".rstrip())

        yield report
