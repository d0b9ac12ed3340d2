"""The tumour's size."""

import pytest

from dicomsvc.reports.extract.lengths import length_before, length_behind, millimetres
from dicomsvc.reports.pipeline import structure

HEAD = "FINAL DIAGNOSIS: Breast, left, mastectomy: Invasive ductal carcinoma. "


def found(text: str, field: str = "tumor_size_mm") -> object:
    return next((value.value for value in structure(text).values if value.field == field), None)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("Tumor size: 2.5 cm.", 25),
        ("Tumor size: 2. 5 cm.", 25),
        ("Tumor size: 2,5cm.", 25),
        ("TUMOR SIZE (GREATEST DIMENSION) : 3.5 CM (MEASURED GROSSLY).", 35),
        ("Tumor Size: Greatest dimension: 27 mm. Additional dimensions: 20 x 15 mm.", 27),
        ("Size of tumor: 4 X 3.7 X 3.5 CM.", 40),
        ("- MAXIMUM SIZE = 1.4CM (SLIDE C1).", 14),
        ("The tumor measures up to 6.5 cm in its size.", 65),
        ("Invasive ductal carcinoma, 1.8 cm, grade 2.", 18),
        ("A 1.8 cm firm, tan, well circumscribed mass is present in the upper pole.", 18),
        ("Multifocal carcinoma (two foci, 1.5 cm and 0.6 cm in greatest dimension).", 15),
        ("Tumor size: 2.0 cm. DCIS, size 4.5 cm.", 20),
        ("Tumor size: 2.0 cm. Largest metastatic deposit: 2.4 cm.", 20),
        ("Tumor size: 2.0 cm. Specimen size: 12 x 9 x 4 cm.", 20),
        ("Tumor size: 2.0 cm. Tumor is 3.5 cm from the deep margin.", 20),
        ("Tumor size: 2.0 cm. pT1: Tumor more than 1 cm but not more than 5 cm.", 20),
    ],
)
def test_the_largest_dimension_of_the_invasive_tumour(text, size):
    assert found(HEAD + text) == size


@pytest.mark.parametrize(
    "text",
    [
        "The specimen measures 19.0 x 14.0 x 4.0 cm.",
        "Largest metastatic focus: 0.9 cm.",
        "A lymph node measuring 1.5 x 0.7 cm.",
        "Skin ellipse, 5.5 x 3 cm.",
        "Negative for tumor by 8 mm.",
        "pT2: Tumor more than 2 cm but 5 cm or less in greatest dimension.",
        "Ductal carcinoma in situ measures 3 cm.",
        "Weight: 30 grams. Size: 4 x 3.5 x 3.0 cm.",
    ],
)
def test_what_is_not_the_tumour_is_not_measured(text):
    assert found(HEAD + text) is None


def test_the_diagnosis_outweighs_the_gross_description():
    text = HEAD + "Tumor size: 1.4 cm. GROSS DESCRIPTION: There is a 2.6 x 1.0 x 0.7 cm tan tumor in the midportion."
    assert found(text) == 14


def test_the_dimensions_are_those_of_the_size():
    text = HEAD + "Tumor size: 3.5 cm. GROSS DESCRIPTION: The mass measures 3.5 x 2.5 x 2.2 cm. A nodule is 9 x 8 mm."
    assert found(text, "tumor_dimensions") == "3.5 x 2.5 x 2.2 cm"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("肿瘤大小4.5×3.2×3.0cm，切缘阴性。", 45),
        ("肿块最大径 3.5cm，切缘阴性。", 35),
        ("肿瘤大小4*3*1.5厘米，上切缘距肿瘤6cm。", 40),
        ("标本大小20×15×5cm，切面见一肿物，大小2.5cm×2.0cm×1.8cm。", 25),
    ],
)
def test_chinese_sizes(text, size):
    assert found("病理诊断：（左肾）透明细胞型肾细胞癌，送检组织一并检查。" + text) == size


@pytest.mark.parametrize(("number", "unit", "length"), [("2. 5", "cm", 25), ("2,5", "厘米", 25), ("7", "mm", 7)])
def test_lengths_are_in_millimetres(number, unit, length):
    assert millimetres(number, unit) == length


def test_distances_are_read_before_and_behind_a_margins_name():
    before, behind = length_before("tumor is 0.27 cm from the "), length_behind(": uninvolved by <0.1 cm")
    assert before is not None and (before.mm, before.bound) == (2.7, None)
    assert behind is not None and (behind.mm, behind.bound) == (1.0, "<")
    assert length_behind(" measures 4.2 and 7.0 cm in circumference") is None
