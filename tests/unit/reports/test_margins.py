"""Resection margins."""

import pytest

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.values import FieldValue

HEAD = "FINAL DIAGNOSIS: Colon, segmental resection: Invasive adenocarcinoma. "


def values(text: str, field: str) -> list[FieldValue]:
    return [value for value in structure(text).values if value.field == field]


def involved(text: str) -> str | None:
    case = [value for value in values(text, "margin_involved") if value.part is None]
    return str(case[0].value) if case else None


@pytest.mark.parametrize(
    "text",
    [
        "Margins are free of tumor.",
        "All margins are negative for carcinoma.",
        "Surgical margins: Uninvolved by invasive carcinoma.",
        "Resection margins uninvolved.",
        "Negative margins of excision.",
        "Margins widely free.",
        "SURGICAL MARGINS. FREE OF. TUMOR.",
        "Margins of resection and omentum are free of tumor.",
        "No tumor is seen at the inked margins.",
        "Tumor does not involve the resection margin.",
        "The tumor is clear of the distal margin.",
        "Tumor-free oral and aboral resection margins.",
        "No involvement of the surgical margins by carcinoma is identified.",
        "Resection margin involved: No.",
        "Margin involvement: Absent",
        "Margins: Proximal: negative; distal: negative; radial: 3 mm.",
        "Anastomotic rings free of tumor.",
        "Tumor comes close to, but does not reach, the radial margin: not involved.",
        "Margins: R0.",
        "pT3, pN0, MX, L1, V0, R0.",
        "The tumor was completely removed.",
        "Surgical resection margin invasion: no.",
        "Tumor present at margin: No.",
        "Invasive carcinoma at margin(s): not identified.",
        "Margin(s) involved: none.",
        "Margins: the tumor extends to 0.7 cm from the resection margin.",
        "CRM: 5 mm.",
        "Staple line free of tumor.",
        "Proximal donut: no tumor present.",
        "No ink on tumor.",
        "No carcinoma on ink.",
        "Completeness of excision: complete.",
        "Both boundaries are free of neoplastic lesions.",
    ],
)
def test_free_margins_are_not_involved(text):
    assert involved(HEAD + text) == "absent"


@pytest.mark.parametrize(
    "text",
    [
        "Deep margin: Positive.",
        "Tumor extends to the inked deep margin.",
        "Carcinoma is present at the left posterior apical margin.",
        "Carcinoma focally involves the radial margin.",
        "Margins: Involved by invasive carcinoma (radial).",
        "Resection margin involved: Yes (adventitia).",
        "Positive radial margin; other margins are negative.",
        "Surgical margin involvement: Positive.",
        "CRM positive (<1 mm).",
        "Carcinoma is present on ink.",
        "Tumor transects the deep margin.",
        "Tumor extends to the edge of the specimen.",
        "Radial margin: 0 mm.",
        "Tumor at margins.",
        "Classification: pT4, pN2, G3, L1, V1, R1.",
        "Margins: Proximal: negative; distal: negative; radial: involved.",
    ],
)
def test_tumour_at_any_margin_involves(text):
    assert involved(HEAD + text) == "present"


@pytest.mark.parametrize(
    "text",
    [
        "Margins: Not specified.",
        "Margins: Cannot be assessed. Vascular invasion: Not identified.",
        "Margins: See comment.",
        "The tumor has pushing margins.",
        "Surgical margins involved by invasive component: Percent of tumor in situ: 5 %.",
        "Circumferential margin involved by dysplasia.",
        "The tumor extends to within the rib margin.",
    ],
)
def test_a_margin_of_which_nothing_is_said_is_not_stated(text):
    assert involved(HEAD + text) is None


def test_a_distance_implies_a_clear_margin_and_says_by_which_rule():
    (value,) = values(HEAD + "Tumor is 2.5 mm from the superior margin.", "margin_involved")
    assert (value.value, value.status, value.rule) == ("absent", "derived", "margin_clear_by_distance/1")


def test_the_naked_eye_does_not_clear_a_margin():
    text = "FINAL DIAGNOSIS: Adenocarcinoma. GROSS DESCRIPTION: The mass is 2 cm from the distal margin."
    assert involved(text) is None
    (margin,) = values(text, "margin")
    assert (margin.status, margin.qualifiers["distance_mm"]) == ("derived", 20.0)


def test_each_named_margin_has_its_state_and_distance():
    text = HEAD + "Proximal margin: Negative, 4.5 cm. Distal margin: Involved by carcinoma. Radial margin: <1 mm, free."
    found = {value.qualifiers["margin"]: value for value in values(text, "margin")}
    assert {name: value.value for name, value in found.items()} == {
        "proximal": "uninvolved",
        "distal": "involved",
        "circumferential": "uninvolved",
    }
    assert found["proximal"].qualifiers["distance_mm"] == 45.0
    assert found["circumferential"].qualifiers["distance_bound"] == "<"
    assert "distance_mm" not in found["distal"].qualifiers


def test_in_situ_at_a_margin_counts_unless_the_invasive_tumour_is_told_apart():
    in_situ = HEAD + "Ductal carcinoma in situ is present at the lateral margin."
    assert involved(in_situ) == "present"
    assert involved(in_situ + " Margins uninvolved by invasive carcinoma.") == "absent"


def test_one_involved_margin_against_all_margins_free_is_a_conflict():
    text = HEAD + "Proximal margin: Involved by carcinoma. Status of margins: All margins uninvolved."
    (value,) = values(text, "margin_involved")
    assert (value.value, value.status) == ("present", "conflict")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("切缘阴性。", "absent"),
        ("上下切缘及环周切缘均未见癌。", "absent"),
        ("两端切缘净，吻合圈未见癌。", "absent"),
        ("手术切缘（-）。", "absent"),
        ("癌组织累及下切缘，上切缘未见癌。", "present"),
        ("环周切缘见癌累及。", "present"),
        ("基底切缘（+），其余切缘（-）。", "present"),
        ("切缘距肿瘤1cm，神经见侵犯。", "absent"),
        ("切缘待石蜡报告。", None),
    ],
)
def test_chinese_margins(text, state):
    assert involved("病理诊断：（直肠）溃疡型中分化腺癌，侵及浆膜下层，送检组织一并检查。" + text) == state


def test_evidence_holds_what_decides():
    text = HEAD + "The proximal margin is free of tumor."
    for value in values(text, "margin_involved"):
        assert [text[place.start : place.end] for place in value.evidence] == ["The proximal margin is free"]


def test_the_evidence_of_a_distance_holds_it():
    text = HEAD + "Tumor is 2.5 mm from the superior margin. Margins: Distal: 12 mm."
    for value in values(text, "margin"):
        (place,) = value.evidence
        assert f"{value.qualifiers['distance_mm']:g} mm" in text[place.start : place.end]


def test_names_that_contain_one_another_take_no_time():
    assert structure(HEAD + "内侧" * 20_000 + " soft tissue" * 5_000 + " margin").quality.language


def test_a_question_without_answer_says_nothing():
    assert involved(HEAD + "Tumour present at margin: not assessed.") is None


def test_ink_that_marks_a_specimen_is_no_margin():
    assert involved(HEAD + "The specimen is positive for blue ink, tumor to the left.") is None
