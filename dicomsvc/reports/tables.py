"""Structured reports as tables, CSV and Parquet: one row a report, or one row a value.

The wide table holds the value for the case as a whole and its status, for each field; several values of one field
(margins, stations) stand in one cell. The long table holds everything: parts, codes, evidence, rules.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Any, Final

from dicomsvc.errors import BadRequest
from dicomsvc.reports.case import ReportCase
from dicomsvc.reports.schema import fields
from dicomsvc.reports.values import FieldValue, StructuredReport

Cell = str | float | int | None
Row = dict[str, Cell]
Structured = tuple[ReportCase, StructuredReport]

CASE_COLUMNS: Final = (
    "report_id", "accession_number", "patient_id", "study_instance_uid", "report_status", "signed_off_by",
    "signed_off_at", "language", "quality", "organs", "version",
)  # fmt: skip
LONG_COLUMNS: Final = (
    "report_id", "accession_number", "field", "title", "part", "value", "number", "unit", "code_system", "code",
    "status", "assertion", "start", "end", "evidence", "confidence", "rule", "qualifiers",
)  # fmt: skip
_NUMBERS: Final = ("number", "confidence")
_COUNTS: Final = ("start", "end")
_BATCH: Final = 5000
# A spreadsheet takes text that begins so for a formula, and may run it (OWASP, CSV injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def wide_columns(chosen: Sequence[str] | None = None) -> list[str]:
    """Return the wide table's columns, for the ``chosen`` fields or for all.

    Raises
    ------
    BadRequest
        When a chosen field is none.
    """
    known = fields()
    if unknown := [name for name in chosen or () if name not in known]:
        raise BadRequest(f"no field is called {unknown[0][:80]!r}")
    names = known if chosen is None else chosen
    return [*CASE_COLUMNS, *(column for name in names for column in (name, f"{name}.status"))]


def wide_rows(reports: Iterable[Structured]) -> Iterator[Row]:
    """Yield one row a report; fields that it does not state are missing in it."""
    for case, report in reports:
        row = _of_case(case, report)
        for name, values in _by_field(report.values).items():
            of_case = [value for value in values if value.part is None] or values
            row[name] = of_case[0].value if len(of_case) == 1 else "; ".join(map(_listed, of_case))
            row[f"{name}.status"] = of_case[0].status.value
        yield row


def long_rows(reports: Iterable[Structured]) -> Iterator[Row]:
    """Yield one row a value, with its first place of evidence."""
    known = fields()
    for case, report in reports:
        for value in report.values:
            place = value.evidence[0] if value.evidence else None
            numeric = isinstance(value.value, int | float) and not isinstance(value.value, bool)
            yield {
                "report_id": case.report_id,
                "accession_number": case.accession_number,
                "field": value.field,
                "title": known[value.field].title["en"] if value.field in known else value.field,
                "part": value.part,
                "value": None if value.value is None else str(value.value),
                "number": value.value if numeric else None,
                "unit": value.unit,
                "code_system": value.code.system if value.code else None,
                "code": value.code.code if value.code else None,
                "status": value.status.value,
                "assertion": value.assertion.value,
                "start": place.start if place else None,
                "end": place.end if place else None,
                "evidence": report.text[place.start : place.end] if place else None,
                "confidence": value.confidence,
                "rule": value.rule,
                "qualifiers": _qualifiers(value),
            }


def csv_lines(rows: Iterable[Row], columns: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a CSV file (RFC 4180), the heading first.

    Text that a spreadsheet would take for a formula gets an apostrophe before it; Parquet has it as it is.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")

    def line(cells: Iterable[Cell]) -> str:
        writer.writerow(cells)
        text = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return text

    yield line(columns)
    for row in rows:
        yield line(_safe(row.get(column)) for column in columns)


def write_long_parquet(rows: Iterable[Row], out: IO[bytes]) -> None:
    """Write rows of `long_rows`, a batch in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(column, _long_type(pa, column)) for column in LONG_COLUMNS])
    waiting = iter(rows)
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        while batch := list(islice(waiting, _BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def write_wide_parquet(rows: Iterable[Row], columns: Sequence[str], out: IO[bytes]) -> None:
    """Write rows of `wide_rows`; a column is of numbers when all its values are, else of text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    held = list(rows)
    arrays = {column: _array(pa, [row.get(column) for row in held]) for column in columns}
    pq.write_table(pa.table(arrays), out, compression="zstd")


def _array(pa: Any, cells: list[Cell]) -> Any:
    said = [cell for cell in cells if cell is not None]
    if said and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in said):
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())


def _long_type(pa: Any, column: str) -> Any:
    if column in _NUMBERS:
        return pa.float64()
    return pa.int64() if column in _COUNTS else pa.string()


def _of_case(case: ReportCase, report: StructuredReport) -> Row:
    return {
        "report_id": case.report_id,
        "accession_number": case.accession_number,
        "patient_id": case.patient_id,
        "study_instance_uid": case.study_instance_uid,
        "report_status": case.status.value,
        "signed_off_by": case.sign_off.person_name if case.sign_off else None,
        "signed_off_at": case.sign_off.when.isoformat() if case.sign_off else None,
        "language": report.quality.language,
        "quality": report.quality.score,
        "organs": " ".join(report.organs),
        "version": report.version,
    }


def _by_field(values: Iterable[FieldValue]) -> Mapping[str, list[FieldValue]]:
    found: dict[str, list[FieldValue]] = {}
    for value in values:
        found.setdefault(value.field, []).append(value)
    return found


def _listed(value: FieldValue) -> str:
    """Return one of several values, with what tells it from the others."""
    details = [f"{key}={detail}" for key, detail in sorted(value.qualifiers.items())]
    if value.part is not None:
        details.insert(0, f"part={value.part}")
    return f"{value.value} ({', '.join(details)})" if details else str(value.value)


def _qualifiers(value: FieldValue) -> str | None:
    return json.dumps(value.qualifiers, ensure_ascii=False, sort_keys=True) if value.qualifiers else None


def _safe(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
