"""``dicomsvc reports import``, ``list``, ``get`` and ``export``: the reports that are kept."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
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
    with open_store(data) as store, progress_bar("importing") as report:
        importing = _Importing(Intake(store), sender)
        for number, (file, name) in enumerate(found, 1):
            importing.take(file, name)
            report(number, len(found))
    counts = {answer.value: importing.counts[answer] for answer in Answer}
    lines = [f"{count} {answer}" for answer, count in counts.items()]
    lines += [f"{each['file']}: {each['error']}" for each in importing.problems]
    emit({**counts, "problems": importing.problems}, "\n".join(lines), as_json=as_json)
    if importing.problems:
        raise typer.Exit(1)


@dataclass(slots=True)
class _Importing:
    """One import: what became of the reports so far."""

    intake: Intake
    sender: str
    counts: "Counter[str]" = field(default_factory=Counter)
    problems: list[dict[str, str]] = field(default_factory=list)

    def take(self, file: Path, name: str) -> None:
        for place, read in read_file(file, name):
            if isinstance(read, DicomsvcError):
                self._refuse(f"{file}{place}", read.message)
                continue
            receipt = self.intake.receive(replace(read, sender=self.sender or read.sender), WHO)
            if receipt.outcome.answer is Answer.REJECTED:
                self._refuse(f"{file}{place}", receipt.outcome.reason)
            else:
                self.counts[receipt.outcome.answer] += 1

    def _refuse(self, place: str, error: str) -> None:
        self.counts[Answer.REJECTED] += 1
        self.problems.append({"file": place, "error": error})


def _files(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each file with its name: in a folder its path there, since many folders may have a ``report.txt``."""
    for path in paths:
        if path.is_dir():
            for each in sorted(each for each in path.rglob("*") if each.suffix.lower() in KINDS and each.is_file()):
                yield each, each.relative_to(path).with_suffix("").as_posix()
        else:
            yield path, path.stem


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
