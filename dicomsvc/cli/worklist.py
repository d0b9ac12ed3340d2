"""``dicomsvc worklist``: what is scheduled to be scanned."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomsvc.cli.context import DataOption, open_store
from dicomsvc.cli.output import JsonFlag, emit
from dicomsvc.errors import BadRequest, DicomsvcError

if TYPE_CHECKING:
    from dicomsvc.pacs.worklist.entry import EntryContent
    from dicomsvc.pacs.worklist.repository import Entry
    from dicomsvc.store import Store

worklist = typer.Typer(help="The modality worklist: which slides are to be scanned, and whose.", no_args_is_help=True)
UidArgument = Annotated[str, typer.Argument(help="The entry's identifier")]
_WHO = "command line"
_LARGEST_FILE = 64 << 20


@worklist.command("list")
def list_entries(
    status: Annotated[str, typer.Option(help="scheduled, arrived, ready, started, completed, cancelled; or all")] = "",
    accession_number: Annotated[str | None, typer.Option("--accession")] = None,
    barcode: Annotated[str | None, typer.Option(help="Container identifier of the slide")] = None,
    patient_id: Annotated[str | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List entries by their start; without --status those that scanners see."""
    from dicomsvc.pacs.worklist.entry import Status
    from dicomsvc.pacs.worklist.repository import Filter
    from dicomsvc.pacs.worklist.service import Worklist

    try:
        chosen = frozenset([Status(status)]) if status not in ("", "all") else None
    except ValueError:
        raise typer.BadParameter(f"no such status; there are {', '.join(Status)}") from None
    wanted = Filter(
        statuses=frozenset(each for each in Status if each.open) if not status else chosen,
        accession_number=accession_number,
        container_identifier=barcode,
        patient_id=patient_id,
    )
    with open_store(data) as store:
        total, entries = Worklist(store, "command").listed(wanted, limit)
    lines = [_line(entry) for entry in entries]
    if total > len(entries):
        lines.append(f"and {total - len(entries)} more")
    emit([_document(entry) for entry in entries], "\n".join(lines) or "the worklist is empty", as_json=as_json)


@worklist.command()
def add(
    patient_id: Annotated[str, typer.Option(help="Patient ID")],
    patient_name: Annotated[str, typer.Option(help="Family^Given")] = "",
    accession_number: Annotated[str, typer.Option("--accession", help="Accession number of the case")] = "",
    barcode: Annotated[str, typer.Option(help="Container identifier of the slide")] = "",
    specimen: Annotated[str, typer.Option(help="Specimen identifier")] = "",
    placer_order_number: Annotated[str, typer.Option("--order", help="Placer order number")] = "",
    description: Annotated[str, typer.Option(help="What is requested")] = "",
    station: Annotated[list[str] | None, typer.Option(help="AE title of a scanner; several times for several")] = None,
    start: Annotated[datetime | None, typer.Option(help="When it is to begin; without, now")] = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Schedule the scan of a slide."""
    said = {
        "patient": {"id": patient_id, "name": patient_name},
        "accession_number": accession_number,
        "placer_order_number": placer_order_number,
        "procedure": {"description": description},
        "step": {"station_ae_titles": station or [], "start": start},
        "container": {"identifier": barcode},
        "specimens": [{"identifier": specimen}] if specimen else [],
    }
    content = _content(said)
    from dicomsvc.pacs.worklist.service import Worklist

    with open_store(data) as store:
        entry, is_new = Worklist(store, "command").create(content, _WHO)
    emit(_document(entry), f"{'added' if is_new else 'is there already'}: {_line(entry)}", as_json=as_json)


@worklist.command()
def show(uid: UidArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Show one entry."""
    from dicomsvc.pacs.worklist.service import Worklist

    with open_store(data) as store:
        entry = Worklist(store, "command").get(uid)
    document = _document(entry)
    emit(document, f"{_line(entry)}\n{json.dumps(document['entry'], ensure_ascii=False, indent=2)}", as_json=as_json)


@worklist.command()
def cancel(uid: UidArgument, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Take an entry off the worklist."""
    from dicomsvc.pacs.worklist.entry import Status
    from dicomsvc.pacs.worklist.service import Worklist

    with open_store(data) as store:
        entry = Worklist(store, "command").set_status(uid, Status.CANCELLED, _WHO)
    emit(_document(entry), _line(entry), as_json=as_json)


@worklist.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help=".json, .jsonl, or .hl7 with one message")],
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Schedule what a file says: entries as JSON (one, a list, or one a line), or an HL7 v2 order."""
    if file.stat().st_size > _LARGEST_FILE:
        raise BadRequest(f"{file} is larger than {_LARGEST_FILE >> 20} MB")
    with open_store(data) as store:
        results = list(_imported(file, store))
    lines = [f"{each['place']}: {each['result']}" for each in results]
    emit(results, "\n".join(lines) or "the file holds nothing", as_json=as_json)
    if any(not each["ok"] for each in results):
        raise typer.Exit(1)


def _imported(file: Path, store: "Store") -> Iterator[dict[str, Any]]:
    from dicomsvc.pacs.worklist.service import Worklist

    if file.suffix.lower() == ".hl7":
        yield _tried("message", partial(_take_message, file.read_bytes(), store))
        return
    entries = Worklist(store, "command")

    def create(said: object) -> str:
        entry, is_new = entries.create(_content(said), _WHO)
        return f"{'added' if is_new else 'is there already'}: {entry.uid}"

    for place, said in _documents(file):
        yield _tried(place, partial(create, said))


def _tried(place: str, work: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"place": place, "ok": True, "result": work()}
    except DicomsvcError as error:
        return {"place": place, "ok": False, "result": error.message}


def _take_message(content: bytes, store: "Store") -> str:
    from dicomsvc.hl7.message import parse_message
    from dicomsvc.pacs.worklist.messages import OrderMessages

    OrderMessages(store).take(parse_message(content, store.settings.hl7.default_charset))
    return "taken"


def _documents(file: Path) -> list[tuple[str, object]]:
    try:
        text = file.read_text("utf-8-sig")
        if file.suffix.lower() in (".jsonl", ".ndjson"):
            numbered = enumerate(text.splitlines(), 1)
            return [(f"line {number}", json.loads(line)) for number, line in numbered if line.strip()]
        loaded = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest(f"{file} is no JSON in UTF-8") from None
    said = loaded if isinstance(loaded, list) else [loaded]
    return [(f"entry {number}", each) for number, each in enumerate(said, 1)]


def _content(said: object) -> "EntryContent":
    from pydantic import ValidationError

    from dicomsvc.pacs.worklist.entry import EntryContent, problems

    try:
        return EntryContent.model_validate(said)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        raise BadRequest("; ".join(problems(list(found)))) from None


def _line(entry: "Entry") -> str:
    content = entry.content
    names = (content.accession_number or "-", content.container.identifier or "-", content.patient.id)
    return f"{entry.uid}  {entry.start:%Y-%m-%d %H:%M}  {entry.status:9s}  {'  '.join(names)}"


def _document(entry: "Entry") -> dict[str, Any]:
    from dicomsvc.pacs.worklist.routes import EntryAnswer

    return EntryAnswer.of(entry).model_dump(mode="json")
