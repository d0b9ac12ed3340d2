"""Renal tumours: types, nuclear grades by their systems, spread."""

import pytest

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.values import FieldValue


def found(text: str, field: str) -> FieldValue | None:
    head = "右肾根治性切除标本，肾肿瘤：" if not text.isascii() else "Right kidney, nephrectomy. Renal mass. "
    return next((value for value in structure(head + text).values if value.field == field), None)


def word(text: str, field: str) -> object:
    value = found(text, field)
    return value.value if value else None


@pytest.mark.parametrize(
    ("text", "subtype"),
    [
        ("Renal cell carcinoma, clear cell type.", "clear_cell_renal_cell_carcinoma"),
        ("Conventional (clear cell) renal cell carcinoma.", "clear_cell_renal_cell_carcinoma"),
        ("Histologic type: Renal cell carcinoma, conventional type.", "clear_cell_renal_cell_carcinoma"),
        ("Papillary renal cell carcinoma, type 2.", "papillary_renal_cell_carcinoma"),
        ("Renal cell carcinoma, papillary type.", "papillary_renal_cell_carcinoma"),
        ("Clear cell papillary renal cell tumor.", "clear_cell_papillary_renal_cell_tumour"),
        ("Renal cell carcinoma, chromophobe cell type.", "chromophobe_renal_cell_carcinoma"),
        ("Fumarate hydratase-deficient renal cell carcinoma.", "fumarate_hydratase_deficient_renal_cell_carcinoma"),
        ("Xp11 translocation renal cell carcinoma.", "tfe3_rearranged_renal_cell_carcinoma"),
        ("Renal cell carcinoma, unclassified.", "unclassified_renal_cell_carcinoma"),
        ("Renal cell carcinoma.", "renal_cell_carcinoma_nos"),
        ("透明细胞型肾细胞癌，WHO/ISUP 2级。", "clear_cell_renal_cell_carcinoma"),
        ("乳头状肾细胞癌。", "papillary_renal_cell_carcinoma"),
        ("嫌色性肾细胞癌。", "chromophobe_renal_cell_carcinoma"),
        ("透明细胞乳头状肾细胞肿瘤。", "clear_cell_papillary_renal_cell_tumour"),
    ],
)
def test_the_longest_name_at_a_place_is_the_type(text: str, subtype: str) -> None:
    assert word(text, "kidney_subtype") == subtype


@pytest.mark.parametrize(
    ("text", "fuhrman", "isup", "unnamed"),
    [
        ("Fuhrman nuclear grade 2 of 4.", 2, None, None),
        ("Fuhrman's nuclear grade: III/IV.", 3, None, None),
        ("Nuclear grade (Fuhrman, 1-4): 2/4.", 2, None, None),
        ("Histologic grade: 3 (of 4, Fuhrman classification).", 3, None, None),
        ("Furhman grade is 3-4/4.", 4, None, None),
        ("WHO/ISUP grade: 2.", None, 2, None),
        ("Nucleolar grade 3 (ISUP).", None, 3, None),
        ("Nuclear grade II/IV.", None, None, 2),
        ("Grade 3 (of 4) renal cell carcinoma.", None, None, 3),
        ("Histologic grade: cannot be assessed. Tumor size 3 cm.", None, None, None),
        ("透明细胞癌，WHO/ISUP分级：2级。", None, 2, None),
        ("透明细胞癌，Fuhrman Ⅱ级。", 2, None, None),
    ],
)
def test_a_grade_is_told_with_its_system_and_never_with_another(
    text: str, fuhrman: int | None, isup: int | None, unnamed: int | None
) -> None:
    systems = ("fuhrman_grade", "who_isup_grade", "nuclear_grade")
    assert tuple(word(text, system) for system in systems) == (fuhrman, isup, unnamed)


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("Tumor extends into the perinephric fat.", "perinephric_invasion", "present"),
        ("No invasion into the perinephric adipose tissue or the renal vein.", "perinephric_invasion", "absent"),
        ("No invasion into the perinephric adipose tissue or the renal vein.", "renal_vein_invasion", "absent"),
        ("Tumor invades the renal sinus but not the renal vein.", "renal_sinus_invasion", "present"),
        ("Tumor invades the renal sinus but not the renal vein.", "renal_vein_invasion", "absent"),
        ("Renal vein invasion: Not identified.", "renal_vein_invasion", "absent"),
        ("Extension into renal vein: Not applicable.", "renal_vein_invasion", None),
        ("Renal sinus: not included with the specimen.", "renal_sinus_invasion", None),
        ("Renal vein margin: negative for tumor.", "renal_vein_invasion", None),
        ("Renal artery, renal vein and ureteral margins are free of tumor.", "renal_vein_invasion", None),
        ("The tumor abuts the renal sinus.", "renal_sinus_invasion", None),
        ("pT3a: Tumor invades the renal vein or perinephric tissues.", "perinephric_invasion", None),
        ("Tumor is confined to the kidney.", "perinephric_invasion", "absent"),
        ("Adrenal gland: not identified.", "adrenal_invasion", None),
        ("Adrenal gland: present, not involved by carcinoma.", "adrenal_invasion", "absent"),
        ("Adrenal gland, no tumor present.", "adrenal_invasion", "absent"),
        ("Sarcomatoid features: Not identified.", "sarcomatoid_features", "absent"),
        ("Rhabdoid features are present (10%).", "rhabdoid_features", "present"),
        ("肿瘤侵及肾周脂肪，未侵及肾窦。", "perinephric_invasion", "present"),
        ("肿瘤侵及肾周脂肪，未侵及肾窦。", "renal_sinus_invasion", "absent"),
        ("肾静脉内见癌栓。", "renal_vein_invasion", "present"),
        ("肾静脉切缘未见癌。", "renal_vein_invasion", None),
        ("未见肾周脂肪、肾窦及肾静脉侵犯。", "renal_sinus_invasion", "absent"),
    ],
)
def test_spread_is_stated_only_where_the_clause_says_so(text: str, field: str, expected: str | None) -> None:
    assert word(text, field) == expected


def test_confinement_excludes_spread_as_a_derived_value_with_its_rule() -> None:
    value = found("Tumor limited to kidney.", "renal_sinus_invasion")
    assert value is not None and value.status.value == "derived" and value.rule == "spread_from_confined/1"
    assert value.raw == "Tumor limited to kidney"
