"""Terms: procedure, site, focality and what else is named by one word of many."""

import pytest

from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.values import FieldValue


def found(text: str, field: str) -> FieldValue | None:
    return next((v for v in structure(text).values if v.field == field and v.part is None), None)


def word(text: str, field: str) -> object:
    value = found(text, field)
    return value.value if value else None


@pytest.mark.parametrize(
    ("text", "procedure"),
    [
        ("Procedure: Extended right hemicolectomy. Colonic adenocarcinoma.", "extended_right_hemicolectomy"),
        ("Colon, right hemicolectomy: adenocarcinoma.", "right_hemicolectomy"),
        ("Rectum, low anterior resection: rectal adenocarcinoma.", "low_anterior_resection"),
        ("Left breast, modified radical mastectomy: ductal carcinoma.", "modified_radical_mastectomy"),
        ("Breast, left, lumpectomy: ductal carcinoma.", "breast_conserving_surgery"),
        ("Lymph node, excisional biopsy: negative. Breast, mastectomy: ductal carcinoma.", "mastectomy"),
        ("Esophagus, Ivor-Lewis esophagectomy: adenocarcinoma of distal esophagus.", "esophagectomy"),
        ("Right lung, lobectomy: lung adenocarcinoma.", "lobectomy"),
        ("手术方式：右半结肠切除术。结肠腺癌。", "right_hemicolectomy"),
        ("（左乳改良根治标本）乳腺浸润性导管癌。", "modified_radical_mastectomy"),
        ("远端胃癌根治标本：胃窦腺癌。", "partial_gastrectomy"),
    ],
)
def test_the_procedure_is_named_as_exactly_as_the_report_does(text: str, procedure: str) -> None:
    assert word("Diagnosis: " + text if text.isascii() else text, "procedure") == procedure


def test_procedures_of_the_past_are_not_this_one() -> None:
    text = "Clinical history: status post lumpectomy. Diagnosis: Breast, simple mastectomy: ductal carcinoma of breast."
    assert word(text, "procedure") == "simple_mastectomy"


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("Colon resection. Tumor site: Cecum. Colonic adenocarcinoma.", "cecum"),
        ("Colon, sigmoid, resection: colonic adenocarcinoma.", "sigmoid_colon"),
        (
            "Left breast: 2.4 cm tumor in the upper, outer quadrant. Mammary carcinoma of breast.",
            "upper_outer_quadrant",
        ),
        ("Esophagus: adenocarcinoma of the gastroesophageal junction. Esophagectomy.", "gastroesophageal_junction"),
        ("Lung, right upper lobe, lobectomy: lung adenocarcinoma.", "upper_lobe"),
        ("（乙状结肠）腺癌，结肠切缘阴性。", "sigmoid_colon"),
    ],
)
def test_the_site_is_where_the_tumour_is_said_to_be(text: str, site: str) -> None:
    assert word(text, "tumor_site") == site


def test_a_place_that_is_only_named_is_no_site_of_the_tumour() -> None:
    assert word("Breast: ductal carcinoma. Random sections of breast tissue, UOQ.", "tumor_site") is None


@pytest.mark.parametrize(
    ("text", "focality"),
    [
        ("Tumor focality: Unifocal.", "unifocal"),
        ("Multifocal infiltrating ductal carcinoma.", "multifocal"),
        ("Tumor focality: Single focus of invasive carcinoma.", "unifocal"),
        ("乳腺浸润性导管癌，多灶性。", "multifocal"),
    ],
)
def test_focality_is_read(text: str, focality: str) -> None:
    assert (
        word("Breast, left, mastectomy, breast cancer. " + text if text.isascii() else text, "tumor_focality")
        == focality
    )


def test_terms_of_one_organ_are_not_looked_for_in_another() -> None:
    assert word("Liver, right lobe: hepatocellular carcinoma. Central liver, hepatic vein.", "tumor_site") != "central"


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("Rectum. Tumor budding: Low (0-4). Rectal adenocarcinoma.", "tumor_budding", "low"),
        ("Rectum. Intactness of mesorectum: nearly complete. Rectal adenocarcinoma.", "mesorectum", "near_complete"),
        ("Treatment effect: No known presurgical therapy. Colon, colonic adenocarcinoma.", "treatment_effect",
         "no_known_presurgical_therapy"),
        ("Stomach, gastric antrum: carcinoma. Lauren classification: diffuse.", "lauren_classification", "diffuse"),
        ("Tumor necrosis: Not identified. Right lung carcinoma, lung lobectomy.", "tumor_necrosis", "absent"),
        ("Breast: ductal carcinoma in situ: present. Breast, mastectomy.", "ductal_carcinoma_in_situ", "present"),
    ],
)  # fmt: skip
def test_answers_of_checklists_are_read(text: str, field: str, value: str) -> None:
    assert word(text, field) == value
