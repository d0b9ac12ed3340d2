"""What follows from stated values: pT by size and depth, pN by counts, stage groups; and what must not follow."""

import pytest

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.values import FieldValue, Status

BREAST = "Left breast, mastectomy: invasive ductal carcinoma of the breast. "
COLON = "Sigmoid colon, resection: adenocarcinoma of the colon. "
STOMACH = "Stomach, gastrectomy: gastric adenocarcinoma of the stomach. "
OESOPHAGUS = "Esophagus, esophagectomy: squamous cell carcinoma of the esophagus. "
KIDNEY = "Left kidney, nephrectomy: clear cell renal cell carcinoma of the kidney. "
PROSTATE = "Prostate, prostatectomy: prostatic adenocarcinoma of the prostate. "


def case(text: str, field: str) -> FieldValue | None:
    return next((value for value in structure(text).values if value.field == field and value.part is None), None)


def derived(text: str, field: str) -> tuple[object, str] | None:
    value = case(text, field)
    return (value.value, value.rule) if value and value.status is Status.DERIVED else None


@pytest.mark.parametrize(
    ("text", "category"),
    [
        (COLON + "Twelve lymph nodes, negative (0/12).", "n0"),
        (COLON + "Carcinoma in 1 of 12 lymph nodes.", "n1a"),
        (COLON + "Carcinoma in 3 of 12 lymph nodes.", "n1b"),
        (COLON + "Carcinoma in 4 of 12 lymph nodes.", "n2a"),
        (COLON + "Carcinoma in 7 of 12 lymph nodes.", "n2b"),
        (STOMACH + "Metastases in 2/20 lymph nodes.", "n1"),
        (STOMACH + "Metastases in 7/20 lymph nodes.", "n3a"),
        (STOMACH + "Metastases in 16/20 lymph nodes.", "n3b"),
        (OESOPHAGUS + "Lymph nodes: 6/6 positive.", "n2"),
        (OESOPHAGUS + "Lymph nodes: 7/16 positive.", "n3"),
        (KIDNEY + "Hilar lymph nodes: 2/3 positive.", "n1"),
        (PROSTATE + "Pelvic lymph nodes: 0/9 positive.", "n0"),
        (BREAST + "Metastatic carcinoma in 3 of 15 axillary lymph nodes.", "n1a"),
        (BREAST + "Metastatic carcinoma in 9 of 15 axillary lymph nodes.", "n2a"),
        (BREAST + "Metastatic carcinoma in 10 of 15 axillary lymph nodes.", "n3a"),
        (BREAST + "Carcinoma in 2 of 9 axillary nodes. Largest metastatic focus: 1.5 mm.", "n1mi"),
        (BREAST + "Carcinoma in 2 of 9 nodes, one a micrometastasis. Largest metastatic deposit: 0.8 cm.", "n1a"),
        (BREAST + "Micrometastasis (0.6 mm) in one of two sentinel lymph nodes positive (1/2).", "n1mi"),
    ],
)
def test_pn_follows_from_counts(text, category):
    assert derived(text, "pn_category") == (category, "pn_from_counts/ajcc8")


def test_the_rule_names_the_edition_that_the_report_stages_by():
    text = COLON + "Carcinoma in 3 of 12 lymph nodes. Staging by AJCC 7th edition."
    assert derived(text, "pn_category") == ("n1b", "pn_from_counts/ajcc7")


def test_nothing_follows_by_an_edition_without_a_table():
    assert case(COLON + "Carcinoma in 3 of 12 lymph nodes. Staging by AJCC 6th edition.", "pn_category") is None


def test_a_derived_value_points_at_the_text_that_it_follows_from():
    text = COLON + "Carcinoma in 3 of 12 lymph nodes."
    value = case(text, "pn_category")
    assert value is not None
    assert "3 of 12" in text[value.evidence[0].start : value.evidence[0].end]


def test_a_stated_category_is_made_more_exact_and_kept():
    value = case(COLON + "Stage: pT3 N1 MX. Carcinoma in 2 of 12 lymph nodes.", "pn_category")
    assert value is not None
    assert (value.value, value.status, value.qualifiers["stated"]) == ("n1b", Status.DERIVED, "n1")


def test_a_stated_category_is_never_overruled():
    value = case(COLON + "Stage: pT3 N0 MX. Carcinoma in 2 of 12 lymph nodes.", "pn_category")
    assert value is not None
    assert (value.value, value.status, value.qualifiers["by_rule"]) == ("n0", Status.CONFLICT, "n1b")


def test_categories_of_an_earlier_edition_are_restaged_and_kept():
    text = STOMACH + "Depth of invasion: subserosa. T2b N1 MX. Metastases in 7/20 lymph nodes."
    found = [case(text, field) for field in ("pt_category", "pn_category")]
    assert [(value.value, value.status, value.qualifiers["stated"]) for value in found if value] == [
        ("t3", Status.DERIVED, "t2b"),
        ("n3a", Status.DERIVED, "n1"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        BREAST + "Isolated tumor cells in one of two lymph nodes positive (1/2).",
        BREAST + "Lymph nodes are enlarged.",
        "Left lung, lobectomy: pulmonary adenocarcinoma of the lung. Carcinoma in 2 of 12 lymph nodes.",
        "Thyroid, lobectomy: papillary carcinoma. Carcinoma in 2 of 12 lymph nodes.",
    ],
)
def test_pn_does_not_follow_where_counts_do_not_tell_it(text):
    assert case(text, "pn_category") is None


@pytest.mark.parametrize(
    ("text", "depth", "category"),
    [
        (COLON + "Carcinoma invades into the submucosa.", "submucosa", "t1"),
        (COLON + "Tumor invades into, but not through, the muscularis propria.", "muscularis_propria", "t2"),
        (COLON + "Tumor extends through the muscularis propria.", "subserosa", "t3"),
        (COLON + "Tumor invades through the muscularis propria into pericolonic fat.", "subserosa", "t3"),
        (COLON + "Tumor invades pericolonic fat; the serosa is not involved.", "subserosa", "t3"),
        (COLON + "Tumor invades pericolic fat to within 2 mm of the serosa.", "subserosa", "t3"),
        (COLON + "Tumor penetrates the visceral peritoneum.", "serosa", "t4a"),
        (COLON + "Tumor directly invades the urinary bladder.", "adjacent_structures", "t4b"),
        (OESOPHAGUS + "Tumor extent: Adventitia. Lymph nodes: 0/4 positive.", "subserosa", "t3"),
        (STOMACH + "Depth of invasion: lamina propria.", "mucosa", "t1a"),
        (STOMACH + "Depth of invasion: muscularis propria.", "muscularis_propria", "t2"),
    ],
)
def test_pt_of_the_gut_follows_from_the_depth(text, depth, category):
    reached = case(text, "invasion_depth")
    assert reached is not None and reached.value == depth
    assert derived(text, "pt_category") == (category, "pt_from_depth/ajcc8")


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("胃腺癌，胃切除标本，癌组织侵及黏膜下层。", "t1b"),
        ("胃腺癌，胃切除标本，癌侵至浆膜下层，未累及浆膜。", "t3"),
        ("结肠腺癌，结肠切除标本，侵犯固有肌层。", "t2"),
        ("结肠腺癌，结肠切除标本，癌组织侵透浆膜层。", "t4a"),
    ],
)
def test_pt_follows_from_the_depth_in_chinese_reports(text, category):
    assert derived(text, "pt_category") == (category, "pt_from_depth/ajcc8")


def test_polyps_and_gross_looks_reach_no_layer():
    assert case(COLON + "GROSS DESCRIPTION: The mass extends into pericolonic fat.", "invasion_depth") is None
    assert case(COLON + "Leiomyoma of the muscularis propria.", "invasion_depth") is None


@pytest.mark.parametrize(
    ("text", "category"),
    [
        (BREAST + "Tumor size: 4 mm.", "t1a"),
        (BREAST + "Tumor size: 1.8 cm.", "t1c"),
        (BREAST + "Tumor size: 2.1 x 1.0 x 0.8 cm.", "t2"),
        (BREAST + "Tumor size: 5.5 cm.", "t3"),
        (KIDNEY + "Tumor size: 3.5 cm. Tumor is confined to the kidney.", "t1a"),
        (KIDNEY + "Tumor size: 11 cm, limited to the kidney.", "t2b"),
        (KIDNEY + "Tumor size: 3.5 cm. Perinephric fat invasion: present.", "t3a"),
    ],
)
def test_pt_of_breast_and_kidney_follows_from_size_and_spread(text, category):
    value = derived(text, "pt_category")
    assert value is not None and value[0] == category


@pytest.mark.parametrize(
    "text",
    [
        KIDNEY + "Tumor size: 3.5 cm.",
        "Left breast, excision: ductal carcinoma in situ of the breast. Tumor size: 2.0 cm.",
        BREAST + "Tumor size: 3 cm. Inflammatory carcinoma of the breast.",
    ],
)
def test_pt_does_not_follow_where_size_does_not_tell_it(text):
    assert case(text, "pt_category") is None


@pytest.mark.parametrize(
    ("text", "group", "rule"),
    [
        (COLON + "pT3 pN0 pM0", "IIA", "stage_from_tnm/ajcc8"),
        (COLON + "pT4a pN2a pM0", "IIIC", "stage_from_tnm/ajcc8"),
        (COLON + "pT2 pN1 pM1a", "IVA", "stage_from_tnm/ajcc8"),
        (BREAST + "pT2 pN1a pM0", "IIB", "anatomic_stage_from_tnm/ajcc8"),
        (STOMACH + "pT3 pN3a pM0", "IIIB", "stage_from_tnm/ajcc8"),
        (KIDNEY + "pT3a pN0 pM0", "III", "stage_from_tnm/ajcc8"),
        (OESOPHAGUS + "pT3 pN1 pM0", "IIIB", "stage_from_tnm/ajcc8"),
    ],
)
def test_the_stage_group_follows_from_t_n_and_m(text, group, rule):
    assert derived(text, "stage_group") == (group, rule)


@pytest.mark.parametrize(
    "text",
    [
        COLON + "pT3 pN0 pMX",
        COLON + "pT3 pN0",
        COLON + "ypT3 ypN0 pM0",
        OESOPHAGUS + "pT3 pN0 pM0",
        "Thyroid, lobectomy: papillary carcinoma. pT2 pN0 pM0",
    ],
)
def test_no_stage_group_is_guessed(text):
    assert case(text, "stage_group") is None


def test_a_stated_stage_group_stands():
    value = case(COLON + "pT3 pN0 pM0, AJCC stage IIB.", "stage_group")
    assert value is not None
    assert (value.value, value.status) == ("IIB", Status.STATED)
