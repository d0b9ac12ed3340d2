"""Gleason gradings, grade groups, extraprostatic extension."""

import pytest

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.values import FieldValue, Status

COMPONENTS = ("gleason_primary", "gleason_secondary", "gleason_score", "grade_group")


def values(text: str) -> dict[str, FieldValue]:
    report = structure(text)
    assert report.organs[:1] == ("prostate",)
    return {value.field: value for value in reversed(report.values) if value.part is None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Prostate adenocarcinoma, Gleason score 3+4=7.", (3, 4, 7, 2)),
        ("Prostatic adenocarcinoma, Gleason score 9 (4 + 5).", (4, 5, 9, 5)),
        ("Prostate: adenocarcinoma, Gleason 4 (60%) + 3 (40%) = 7/10.", (4, 3, 7, 3)),
        (
            "Prostate. Gleason grade: a. Primary pattern: 3/5. b. Secondary pattern: 3/5. Total Gleason score: 6/10.",
            (3, 3, 6, 1),
        ),
        ("Prostate. Primary Gleason grade: 4. Secondary Gleason grade: 4. Gleason sum score: 8.", (4, 4, 8, 4)),
        ("Prostate adenocarcinoma, Gleason score 7. Grade group 3.", (None, None, 7, 3)),
        ("Prostate. Prior biopsy showed Gleason 3+3=6. Now adenocarcinoma, Gleason 4+3=7.", (4, 3, 7, 3)),
        ("Prostate adenocarcinoma, Gleason score 3+4=8.", (None, None, None, None)),
        ("Prostate, blocks 3 + 4: benign prostatic hyperplasia.", (None, None, None, None)),
        ("前列腺腺泡腺癌，Gleason评分 3+4=7分，WHO/ISUP分级分组：2组。", (3, 4, 7, 2)),
        ("前列腺癌（Gleason分级：主要成分4级，次要成分3级，总评分7分）。", (4, 3, 7, 3)),
    ],
)
def test_patterns_score_and_group_are_of_one_grading(text: str, expected: tuple[int | None, ...]) -> None:
    read = values(text)
    assert tuple(read[name].value if name in read else None for name in COMPONENTS) == expected


def test_a_group_that_follows_from_patterns_is_derived_and_a_written_one_is_stated() -> None:
    derived = values("Prostate adenocarcinoma, Gleason score 3+4=7.")["grade_group"]
    assert (derived.status, derived.rule) == (Status.DERIVED, "grade_group_from_gleason/isup2014")
    assert derived.raw == "Gleason score 3+4=7"
    stated = values("Prostate adenocarcinoma, Gleason score 3+4=7, grade group 2.")["grade_group"]
    assert stated.status is Status.STATED
    assert stated.code is not None and stated.code.code == "1279714001"


def test_a_tertiary_pattern_is_read_beside_the_score() -> None:
    read = values("Prostate adenocarcinoma, Gleason score 4+3=7 with a tertiary pattern 5.")
    assert read["gleason_tertiary"].value == 5


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("Extraprostatic extension: Not identified.", "extraprostatic_extension", "absent"),
        ("Tumor shows established extracapsular extension.", "extraprostatic_extension", "present"),
        ("Tumor extends into periprostatic adipose tissue.", "extraprostatic_extension", "present"),
        ("Periprostatic fat involved: No.", "extraprostatic_extension", "absent"),
        ("Carcinoma is organ confined.", "extraprostatic_extension", "absent"),
        ("Extraprostatic extension:", "extraprostatic_extension", None),
        ("Right and left seminal vesicles, no tumor present.", "seminal_vesicle_invasion", "absent"),
        ("Left seminal vesicle is involved by carcinoma.", "seminal_vesicle_invasion", "present"),
        ("Tumor invades right and left seminal vesicles.", "seminal_vesicle_invasion", "present"),
        ("Seminal vesicles: present.", "seminal_vesicle_invasion", None),
        ("Tumor involves approximately 25% of the prostate gland.", "prostate_percent_involved", 25),
    ],
)
def test_extent_is_stated_only_where_the_clause_says_so(text: str, field: str, expected: object) -> None:
    read = values(f"Prostate, radical prostatectomy: adenocarcinoma. {text}")
    assert (read[field].value if field in read else None) == expected


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("前列腺外侵犯：未见", "extraprostatic_extension", "absent"),
        ("癌组织侵出前列腺包膜", "extraprostatic_extension", "present"),
        ("双侧精囊未见癌累及", "seminal_vesicle_invasion", "absent"),
        ("左侧精囊见癌侵犯", "seminal_vesicle_invasion", "present"),
    ],
)
def test_chinese_extent_is_read_fact_by_fact(text: str, field: str, expected: str) -> None:
    assert values(f"前列腺癌根治标本：前列腺腺癌。\n{text}\n脉管侵犯：未见").get(field) is not None
    assert values(f"前列腺癌根治标本：前列腺腺癌。\n{text}\n脉管侵犯：未见")[field].value == expected
