"""Chinese reports, all of them made for this test (synthetic): 90 in the styles of hospitals, with traps.

Two thirds were read while rules were written; the rest were written before and only scored. A cell is a field that a
report states or in which something was found; reports state far fewer fields than they are searched for.
"""

from pathlib import Path

import pytest

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.schema import fields
from dicomsvc.reports.values import Status
from tests.accuracy.report_scoring import Cell, MadeReport, read_reports, score, share_right

FOLDER = Path(__file__).with_name("reports_zh")


@pytest.fixture(scope="module")
def reports() -> list[MadeReport]:
    return read_reports(FOLDER)


@pytest.fixture(scope="module")
def cells(reports: list[MadeReport]) -> list[Cell]:
    return score(reports)


def test_the_reports_are_many_of_many_organs_and_a_third_is_only_scored(reports):
    assert len(reports) >= 90
    assert len({report.organ for report in reports}) == 9
    assert sum(report.check for report in reports) * 3 >= len(reports)
    assert len({report.text for report in reports}) == len(reports)


def test_every_expected_field_is_in_the_tables(reports):
    expected = {name.partition(".")[0] for report in reports for name in report.fields}
    assert expected <= set(fields())


def test_fields_of_made_chinese_reports_are_right(cells, reports):
    checked = {report.id for report in reports if report.check}
    read, unread = ([cell for cell in cells if (cell.report in checked) is part] for part in (False, True))
    wrong = [f"{cell.report} {cell.field}: {cell.stated} not {cell.found}" for cell in read if not cell.right]
    assert share_right(cells) >= 0.97, wrong
    assert share_right(read) >= 0.97, wrong
    assert share_right(unread) >= 0.95


def test_hardly_anything_is_found_that_a_report_does_not_say(cells):
    made_up = sum(cell.stated is None and cell.found is not None for cell in cells)
    assert made_up <= 0.005 * len(cells)


def test_every_value_of_a_chinese_report_shows_where_it_stands(reports):
    for report in reports:
        for value in structure(report.text).values:
            assert value.evidence or value.status is Status.NOT_STATED, (report.id, value.field)
            for place in value.evidence:
                quote = report.text[place.start : place.end]
                assert quote and quote == quote.strip(), (report.id, value.field)


def test_no_field_of_another_organ_is_read(reports):
    for report in reports:
        if report.organ in ("breast", "prostate", "skin"):
            found = {value.field for value in structure(report.text).values}
            others = {name for name, field in fields().items() if field.organs and report.organ not in field.organs}
            assert not found & others, report.id
