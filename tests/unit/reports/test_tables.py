"""Structured reports as rows, CSV and Parquet."""

import csv
import io
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from dicomsvc.errors import BadRequest
from dicomsvc.reports.tables import (
    LONG_COLUMNS,
    csv_lines,
    long_rows,
    wide_columns,
    wide_rows,
    write_long_parquet,
    write_wide_parquet,
)
from dicomsvc.reports.values import FieldValue
from tests.unit.reports.exchange_case import CASE, REPORT, SIGNED, TEXT

REPORTS = ((CASE, REPORT), (replace(CASE, report_id="S26-2", sign_off=SIGNED), replace(REPORT, values=())))


def parsed(lines: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(lines))))  # type: ignore[arg-type]


def test_wide_table_has_a_row_a_report_and_empty_cells_for_what_is_not_stated() -> None:
    columns = wide_columns(["laterality", "lymphovascular_invasion"])
    first, second = parsed(csv_lines(wide_rows(REPORTS), columns))
    assert (first["laterality"], first["laterality.status"]) == ("left", "stated")
    assert (first["accession_number"], first["organs"], first["signed_off_by"]) == ("A-77", "kidney", "")
    assert (second["laterality"], second["laterality.status"]) == ("", "")
    assert second["signed_off_by"] == "Li^Si=李^四"


def test_case_goes_before_parts_and_several_values_stand_in_one_cell() -> None:
    values = (
        FieldValue("laterality", "bilateral"),
        FieldValue("laterality", "left", part="A"),
        FieldValue("lymphovascular_invasion", "absent", part="A"),
        FieldValue("lymphovascular_invasion", "present", part="B", qualifiers={"extent": "focal"}),
    )
    (row,) = wide_rows([(CASE, replace(REPORT, values=values))])
    assert row["laterality"] == "bilateral"
    assert row["lymphovascular_invasion"] == "absent (part=A); present (part=B, extent=focal)"


def test_unknown_field_is_refused() -> None:
    with pytest.raises(BadRequest, match="no field"):
        wide_columns(["shoe_size"])


def test_long_table_has_a_row_a_value_with_its_words() -> None:
    rows = parsed(csv_lines(long_rows(REPORTS), LONG_COLUMNS))
    assert len(rows) == len(REPORT.values)
    for row in rows:
        assert TEXT[int(row["start"]) : int(row["end"])] == row["evidence"]
    size = next(row for row in rows if row["field"] == "made_up_size")
    assert (size["number"], size["unit"]) == ("4.5", "cm")
    nodes = next(row for row in rows if row["field"] == "made_up_nodes")
    assert (nodes["part"], nodes["qualifiers"]) == ("B", '{"sentinel": false, "station": "hilar 肾门"}')


def test_spreadsheet_gets_no_formula() -> None:
    values = (FieldValue("laterality", "=HYPERLINK(1)"), FieldValue("made_up", -4))
    (row,) = parsed(csv_lines(wide_rows([(CASE, replace(REPORT, values=values))]), ["laterality", "made_up"]))
    assert row == {"laterality": "'=HYPERLINK(1)", "made_up": "-4"}


def test_parquet_holds_the_long_table_typed() -> None:
    out = io.BytesIO()
    write_long_parquet(long_rows(REPORTS), out)
    table = pq.read_table(io.BytesIO(out.getvalue()))
    assert tuple(table.column_names) == LONG_COLUMNS
    rows = table.to_pylist()
    assert [row["evidence"] for row in rows] == [
        TEXT[value.evidence[0].start : value.evidence[0].end] for value in REPORT.values
    ]
    assert rows[2]["number"] == 4.5


def test_parquet_holds_the_wide_table_with_numbers_as_numbers() -> None:
    out = io.BytesIO()
    columns = ["report_id", "laterality", "made_up_size", "lymphovascular_invasion"]
    write_wide_parquet(wide_rows(REPORTS), columns, out)
    table = pq.read_table(io.BytesIO(out.getvalue()))
    assert table.to_pylist() == [
        {"report_id": "S26-1", "laterality": "left", "made_up_size": 4.5, "lymphovascular_invasion": "absent"},
        {"report_id": "S26-2", "laterality": None, "made_up_size": None, "lymphovascular_invasion": None},
    ]


def test_no_reports_make_an_empty_table() -> None:
    out = io.BytesIO()
    write_long_parquet(long_rows([]), out)
    assert pq.read_table(io.BytesIO(out.getvalue())).num_rows == 0
    assert parsed(csv_lines(wide_rows([]), wide_columns([]))) == []
