"""TNM categories, descriptors, stage groups and editions as reports write them."""

import pytest

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.values import FieldValue

FILLER = "Left breast, mastectomy: invasive ductal carcinoma of the breast. "
FILLER_ZH = "左乳腺浸润性导管癌，乳腺肿块切除标本。"


def case(text: str, field: str) -> FieldValue | None:
    return next((value for value in structure(text).values if value.field == field and value.part is None), None)


def said(text: str, field: str) -> str | float | int | None:
    value = case(text, field)
    return value.value if value else None


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("Pathologic stage: pT2pN0pMx.", ("t2", "n0", "mx")),
        ("pT4b, N1c, M0", ("t4b", "n1c", "m0")),
        ("AJCC: T3 NO MX.", ("t3", "n0", "mx")),
        ("PATHOLOGIC STAGE: PT2NO (I-)MX.", ("t2", "n0", "mx")),
        ("[AJCC pTlc pNO(i-)]", ("t1c", "n0", None)),
        ("Stage pTl c, pN1a.", ("t1c", "n1a", None)),
        ("p T3 pN2", ("t3", "n2", None)),
        ("pT1c(m) pN1mi(sn)", ("t1c", "n1mi", None)),
        ("pT1b, pN1(mi)", ("t1b", "n1mi", None)),
        ("pT2(mult)N0L0V0R0", ("t2", "n0", None)),
        ("pT1cN1aL1V0R0", ("t1c", "n1a", None)),
        ("Primary tumor (pT): pT2. Regional lymph nodes (pN): pNX. Distant metastasis (pM): not applicable.",
         ("t2", "nx", None)),
        ("pT category: 3\npN category: 1a\n", ("t3", "n1a", None)),
        ("pTis (DCIS), pN0", ("tis", "n0", None)),
        ("TNM classification: T3 N1 MX.", ("t3", "n1", "mx")),
        ("Staging: 13 N2 after scanning.", ("t3", "n2", None)),
        ("pT3 (tumour of 6.2 cm). Nodes: pN1a", ("t3", "n1a", None)),
        ("AJCC 8th edition: ypT1a ypN0(i+) cM0", ("t1a", "n0", None)),
    ],
)  # fmt: skip
def test_categories_are_read_in_all_their_forms(text, categories):
    assert tuple(said(FILLER + text, f"p{axis}_category") for axis in "tnm") == categories


@pytest.mark.parametrize(
    "text",
    [
        "Blocks: T1-T4 tumour, N1-N3 nodes, M1 margin.",
        "The clinical stage was cT2 cN1 cM0.",
        "History of a T2N0 carcinoma of the other side.",
        "PRE-OPERATIVE DIAGNOSIS: breast cancer, T2 N1.",
        "The pt is a 56 year old woman, pt x-ray unremarkable.",
        "MRI: T2-weighted images of T12 vertebra.",
        "pT (check one): [ ] pT1 [ ] pT2 [ ] pT3",
        "Primary tumour (pT): 2 cm mass. Regional nodes (pN): 2 slices submitted.",
        "Mitoses: T1 phase; no MX available to us.",
        "Extent pT1-2 cannot be told apart.",
    ],
)
def test_what_only_looks_like_a_category_is_left_alone(text):
    assert said("Left breast biopsy, carcinoma of the breast. " + text, "pt_category") is None


def test_of_a_list_of_options_the_ticked_one_counts():
    text = "Primary tumour: [ ] pT1: up to 2 cm  [x] pT2: 2 to 5 cm  [ ] pT3: above 5 cm  [ ] pT4: skin or chest wall"
    assert said(FILLER + text, "pt_category") == "t2"


def test_no_tumour_is_not_read_as_n0():
    assert said(FILLER + "PT2 NO TUMOR IN THE SKIN.", "pn_category") is None


def test_descriptors_and_marks_go_with_the_category():
    text = FILLER + "ypT2 ypN0(i+)(sn)."
    assert {value.value for value in structure(text).values if value.field == "tnm_descriptor"} == {"y"}
    node = case(text, "pn_category")
    assert node is not None
    assert (node.value, node.qualifiers) == ("n0", {"descriptor": "y", "suffix": "(i+)(sn)"})


def test_the_more_exact_of_two_agreeing_categories_holds():
    assert said(FILLER + "Stage: pT1 N0. Comment: the tumour is pT1c.", "pt_category") == "t1c"


def test_evidence_is_the_text_that_names_the_category():
    text = FILLER + "Pathologic stage: pT2 pN1a."
    value = case(text, "pn_category")
    assert value is not None
    assert [text[place.start : place.end] for place in value.evidence] == ["pN1a"]


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("病理分期：pT3N1M0", ("t3", "n1", "m0")),
        ("ｐＴ２ＮｘＭｘ", ("t2", "nx", "mx")),
        ("TNM分期：T1cN0M0（AJCC第八版）", ("t1c", "n0", "m0")),
        ("（ypT2N1a）", ("t2", "n1a", None)),
    ],
)
def test_categories_in_chinese_reports_are_read(text, categories):
    assert tuple(said(FILLER_ZH + text, f"p{axis}_category") for axis in "tnm") == categories


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("AJCC Stage IIIB.", "IIIB"),
        ("Stage group: 2A", "IIA"),
        ("Pathologic stage is IA.", "IA"),
        ("Anatomic stage group (AJCC 8): IIB", "IIB"),
        ("Clinical stage IIIB.", None),
        ("Stage 3 chronic kidney disease.", None),
        ("Stage II fibrosis in the background.", None),
        ("Survival of patients in stage II, node-positive disease.", None),
    ],
)
def test_stage_groups_are_the_tumours_own(text, group):
    assert said(FILLER + text, "stage_group") == group


def test_stage_groups_in_chinese_reports_are_read():
    assert said(FILLER_ZH + "病理分期：pT2N1M0，ⅡB期。", "stage_group") == "IIB"
    assert said(FILLER_ZH + "子宫内膜呈增殖期改变。", "stage_group") is None


@pytest.mark.parametrize(
    ("text", "edition"),
    [
        ("Staging by AJCC/UICC TNM, 7th Edition.", 7),
        ("AJCC Cancer Staging Manual, eighth edition", 8),
        ("TNM (AJCC 2010): pT2", 7),
        ("pTNM (AJCC v8)", 8),
        ("The 7th specimen has fat only.", None),
    ],
)
def test_the_edition_is_read_where_staging_is_spoken_of(text, edition):
    assert said(FILLER + text, "ajcc_edition") == edition
