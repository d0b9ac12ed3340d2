"""Histologic grades by their systems, and what is graded but is not the tumour."""

import time

import pytest

from dicomsvc.reports.extract import KINDS
from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import fields
from dicomsvc.reports.values import FieldValue, Status

BREAST = "FINAL DIAGNOSIS: Left breast, mastectomy. Infiltrating ductal carcinoma. "
COLON = "FINAL DIAGNOSIS: Colon, sigmoid, resection. Colonic adenocarcinoma. "


def found(text: str, field: str = "grade") -> FieldValue | None:
    return next((v for v in structure(text).values if v.field == field and v.part is None), None)


def graded(text: str) -> object:
    value = found(text)
    return value.value if value else None


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Well differentiated.", 1),
        ("Moderately-differentiated.", 2),
        ("Poorly. differentiated.", 3),
        ("Moderately to poorly differentiated.", 3),
        ("Well to moderately differentiated.", 2),
        ("Moderately differentiated to poorly differentiated.", 3),
        ("Predominantly moderately differentiated with focal poorly differentiated areas.", 2),
        ("Undifferentiated.", 4),
        ("Differentiation: moderate.", 2),
        ("Histologic grade: G3: Poorly differentiated.", 3),
        ("Histologic Grade: G2. Extent: subserosa.", 2),
        ("Histologic grade: 2 of 3.", 2),
        ("Grade II of III.", 2),
        ("Grade: Il.", 2),
        ("Histologic grade (1, 2, 3): 2.", 2),
        ("High grade.", 3),
        ("Histologic grade: low grade.", 1),
        ("Invasive carcinoma G-2, pT3.", 2),
        ("Grade 4 (of 4).", 4),
        ("Moderately well differentiated.", 2),
        ("Mod. diff.", 2),
        ("Poorly diff. tumour.", 3),
        ("Medium grade.", 2),
        ("Histologic grade: G3 (poorly differentiated) of G4.", 3),
        ("SBR II/III.", 2),
        ("Scarff-Bloom-Richardson: 3.", 3),
        ("Histologic grade (Bloom & Richardson) = 3.", 3),
    ],
)
def test_grades_are_read_in_every_form(text: str, grade: int) -> None:
    assert graded(COLON + text) == grade


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("结肠中分化腺癌。", 2),
        ("结肠腺癌，中-低分化。", 3),
        ("结肠高分化腺癌。", 1),
        ("左乳腺浸润性导管癌，组织学分级：Ⅱ级。", 2),
        ("左乳腺浸润性癌，Nottingham分级Ⅲ级。", 3),
        ("左乳腺浸润性导管癌，低级别。", 1),
    ],
)
def test_chinese_grades_are_read(text: str, grade: int) -> None:
    assert graded("病理诊断：" + text) == grade


@pytest.mark.parametrize(
    "text",
    [
        "Tubular adenoma with high grade dysplasia.",
        "Nuclear grade 3.",
        "Lymph nodes: metastatic poorly differentiated carcinoma.",
        "Tumor regression grade 2.",
        "Histologic grade: Not applicable. Size: 3 cm.",
        "History of grade 3 carcinoma.",
        "Cassette G1: tumor. G2: margin.",
        "Chronic hepatitis, grade 2.",
        "Cirrhosis, grade 3, stage 4.",
        "Treatment effect: grade 2 (partial response).",
        "Tumour regression score: grade 3.",
        "Tumour budding: low grade.",
        "NUCLEAR.\nGRADE 3.",
        "Keratin is tried on G3.",
    ],
)
def test_what_is_graded_but_no_invasive_tumour_gives_no_grade(text: str) -> None:
    assert graded("Gross description: sections as follows. " + text if "Cassette" in text else COLON + text) is None


def test_the_grade_of_carcinoma_in_situ_is_not_the_tumours() -> None:
    text = BREAST + "Moderately differentiated. Ductal carcinoma in situ, solid, grade 3, high nuclear grade."
    assert graded(text) == 2
    assert graded("Left breast: ductal carcinoma in situ, solid pattern, grade 3.") is None


def test_a_nottingham_grade_carries_its_score_and_components() -> None:
    value = found(BREAST + "Nottingham grade II (tubules 3, nuclei 2, mitoses 1; total score 6/9).")
    assert value is not None
    assert value.value == 2
    assert value.qualifiers == {"system": "nottingham", "score": 6, "tubules": 3, "nuclei": 2, "mitoses": 1}


@pytest.mark.parametrize(
    ("text", "total", "grade"),
    [
        ("Nottingham score 8/9 (tubules=3, nuclei=3, mitoses=2).", 8, 3),
        ("Tubule formation: 2. Nuclear pleomorphism: 2. Mitotic rate: 1.", 5, 1),
        ("Tubule Formation - Minimal, less than 10% (score = 3). Nuclear Pleomorphism - Moderate (score = 2). "
         "Mitotic Count - (score = 2).", 7, 2),
        ("SBR (3+3+3).", 9, 3),
        ("Nottingham score 3 + 2 + 2 = 7.", 7, 2),
        ("Nottingham 8/9.", 8, 3),
    ],
)  # fmt: skip
def test_where_no_grade_is_stated_it_follows_from_the_score(text: str, total: int, grade: int) -> None:
    score, value = found(BREAST + text, "nottingham_score"), found(BREAST + text)
    assert score is not None and score.value == total
    assert value is not None and value.value == grade
    assert (value.status, value.rule) == (Status.DERIVED, "grade_from_nottingham/elston_ellis_1991")


def test_a_sum_that_its_parts_contradict_is_worked_out_anew() -> None:
    score = found(BREAST + "Nottingham score 8/9 (tubules=3, nuclei=2, mitoses=1).", "nottingham_score")
    assert score is not None
    assert (score.value, score.status) == (6, Status.DERIVED)


def test_a_stated_grade_stands_before_a_derived_one() -> None:
    value = found(BREAST + "Poorly differentiated. Nottingham score 6/9.")
    assert value is not None
    assert (value.value, value.status) == (3, Status.STATED)


@pytest.mark.parametrize(
    "text",
    [
        COLON + "[ ] Well differentiated [x] Moderately differentiated [ ] Poorly differentiated",
        COLON + "( ) G1 (X) G2 ( ) G3: Poorly differentiated",
        COLON + "Histologic grade: [ ] 1 [x] 2 [ ] 3",
        COLON + "Histologic grade: [ ] G1 [X] G2 [ ] G3",
        "结肠腺癌。分化程度 □高分化 ☑中分化 □低分化。",
    ],
)
def test_answers_that_are_not_chosen_from_a_list_do_not_count(text: str) -> None:
    assert graded(text) == 2


def test_kidney_and_prostate_have_grades_of_their_own() -> None:
    assert graded("Right kidney, nephrectomy: renal cell carcinoma, grade 2.") is None
    assert graded("Prostate, prostatectomy: prostatic adenocarcinoma, poorly differentiated, Gleason 4+3=7.") is None


@pytest.mark.parametrize("flood", ["grade 2, tubules 3, nuclei 2, mitoses 1. ", "nuclear grade ", "histologic grade: "])
def test_floods_of_grades_are_answered_in_time(flood: str) -> None:
    started = time.monotonic()
    reading = Reading(flood * (200_000 // len(flood)), "en", ("breast",))
    for field in ("grade", "histologic_type", "nottingham_score", "procedure"):
        assert len(list(KINDS[fields()[field].kind](reading, fields()[field]))) <= 200
    assert time.monotonic() - started < 5
