"""Which of several values holds."""

from dataclasses import replace

import pytest

from dicomsvc.reports.reading import Reading
from dicomsvc.reports.resolve import resolve
from dicomsvc.reports.schema import Field
from dicomsvc.reports.values import Evidence, FieldValue, Status

TEXT = "CLINICAL HISTORY: grade 3. FINAL DIAGNOSIS: A. Left: grade 1. B. Right: grade 2. GROSS DESCRIPTION: grade 4."
READING = Reading(TEXT, "en")
FIELD = Field(id="grade", kind="choice", title={"en": "Grade", "zh": "分级"})


def value(word: str, *, part: str | None = None, confidence: float = 0.9) -> FieldValue:
    start = TEXT.index(f"grade {word}")
    return FieldValue("grade", word, evidence=(Evidence(start, start + 7),), part=part, confidence=confidence)


def test_the_diagnosis_goes_before_what_other_sections_say() -> None:
    (case,) = resolve(READING, FIELD, [value("3"), value("4"), value("1", part="A")])
    assert (case.value, case.status, case.part) == ("1", Status.STATED, None)


def test_parts_that_differ_are_told_apart_and_do_not_contradict_each_other() -> None:
    found = list(resolve(READING, FIELD, [value("1", part="A"), value("2", part="B")]))
    assert [(entry.value, entry.part) for entry in found[1:]] == [("1", "A"), ("2", "B")]
    assert found[0].part is None and found[0].status is Status.STATED


def test_two_values_of_equal_weight_for_one_part_are_a_conflict() -> None:
    (case,) = resolve(READING, FIELD, [value("1"), value("2")])
    assert case.status is Status.CONFLICT


@pytest.mark.parametrize(("prefer", "chosen"), [("largest", "2"), ("first", "1"), ("last", "2")])
def test_the_table_says_which_of_equal_values_stands(prefer: str, chosen: str) -> None:
    field = replace(FIELD, settings={"prefer": prefer})
    assert next(iter(resolve(READING, field, [value("1"), value("2")]))).value == chosen


def test_a_field_of_many_values_keeps_each_once() -> None:
    field = replace(FIELD, settings={"many": True})
    assert [entry.value for entry in resolve(READING, field, [value("1"), value("1"), value("2")])] == ["1", "2"]


def test_nothing_found_is_nothing_said() -> None:
    assert list(resolve(READING, FIELD, [])) == []


def test_the_side_of_the_tumour_goes_before_the_side_that_is_named_more_often() -> None:
    text = "Left breast: fibrocystic change, no carcinoma. Left breast skin: benign. Right breast: invasive carcinoma."
    reading = Reading(text, "en")
    field = Field(id="side", kind="choice", title={"en": "Side", "zh": "侧别"}, settings={"prefer": "tumour"})
    starts = (("left", 0), ("left", text.index("Left breast skin")), ("right", text.index("Right")))
    sides = [FieldValue("side", word, evidence=(Evidence(start, start + len(word)),)) for word, start in starts]
    assert next(resolve(reading, field, sides)).value == "right"
