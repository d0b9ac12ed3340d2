"""The side of the primary tumour."""

import pytest

from dicomsvc.reports.pipeline import structure

BENIGN_LEFT = "A. BREAST, LEFT, PROPHYLACTIC MASTECTOMY: Benign breast tissue, no carcinoma identified. "
TUMOUR_RIGHT = "B. BREAST, RIGHT, MASTECTOMY: Invasive ductal carcinoma, grade 2. "


def side(text: str) -> object:
    found = structure(text).values
    return next((value.value for value in found if value.field == "laterality" and value.part is None), None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FINAL DIAGNOSIS: " + BENIGN_LEFT + TUMOUR_RIGHT, "right"),
        (
            "FINAL DIAGNOSIS: " + BENIGN_LEFT + TUMOUR_RIGHT + "C. LYMPH NODE, LEFT AXILLA: Metastatic carcinoma.",
            "right",
        ),
        ("FINAL DIAGNOSIS: Left kidney, radical nephrectomy: Renal cell carcinoma of the kidney.", "left"),
        ("Breast cancer checklist. Specimen laterality: Left. Invasive carcinoma of the breast.", "left"),
        ("FINAL DIAGNOSIS: Breast, excision: Invasive ductal carcinoma of the breast, grade 2.", None),
    ],
)
def test_the_side_is_that_of_the_part_with_the_tumour(text, expected):
    assert side(text) == expected


def test_no_side_is_read_where_the_organ_has_none():
    assert side("FINAL DIAGNOSIS: Colon, left hemicolectomy: Adenocarcinoma of the colon.") is None
