"""Structured reports and the table of fields as people read them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicomsvc.cli import app
from dicomsvc.reports.field_table import as_markdown
from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.rendering import rendered
from dicomsvc.reports.schema import fields

TEXT = "左肾透明细胞性肾细胞癌，WHO/ISUP 2级，大小4.5×3.2×3.0cm，脉管内未见癌栓，切缘阴性，淋巴结0/5，CK7(-)。"
PAGE = Path(__file__).parents[3] / "docs" / "reports-fields.md"


def test_the_page_of_fields_is_what_the_tables_say():
    """``dicomsvc reports fields --markdown > docs/reports-fields.md`` makes it anew."""
    assert PAGE.read_text(encoding="utf-8") == as_markdown()


def test_every_field_stands_on_the_page_once():
    page = as_markdown()
    assert all(page.count(f"\n| `{identifier}` |") == 1 for identifier in fields())


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["Structured pathology report", "Laterality: Left", "Lymphovascular invasion: Absent", "45"]),
        ("zh", ["结构化病理报告", "侧别：左侧", "脉管侵犯：无", "45"]),
    ],
)
def test_a_report_is_shown_in_the_reader_s_language(language, words):
    shown = rendered(structure(TEXT), language)
    assert all(word in shown for word in words)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_value_is_shown_with_its_words(language):
    report = structure(TEXT)
    shown = rendered(report, language)
    for value in report.values:
        assert value.qualifiers.get("marker", fields()[value.field].title[language]) in shown
        assert all(f"[{place.start}:{place.end}]" in shown for place in value.evidence)


def test_markers_types_and_derived_values_have_words_in_the_reader_s_language():
    shown = rendered(structure("（左乳）浸润性导管癌，大小2.5×2.0cm。ER(90%，强+)，CK5/6(-)。"), "zh")
    assert "CK5/6：阴性" in shown
    assert "组织学亚型：浸润性癌" in shown
    assert "强度 强" in shown
    assert "pT分期：T2（推导；规则 pt_from_size/" in shown


def test_an_unread_report_shows_why():
    assert "Not structured: " in rendered(structure("+++"), "en")
    assert "未结构化：" in rendered(structure("+++"), "zh")


def test_the_commands_print_them(tmp_path):
    file = tmp_path / "report.txt"
    file.write_text(TEXT, encoding="utf-8")
    run = CliRunner().invoke
    assert "侧别：左侧" in run(app, ["reports", "show", str(file), "--language", "zh"]).stdout
    assert json.loads(run(app, ["reports", "show", str(file), "--json"]).stdout)["values"]
    assert run(app, ["reports", "fields", "--markdown"]).stdout == as_markdown()
    listed = json.loads(run(app, ["reports", "fields", "--json"]).stdout)
    assert {entry["id"] for entry in listed} == set(fields())
