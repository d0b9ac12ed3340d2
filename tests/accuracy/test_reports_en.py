"""English reports, all made for this test (synthetic), in the styles of CAP synoptics, British prose and others.

They were written by somebody who wrote none of the rules, before any output was seen; at first 96 % of their fields
were right. Since then they have been read, and hold what was mended.
"""

from pathlib import Path

import pytest

from tests.accuracy.report_scoring import Cell, MadeReport, read_reports, score, share_right

FOLDER = Path(__file__).with_name("reports_en")


@pytest.fixture(scope="module")
def reports() -> list[MadeReport]:
    return read_reports(FOLDER)


@pytest.fixture(scope="module")
def cells(reports: list[MadeReport]) -> list[Cell]:
    return score(reports)


def test_fields_of_made_english_reports_are_right(cells):
    wrong = [f"{cell.report} {cell.field}: {cell.stated} not {cell.found}" for cell in cells if not cell.right]
    assert share_right(cells) >= 0.97, wrong


def test_nothing_is_found_that_a_report_does_not_say(cells):
    assert [cell for cell in cells if cell.stated is None and cell.found is not None] == []
