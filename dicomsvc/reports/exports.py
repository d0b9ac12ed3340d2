"""Reports going out: many as CSV, Parquet, JSON Lines, FHIR or training data; one as a FHIR bundle or a DICOM SR."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import IO, Any, Final

from sqlalchemy import Engine, select

from dicomsvc.reports.case import ReportCase, SignOff
from dicomsvc.reports.document import as_document
from dicomsvc.reports.intake.received import ReportStatus
from dicomsvc.reports.repository.records import Review
from dicomsvc.reports.repository.search import ReportQuery, find_uids
from dicomsvc.reports.repository.tables import report, report_review
from dicomsvc.reports.repository.whole import HeldReport, held_reports
from dicomsvc.store.database import database_errors


class Format(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    PARQUET = "parquet"
    JSONL = "jsonl"
    """The master form, a report a line, with its text."""
    FHIR = "fhir"
    """A FHIR R4 bundle a line (NDJSON)."""
    CORRECTIONS = "corrections"
    """Reviewed reports with their text, the values that hold and what was corrected: training data."""


class Shape(StrEnum):
    """Of CSV and Parquet: a row a report, or a row a value."""

    WIDE = "wide"
    LONG = "long"


MEDIA_TYPES: Final = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.JSONL: "application/x-ndjson",
    Format.FHIR: "application/fhir+ndjson",
    Format.CORRECTIONS: "application/x-ndjson",
}


def case_of(held: HeldReport, patient_name: str = "") -> ReportCase:
    """Return the facts of a report as the writers of all formats take them."""
    record = held.record
    sign_off = None
    if record.review == Review.SIGNED and record.signed_at is not None:
        sign_off = SignOff(record.signed_name or "", record.signed_organisation or "", record.signed_at)
    return ReportCase(
        report_id=record.report_id or record.uid,
        structured=record.updated,
        accession_number=record.accession_number,
        placer_order_number=record.placer_order_number,
        patient_id=record.patient_id,
        issuer_of_patient_id=record.issuer_of_patient_id,
        patient_name=patient_name,
        study_instance_uid=record.study_instance_uid,
        status=ReportStatus(record.status),
        reported=_zoned(record.observed),
        sign_off=sign_off,
    )


def _zoned(observed: str | None) -> datetime | None:
    if observed is None:
        return None
    moment = datetime.fromisoformat(observed)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class Export:
    """The reports that fit a query, read some hundred at a time."""

    def __init__(self, engine: Engine, query: ReportQuery) -> None:
        self._engine = engine
        self._query = query

    def lines(self, kind: Format, shape: Shape, columns: Sequence[str] | None) -> Iterator[str]:
        """Yield the file's text, all formats but Parquet."""
        match kind:
            case Format.CSV:
                yield from self._csv(shape, columns)
            case Format.FHIR:
                from dicomsvc.reports.fhir import fhir_bundle

                for held in self.reports():
                    yield _line(fhir_bundle(held.structured, case_of(held)))
            case Format.CORRECTIONS:
                for held in self.reports():
                    if held.record.review != Review.OPEN:
                        yield _line({**_document(held), "corrections": self._corrections(held.record.uid)})
            case _:
                for held in self.reports():
                    yield _line(_document(held))

    def write_parquet(self, out: IO[bytes], shape: Shape, columns: Sequence[str] | None) -> None:
        """Write a Parquet file."""
        from dicomsvc.reports.tables import long_rows, wide_columns, wide_rows, write_long_parquet, write_wide_parquet

        cases = ((case_of(held), held.structured) for held in self.reports())
        if shape is Shape.LONG:
            write_long_parquet(long_rows(cases), out)
        else:
            write_wide_parquet(wide_rows(cases), wide_columns(columns), out)

    def _csv(self, shape: Shape, columns: Sequence[str] | None) -> Iterator[str]:
        from dicomsvc.reports.tables import LONG_COLUMNS, csv_lines, long_rows, wide_columns, wide_rows

        cases = ((case_of(held), held.structured) for held in self.reports())
        if shape is Shape.LONG:
            yield from csv_lines(long_rows(cases), LONG_COLUMNS)
        else:
            yield from csv_lines(wide_rows(cases), wide_columns(columns))

    def reports(self) -> Iterator[HeldReport]:
        """Yield the reports that were read, as they hold."""
        with database_errors(), self._engine.connect() as connection:
            pages = list(find_uids(connection, self._query))
        for page in pages:
            with database_errors(), self._engine.connect() as connection:
                found = list(held_reports(connection, page))
            yield from found

    def _corrections(self, uid: str) -> list[dict[str, Any]]:
        c = report_review.c
        statement = select(report_review).join(report, c.report == report.c.id).where(report.c.uid == uid)
        statement = statement.where(c.version == report.c.version).order_by(c.id)
        names = ("who", "action", "ordinal", "field", "old", "new", "comment")
        with database_errors(), self._engine.connect() as connection:
            return [
                {"at": row.at.isoformat(), **{name: getattr(row, name) for name in names}}
                for row in connection.execute(statement)
            ]


def _document(held: HeldReport) -> dict[str, Any]:
    record = asdict(held.record)
    record["text"] = held.structured.text
    return {**record, **as_document(held.structured), "report_version": held.record.version}


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, default=_plain) + "\n"


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def in_pieces(lines: Iterator[str], size: int = 1 << 16) -> Iterator[bytes]:
    """Yield text in UTF-8 in pieces that are worth sending."""
    buffer = io.BytesIO()
    for line in lines:
        buffer.write(line.encode("utf-8", "replace"))
        if buffer.tell() >= size:
            yield buffer.getvalue()
            buffer = io.BytesIO()
    yield buffer.getvalue()
