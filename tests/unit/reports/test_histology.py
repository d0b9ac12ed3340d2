"""Histologic types: which of the names in a report is its tumour's, and how the organ counts it."""

import pytest

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.values import FieldValue

HEADS = {
    "breast": "Left breast, mastectomy. ",
    "colon": "Colon, right hemicolectomy. ",
    "oesophagus": "Esophagus, esophagectomy. Distal esophagus. ",
    "stomach": "Stomach, distal gastrectomy. Gastric antrum. ",
    "lung": "Right lung, upper lobe, lobectomy. Bronchial margin. ",
    "prostate": "Prostate, radical prostatectomy. ",
    "liver": "Liver, partial hepatectomy. ",
    "skin": "Skin of the back, excision. ",
}
CHINESE_HEADS = {
    "breast": "左乳腺：",
    "colon": "结肠：",
    "stomach": "胃：",
    "oesophagus": "食管：",
    "lung": "右肺：",
    "liver": "肝：",
    "skin": "皮肤：",
}


def found(text: str, field: str = "histologic_type", organ: str = "breast") -> FieldValue | None:
    report = "FINAL DIAGNOSIS: " + HEADS[organ] + text if text.isascii() else "病理诊断：" + CHINESE_HEADS[organ] + text
    values = [value for value in structure(report).values if value.field == field]
    for value in values:
        assert all(report[place.start : place.end] for place in value.evidence)
    return next((value for value in values if value.part is None), None)


def word(text: str, field: str = "histologic_type", organ: str = "breast") -> object:
    value = found(text, field, organ)
    return value.value if value else None


@pytest.mark.parametrize(
    ("organ", "text", "kind"),
    [
        ("breast", "Infiltrating ductal carcinoma.", "invasive_carcinoma_no_special_type"),
        ("breast", "Invasive mammary carcinoma, no special type.", "invasive_carcinoma_no_special_type"),
        ("breast", "Histologic type: Ductal.", "invasive_carcinoma_no_special_type"),
        ("breast", "Carcinoma ductale invasivum, NHG2.", "invasive_carcinoma_no_special_type"),
        ("breast", "Invasive, poorly differentiated ductal carcinoma.", "invasive_carcinoma_no_special_type"),
        ("breast", "Infiltrating lobular carcinoma, classical type.", "invasive_lobular_carcinoma"),
        ("breast", "Invasive ductal carcinoma with lobular features.", "mixed_ductal_and_lobular_carcinoma"),
        ("breast", "Invasive carcinoma, mixed ductal and lobular type.", "mixed_ductal_and_lobular_carcinoma"),
        ("breast", "IDC, grade 2.", "invasive_carcinoma_no_special_type"),
        ("breast", "Infiltrating duct ca.", "invasive_carcinoma_no_special_type"),
        ("breast", "Invasive poorly differentiated carcinoma.", "invasive_carcinoma_no_special_type"),
        ("breast", "Carcinoma of the breast, infiltrating ductal type.", "invasive_carcinoma_no_special_type"),
        ("breast", "Infiltrating and in situ lobular carcinoma.", "invasive_lobular_carcinoma"),
        ("breast", "Invasive carcinoma, pleomorphic lobular type.", "invasive_lobular_carcinoma"),
        ("breast", "Histologic type: Ductal (with lobular features).", "mixed_ductal_and_lobular_carcinoma"),
        ("breast", "Histologic type: Mixed (ductal and lobular).", "mixed_ductal_and_lobular_carcinoma"),
        ("breast", "Invasive ductolobular carcinoma.", "mixed_ductal_and_lobular_carcinoma"),
        ("breast", "Infiltrating mammary carcinoma, colloid type.", "mucinous_adenocarcinoma"),
        ("breast", "Invasive carcinoma with apocrine differentiation.", "other_special_types"),
        ("breast", "Invasive carcinoma. Nodes: metastatic lobular carcinoma.", "invasive_lobular_carcinoma"),
        ("breast", "Colloid (mucinous) carcinoma.", "mucinous_adenocarcinoma"),
        ("breast", "Metaplastic carcinoma with squamous elements.", "other_special_types"),
        ("breast", "Tubular carcinoma, 8 mm.", "tubular_adenocarcinoma"),
        ("colon", "Invasive adenocarcinoma, moderately differentiated.", "adenocarcinoma"),
        ("colon", "Adenocarcinoma, moderately differentiated, mucinous type.", "mucinous_adenocarcinoma"),
        ("colon", "Adenocarcinoma, mucinous. Margins clear.", "mucinous_adenocarcinoma"),
        ("colon", "Adenocarcinoma (predominantly mucinous), 4 cm.", "mucinous_adenocarcinoma"),
        ("colon", "Invasive adenocarcinoma, medullary type.", "medullary_carcinoma"),
        ("colon", "Mucinous signet-ring cell carcinoma.", "signet_ring_cell_carcinoma"),
        ("colon", "Medullary carcinoma of the cecum.", "medullary_carcinoma"),
        ("oesophagus", "Squamous celll carcinoma, keratinizing.", "squamous_cell_carcinoma"),
        ("oesophagus", "Invasive mucinous adenocarcinoma.", "adenocarcinoma"),
        ("stomach", "Adenocarcinoma, intestinal type (Lauren).", "tubular_adenocarcinoma"),
        ("stomach", "Adenocarcinoma. Lauren classification: diffuse type.", "poorly_cohesive_carcinoma"),
        ("stomach", "Adenocarcinoma, mixed (intestinal and diffuse).", "mixed_tubular_poorly_cohesive"),
        ("stomach", "Adenocarcinoma mucocellulare ventriculi.", "poorly_cohesive_carcinoma"),
        ("oesophagus", "Invasive SCC.", "squamous_cell_carcinoma"),
        ("stomach", "Signet ring cell carcinoma.", "poorly_cohesive_carcinoma"),
        ("lung", "Adenocarcinoma, acinar predominant.", "adenocarcinoma"),
        ("lung", "Large cell neuroendocrine carcinoma.", "large_cell_neuroendocrine_carcinoma"),
        ("lung", "Non-small cell carcinoma.", "non_small_cell_carcinoma_not_specified"),
        ("prostate", "Adenocarcinoma, conventional type.", "acinar_adenocarcinoma"),
        ("liver", "Hepatocellular carcinome, well differentiated.", "hepatocellular_carcinoma"),
        ("skin", "Malignant melanoma, nodular type.", "nodular_melanoma"),
        ("breast", "浸润性导管癌，Ⅱ级。", "invasive_carcinoma_no_special_type"),
        ("breast", "浸润性癌（非特殊类型）。", "invasive_carcinoma_no_special_type"),
        ("breast", "浸润性小叶癌。", "invasive_lobular_carcinoma"),
        ("colon", "黏液腺癌，低分化。", "mucinous_adenocarcinoma"),
        ("stomach", "印戒细胞癌。", "poorly_cohesive_carcinoma"),
        ("oesophagus", "中分化鳞状细胞癌。", "squamous_cell_carcinoma"),
        ("liver", "肝细胞癌，中分化。", "hepatocellular_carcinoma"),
    ],
)
def test_types_are_counted_as_the_organs_value_set_has_them(organ: str, text: str, kind: str) -> None:
    assert word(text, organ=organ) == kind


@pytest.mark.parametrize(
    ("organ", "text", "subtype"),
    [
        ("breast", "Metaplastic carcinoma.", "metaplastic_carcinoma"),
        ("breast", "Invasive lobular carcinoma, pleomorphic type.", "pleomorphic_lobular_carcinoma"),
        ("lung", "腺癌，腺泡为主型。", "acinar_predominant_adenocarcinoma"),
        ("oesophagus", "Mucinous adenocarcinoma.", "mucinous_adenocarcinoma"),
    ],
)
def test_the_type_that_the_report_names_is_kept_beside_the_counted_one(organ: str, text: str, subtype: str) -> None:
    assert word(text, "histologic_subtype", organ) == subtype


@pytest.mark.parametrize(
    ("organ", "text", "kind"),
    [
        ("colon", "Adenocarcinoma with some features of mucinous adenocarcinoma.", "adenocarcinoma"),
        ("colon", "Adenocarcinoma. Lymph nodes: metastatic mucinous adenocarcinoma in 2 of 12.", "adenocarcinoma"),
        ("colon", "Adenocarcinoma. Clinical history: prior squamous cell carcinoma.", "adenocarcinoma"),
        ("colon", "Mucinous adenocarcinoma. Margins uninvolved by adenocarcinoma.", "mucinous_adenocarcinoma"),
        ("breast", "Ductal carcinoma in situ. Invasive lobular carcinoma, 1.2 cm.", "invasive_lobular_carcinoma"),
        ("breast", "Ductal carcinoma in situ, cribriform. No invasive carcinoma.", "ductal_carcinoma_in_situ"),
        ("oesophagus", "Adenocarcinoma. Stomach: gastrointestinal stromal tumor, 0.4 cm.", "adenocarcinoma"),
        ("oesophagus", "Negative for squamous cell carcinoma. Adenocarcinoma.", "adenocarcinoma"),
        ("colon", "腺癌，局灶伴黏液腺癌成分。", "adenocarcinoma"),
    ],
)
def test_names_of_other_lesions_do_not_become_the_type(organ: str, text: str, kind: str) -> None:
    assert word(text, organ=organ) == kind


@pytest.mark.parametrize(
    "text", ["Fibrocystic change. Negative for carcinoma.", "History of lobular carcinoma. Fat necrosis.", "未见癌。"]
)
def test_without_a_tumour_there_is_no_type(text: str) -> None:
    assert found(text) is None


def test_a_type_carries_its_code_and_the_words_it_stands_on() -> None:
    value = found("Infiltrating ductal carcinoma, 2 cm.")
    assert value is not None and value.code is not None
    assert (value.code.code, value.raw) == ("82711006", "Infiltrating ductal carcinoma")


def test_a_broader_type_has_no_code_of_the_narrower_one() -> None:
    value = found("Metaplastic carcinoma.")
    assert value is not None and value.value == "other_special_types"
    assert value.code is None


def test_kidney_reports_get_no_type_of_this_table() -> None:
    text = "Right kidney, nephrectomy: renal cell carcinoma, clear cell type. Renal vein free."
    assert not [value for value in structure(text).values if value.field == "histologic_type"]
