"""Sections, parts and assertion in Chinese reports; all texts are made up."""

import pytest

from dicomsvc.reports.extract.assertion import asserted
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.values import Assertion


def sections(text: str) -> list[tuple[str, str]]:
    return [(section.kind, text[section.start : section.end].strip()) for section in Reading(text, "zh").sections]


@pytest.mark.parametrize(
    "heading",
    ["病理诊断：", "【病理诊断】", "［病理诊断］", "病理诊断:\n", "\n病理诊断\n", "石蜡诊断：", "直肠癌病理诊断："],
)
def test_a_diagnosis_begins_behind_its_heading(heading):
    assert sections(f"{heading}左肾肿瘤")[-1] == ("diagnosis", "左肾肿瘤")


@pytest.mark.parametrize("text", ["镜下见肿瘤细胞", "左肺切除标本：腺癌", "ESD标本：腺癌", "免疫组化支持腺癌"])
def test_words_of_headings_within_a_sentence_begin_no_section(text):
    assert [kind for kind, _ in sections(text)] == ["body"]


def test_what_follows_a_specimen_of_one_line_is_not_the_specimen():
    text = "病理诊断：\n标本类型：切除标本\n组织学类型：腺癌"
    assert sections(text) == [("diagnosis", ""), ("specimen", "切除标本"), ("diagnosis", "组织学类型：腺癌")]


def labels(text: str) -> list[str]:
    return [part.label for part in Reading(text, "zh").parts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.（左肾）癌。2.（输尿管断端）未见癌。", ["1", "2"]),
        ("①直肠腺癌。\n②“上切端”未见癌。", []),
        ("①（直肠）腺癌。\n②“上切端”未见癌。", ["①", "②"]),
        ("A.左乳癌。\nB.右乳腺病。", ["A", "B"]),
        ("1、肿瘤最大径3cm；\n2、未见肉瘤样变；", []),
        ("1. 左肾癌。\n2. 送检淋巴结未见癌。", ["1", "2"]),
    ],
)
def test_numbers_label_parts_where_specimens_are_named(text, expected):
    assert labels(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("未见明确脉管癌栓", Assertion.ABSENT),
        ("脉管癌栓（－）", Assertion.ABSENT),
        ("脉管癌栓：未见", Assertion.ABSENT),
        ("脉管癌栓未见，切缘可见癌", Assertion.ABSENT),
        ("切缘未见癌，脉管癌栓可见", Assertion.PRESENT),
        ("未见坏死，可见脉管癌栓", Assertion.PRESENT),
        ("脉管癌栓(+)，神经侵犯(-)", Assertion.PRESENT),
        ("脉管癌栓（灶+）", Assertion.PRESENT),
        ("脉管癌栓、神经侵犯，均未见", Assertion.ABSENT),
        ("未见坏死及脉管癌栓", Assertion.ABSENT),
        ("脉管癌栓不除外", Assertion.INDETERMINATE),
        ("可疑脉管癌栓", Assertion.INDETERMINATE),
        ("既往有脉管癌栓", Assertion.HISTORICAL),
    ],
)
def test_a_chinese_clause_decides_on_its_finding(text, expected):
    start = text.index("脉管癌栓")
    assert asserted(Reading(text, "zh"), start, start + 4).assertion is expected


def test_a_finding_that_cannot_be_judged_is_not_stated():
    text = "神经侵犯：无法评估"
    assert asserted(Reading(text, "zh"), 0, 4).assertion is None
