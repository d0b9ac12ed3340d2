"""Reports in traditional characters, as in Taiwan; all are made up."""

import pytest

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.text.normalise import normalised
from dicomsvc.reports.text.traditional import SIMPLIFIED

BREAST = """左側乳房，單純乳房切除術：
浸潤性乳管癌，組織學分級：第2級。腫瘤大小：2.1公分。
淋巴血管侵犯：未見。神經周圍侵犯：有。
手術邊緣：未受侵犯。
前哨淋巴結：3顆，均未見轉移（0/3）。
ER：陽性（90%），PR：陰性，HER2：陰性（1+），Ki-67：20%。
病理分期（AJCC第八版）：pT2 N0。"""
PROSTATE = """攝護腺，根除性切除：腺癌，Gleason score 4+3=7，Grade Group 3。
攝護腺外侵犯：無。儲精囊侵犯：有。手術邊緣：陽性。淋巴結：1/12。"""


def values(text: str) -> dict[str, object]:
    return {value.field: value.value for value in reversed(structure(text).values) if value.part is None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            BREAST,
            {
                "laterality": "left",
                "histologic_type": "invasive_carcinoma_no_special_type",
                "grade": 2,
                "tumor_size_mm": 21,
                "lymphovascular_invasion": "absent",
                "perineural_invasion": "present",
                "margin_involved": "absent",
                "lymph_nodes_examined": 3,
                "er": "positive",
                "pr": "negative",
                "her2_score": 1,
                "ki67": 20,
                "pt_category": "t2",
                "pn_category": "n0",
            },
        ),
        (
            PROSTATE,
            {
                "gleason_score": 7,
                "grade_group": 3,
                "extraprostatic_extension": "absent",
                "seminal_vesicle_invasion": "present",
                "margin_involved": "present",
                "lymph_nodes_positive": 1,
            },
        ),
    ],
)
def test_a_report_in_traditional_characters_is_read(text, expected):
    found = values(text)
    assert {field: found.get(field) for field in expected} == expected


def test_normalisation_to_simplified_characters_keeps_the_length():
    text = "".join(SIMPLIFIED)
    assert normalised(text) == "".join(SIMPLIFIED.values())
    assert len(normalised(BREAST)) == len(BREAST)


def test_evidence_is_quoted_in_the_characters_of_the_report():
    quoted = {value.raw for value in structure(BREAST).values if value.field == "perineural_invasion"}
    assert quoted == {"神經周圍侵犯：有"}


def test_headings_in_traditional_characters_begin_sections():
    assert Reading("病理診斷：左腎腫瘤", "zh").sections[-1].kind == "diagnosis"
