"""``dicomsvc reports import``, ``list``, ``get`` and ``export``: the reports that are kept."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dicomsvc.cli.context import DataOption, open_store
from dicomsvc.cli.output import JsonFlag, emit, progress_bar
from dicomsvc.errors import BadRequest, DicomsvcError
from dicomsvc.reports.exports import Export, Format, Shape, in_pieces
from dicomsvc.reports.intake.files import KINDS, read_file
from dicomsvc.reports.intake.received import Answer
from dicomsvc.reports.intake.receiving import Intake
from dicomsvc.reports.intake.structuring import require_languages
from dicomsvc.reports.repository.filters import parse_filter
from dicomsvc.reports.repository.search import Hit, ReportQuery, search
from dicomsvc.reports.repository.whole import whole_report
from dicomsvc.store import Store

WHO = "command line"
WhereOption = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="FIELD=FILTER", help="er=positive, tumor_size_mm=>20, grade=2,3; repeat it"),
]
WordsOption = Annotated[str, typer.Option("--words", help="Words in the text")]
ColumnsOption = Annotated[str, typer.Option("--columns", help="Fields, with commas between")]


def import_reports(
    files: Annotated[
        list[Path], typer.Argument(metavar="PATH...", exists=True, help=f"Files ({', '.join(KINDS)}) or folders.")
    ],
    sender: Annotated[str, typer.Option(help="Who sent them: versions of a report share sender and identifier.")] = "",
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Bring reports in: each is kept, structured, and linked to the study with its accession number."""
    require_languages()
    found = list(_files(files))
    counts: Counter[str] = Counter()
    problems: list[dict[str, str]] = []
    with open_store(data) as store, progress_bar("importing") as report:
        intake = Intake(store)
        for number, file in enumerate(found, 1):
            _import(intake, file, sender, counts, problems)
            report(number, len(found))
    lines = [f"{counts[answer]} {answer}" for answer in Answer]
    lines += [f"{each['file']}: {each['error']}" for each in problems]
    emit({**{answer: counts[answer] for answer in Answer}, "problems": problems}, "\n".join(lines), as_json=as_json)
    if problems:
        raise typer.Exit(1)


def _import(intake: Intake, file: Path, sender: str, counts: "Counter[str]", problems: list[dict[str, str]]) -> None:
    def tell(place: str, error: str) -> None:
        counts[Answer.REJECTED] += 1
        problems.append({"file": f"{file}{place}", "error": error})

    for place, read in read_file(file):
        if isinstance(read, DicomsvcError):
            tell(place, read.message)
            continue
        receipt = intake.receive(replace(read, sender=sender or read.sender), WHO)
        if receipt.outcome.answer is Answer.REJECTED:
            tell(place, receipt.outcome.reason)
        else:
            counts[receipt.outcome.answer] += 1


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file() and each.suffix.lower() in KINDS)
        else:
            yield path


def list_reports(
    where: WhereOption = None,
    words: WordsOption = "",
    columns: ColumnsOption = "",
    held: Annotated[bool, typer.Option("--held", help="Only reports without a study.")] = False,
    sort: Annotated[str, typer.Option(help="-received, accession_number, field.tumor_size_mm, …")] = "-received",
    limit: Annotated[int, typer.Option(min=1)] = 50,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List kept reports, latest first, with the fields that are asked for."""
    names = [name.strip() for name in columns.split(",") if name.strip()]
    query = replace(_query(where, words), held=held or None, sort=sort)
    with open_store(data) as store, store.engine.connect() as connection:
        total, hits = search(connection, query, names, limit, 0)
    text = "\n".join(_described(hit, names) for hit in hits) or "no reports"
    emit({"total": total, "reports": [_document(hit) for hit in hits]}, text, as_json=as_json)


def get_report(
    uid: Annotated[str, typer.Argument(help="UID of a kept report")], data: DataOption = None, as_json: JsonFlag = False
) -> None:
    """Show a kept report: its values, each with the words that say so, and what people said of them."""
    with open_store(data) as store, store.engine.connect() as connection:
        whole = whole_report(connection, uid)
    lines = [f"{name}  {value}" for name, value in asdict(whole.record).items() if value not in (None, "")]
    lines.append("")
    for value in whole.values:
        said = [whole.text[place["start"] : place["end"]] for place in value.holds["evidence"]]
        part = f" ({value.holds['part']})" if value.holds["part"] else ""
        words = f"  « {' … '.join(said)} »" if said else ""
        lines.append(f"{value.ordinal:3d} {value.field}{part}: {value.holds['value']}  [{value.review}]{words}")
    emit(asdict(whole), "\n".join(lines), as_json=as_json)


def export_reports(
    out: Annotated[Path | None, typer.Option("--out", help="The file; without, standard output.")] = None,
    kind: Annotated[Format, typer.Option("--format", help="What the file is.")] = Format.CSV,
    shape: Annotated[Shape, typer.Option(help="CSV and Parquet: a row a report, or a row a value.")] = Shape.WIDE,
    where: WhereOption = None,
    words: WordsOption = "",
    columns: ColumnsOption = "",
    data: DataOption = None,
) -> None:
    """Write all reports that fit, as they hold after review: CSV, Parquet, JSON Lines, FHIR, or training data."""
    require_languages()
    if kind is Format.PARQUET and out is None:
        raise BadRequest("a Parquet file needs --out")
    chosen = [name.strip() for name in columns.split(",") if name.strip()] or None
    with open_store(data) as store:
        _export(store, Export(store.engine, _query(where, words)), out, kind, shape, chosen)


def _export(
    store: Store, export: Export, out: Path | None, kind: Format, shape: Shape, columns: list[str] | None
) -> None:
    if out is None:
        for piece in in_pieces(export.lines(kind, shape, columns)):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    with out.open("wb") as file:
        if kind is Format.PARQUET:
            export.write_parquet(file, shape, columns)
        else:
            for piece in in_pieces(export.lines(kind, shape, columns)):
                file.write(piece)


def _query(where: list[str] | None, words: str) -> ReportQuery:
    from dicomsvc.reports.schema import fields

    said = [condition.partition("=") for condition in where or ()]
    if any(name not in fields() for name, _, _ in said):
        raise BadRequest("there is no field of such a name; `dicomsvc reports fields` lists them")
    return ReportQuery(words=words, fields=tuple(parse_filter(name, value) for name, _, value in said))


def _described(hit: Hit, columns: list[str]) -> str:
    record = hit.record
    cells = [
        f"{value.field}={value.holds['value']}" + (f"({value.holds['part']})" if value.holds["part"] else "")
        for value in hit.values
        if value.field in columns and value.review != "removed"
    ]
    link = f"held: {record.held}" if record.held else record.study_instance_uid
    names = [record.uid, record.report_id or "-", record.accession_number or "-", record.state, record.review]
    return "  ".join([*names, link or "", *cells])


def _document(hit: Hit) -> dict[str, Any]:
    return {**asdict(hit.record), "values": [dict(value.holds) for value in hit.values]}
