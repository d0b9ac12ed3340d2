"""``dicomsvc audit``: verify, read, anchor and prune the audit trail."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer

from dicomsvc.audit import Outcome, SecurityAlert, record
from dicomsvc.audit.events import EVENTS
from dicomsvc.audit.reading import TRAIL, Wanted, document, operator, prune, read
from dicomsvc.audit.trail import Keeper, Link
from dicomsvc.audit.verification import AnchorFile, Verification, head_of, parse_anchor, verify
from dicomsvc.cli.context import DataOption, open_store
from dicomsvc.cli.output import JsonFlag, emit

audit = typer.Typer(name="audit", help="The audit trail (PS3.15 A.5).", no_args_is_help=True)


class Form(StrEnum):
    """What an export is written as."""

    JSON = "json"
    XML = "xml"


_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_Since = Annotated[datetime | None, typer.Option(help="From then on (UTC).", formats=_DATES)]
_Until = Annotated[datetime | None, typer.Option(help="Before then (UTC).", formats=_DATES)]
_Events = Annotated[list[str] | None, typer.Option("--event", help=f"Only these: {', '.join(sorted(EVENTS))}.")]
_User = Annotated[str | None, typer.Option(help="Only what this user or Application Entity took part in.")]
_Study = Annotated[str | None, typer.Option(help="Only of this Study Instance UID.")]
_Patient = Annotated[str | None, typer.Option(help="Only of this Patient ID.")]
_Failures = Annotated[bool, typer.Option("--failures", help="Only what did not succeed.")]


@audit.command("verify")
def verify_trail(
    anchor: Annotated[list[str] | None, typer.Option(help="ID:HASH that was kept elsewhere.")] = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Prove that no row of the trail was changed, removed or put in between; says where the chain breaks."""
    anchors = [parse_anchor(each) for each in anchor or ()]
    with open_store(data) as store:
        Keeper(store.engine, store.settings).keep(everything=True)
        result = verify(store.engine, [*anchors, *AnchorFile(store.layout.root)])
        if not result.sound:
            told = f"the audit trail does not verify: {result.findings[0]}"
            alert = SecurityAlert(
                kind="ObjectSecurityAttributesChanged", subject=TRAIL, description=told, outcome=Outcome.MAJOR_FAILURE
            )
            record(store.engine, alert)
    emit(_verification(result), _told(result), as_json=as_json)
    if not result.sound:
        raise typer.Exit(1)


def _verification(result: Verification) -> dict[str, object]:
    return {
        "sound": result.sound,
        "checked": result.checked,
        "first": result.first,
        "last": result.last,
        "hash": result.hash.hex(),
        "anchors": result.anchors,
        "findings": result.findings,
    }


def _told(result: Verification) -> str:
    lines = [f"{result.checked} rows, from {result.first} to {result.last}; {result.anchors} anchors compared"]
    lines += result.findings or [f"the chain is whole; its anchor: {result.last}:{result.hash.hex()}"]
    return "\n".join(lines)


@audit.command("list")
def list_trail(
    since: _Since = None,
    until: _Until = None,
    event: _Events = None,
    user: _User = None,
    study: _Study = None,
    patient: _Patient = None,
    failures: _Failures = False,
    limit: Annotated[int, typer.Option(min=1, help="The latest so many.")] = 100,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the trail's latest rows; that somebody read them is recorded too."""
    wanted = _wanted(since, until, event, user, study, patient, failures)
    with open_store(data) as store:
        Keeper(store.engine, store.settings).keep(everything=True)
        links = list(read(store.engine, wanted, operator(), limit=limit))
    emit([document(link) for link in links], "\n".join(map(_line, links)), as_json=as_json)


def _line(link: Link) -> str:
    outcome = "" if link.outcome == Outcome.SUCCESS else f"  {Outcome(link.outcome).name.lower().replace('_', ' ')}"
    studies = " ".join(link.study_instance_uids)
    return f"{link.id}  {link.at:%Y-%m-%d %H:%M:%S}  {link.event}  {', '.join(link.who)}  {studies}{outcome}".rstrip()


@audit.command("export")
def export_trail(
    form: Annotated[Form, typer.Option("--format", help="JSON lines, or one XML document.")] = Form.JSON,
    since: _Since = None,
    until: _Until = None,
    event: _Events = None,
    user: _User = None,
    study: _Study = None,
    patient: _Patient = None,
    failures: _Failures = False,
    data: DataOption = None,
) -> None:
    """Write the trail to standard output; that somebody read it is recorded too."""
    wanted = _wanted(since, until, event, user, study, patient, failures)
    with open_store(data) as store:
        Keeper(store.engine, store.settings).keep(everything=True)
        for line in _written(read(store.engine, wanted, operator()), form):
            sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _written(links: Iterator[Link], form: Form) -> Iterator[str]:
    if form is Form.JSON:
        for link in links:
            yield json.dumps(document(link), ensure_ascii=False)
        return
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield "<AuditMessages>"
    for link in links:
        yield link.message
    yield "</AuditMessages>"


@audit.command("anchor")
def print_anchor(data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Print the chain's end as ID:HASH, to be kept where whoever changes the trail does not come."""
    with open_store(data) as store:
        Keeper(store.engine, store.settings).keep(everything=True)
        head = head_of(store.engine)
    emit({"id": head.id, "hash": head.hash.hex(), "anchor": str(head)}, str(head), as_json=as_json)


@audit.command("prune")
def prune_trail(
    before: Annotated[datetime, typer.Option(help="Remove the rows before then (UTC).", formats=_DATES)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Remove the oldest rows for good; the rest still verifies, and who did it is recorded."""
    if not yes:
        typer.confirm(f"Remove the audit trail before {before:%Y-%m-%d %H:%M} for good?", abort=True)
    with open_store(data) as store:
        removed = prune(store.engine, before.replace(tzinfo=UTC), operator(), sent_to=store.settings.audit.collector)
        Keeper(store.engine, store.settings).keep(everything=True)
    emit({"removed": removed}, f"{removed} rows removed", as_json=as_json)


def _wanted(
    since: datetime | None,
    until: datetime | None,
    events: list[str] | None,
    user: str | None,
    study: str | None,
    patient: str | None,
    failures: bool,
) -> Wanted:
    for name in events or ():
        if name not in EVENTS:
            raise typer.BadParameter(f"there is no event {name!r}; there are {', '.join(sorted(EVENTS))}")
    return Wanted(
        since and since.replace(tzinfo=UTC),
        until and until.replace(tzinfo=UTC),
        tuple(events or ()),
        user,
        study,
        patient,
        failures,
    )
