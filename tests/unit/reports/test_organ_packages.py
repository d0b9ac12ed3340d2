"""Lung, liver and skin packages, and which package a report opens."""

import numpy as np
import pytest

from dicomsvc.errors import BadRequest, InvalidModel
from dicomsvc.reports import organ_model, organ_training
from dicomsvc.reports.organs import packages, settle
from dicomsvc.reports.pipeline import structure


def word(text: str, field: str) -> object:
    return next((value.value for value in structure(text).values if value.field == field), None)


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("Lung, lobectomy. Visceral pleural invasion: Not identified.", "pleural_invasion", "absent"),
        ("Lung, lobectomy. The tumour invades the visceral pleura (PL1).", "pleural_invasion", "present"),
        ("Lung, lobectomy. The tumour invades the visceral pleura (PL1).", "pleural_invasion_level", "pl1"),
        ("Lung, lobectomy. The pleura is smooth. Pleural margin negative for tumor.", "pleural_invasion", None),
        ("Lung, lobectomy. Spread through air spaces (STAS): present.", "spread_through_air_spaces", "present"),
        ("Lung adenocarcinoma, acinar predominant.", "lung_predominant_pattern", "acinar"),
        ("（右肺上叶）浸润性腺癌，微乳头型为主，侵犯脏层胸膜。", "pleural_invasion", "present"),
        ("（右肺上叶）浸润性腺癌，微乳头型为主，侵犯脏层胸膜。", "lung_predominant_pattern", "micropapillary"),
        ("Liver, resection. Hepatocellular carcinoma, Edmondson-Steiner grade II-III.", "edmondson_grade", 3),
        ("Liver, resection. Microscopic (small vessel) invasion: Present.", "microvascular_invasion", "present"),
        ("Liver, resection. No microvascular invasion. No portal vein invasion.", "microvascular_invasion", "absent"),
        ("Liver. Background liver shows no evidence of cirrhosis.", "cirrhosis", "absent"),
        ("Liver, hepatectomy. Fibrosis stage 2 of 4.", "fibrosis_stage", 2),
        ("肝细胞癌，未见微血管侵犯（MVI分级M0），门静脉分支见癌栓。", "mvi_grade", "m0"),
        ("肝细胞癌，未见微血管侵犯（MVI分级M0），门静脉分支见癌栓。", "microvascular_invasion", "absent"),
        ("肝细胞癌，未见微血管侵犯（MVI分级M0），门静脉分支见癌栓。", "portal_vein_invasion", "present"),
        ("Skin, melanoma. Breslow depth is 1.25 mm. Clark level IV.", "breslow_thickness_mm", 1.25),
        ("Skin, melanoma. Breslow thickness: 0.2 cm.", "breslow_thickness_mm", 2),
        ("Skin, melanoma. Breslow depth is 1.25 mm. Clark's level: IV.", "clark_level", 4),
        ("Skin, melanoma. Ulceration: Not identified.", "ulceration", "absent"),
        ("Skin, melanoma. Extent: more than 4 mm with or without ulceration.", "ulceration", None),
        ("Skin, melanoma. Mitotic rate: 3/mm2.", "mitotic_rate", 3),
        ("（左足跟皮肤）黑色素瘤，Breslow厚度2.3毫米，Clark Ⅳ级，伴溃疡。", "breslow_thickness_mm", 2.3),
        ("（左足跟皮肤）黑色素瘤，Breslow厚度2.3毫米，Clark Ⅳ级，伴溃疡。", "clark_level", 4),
        ("（左足跟皮肤）黑色素瘤，Breslow厚度2.3毫米，Clark Ⅳ级，伴溃疡。", "ulceration", "present"),
    ],
)
def test_a_package_reads_its_fields(text: str, field: str, expected: object) -> None:
    assert word(text, field) == expected


def test_a_comparison_is_kept_beside_the_number() -> None:
    report = structure("Skin, melanoma. Mitotic rate: less than 1 mitoses/mm2. Breslow thickness at least 1.1 mm.")
    compared = {value.field: value.qualifiers.get("comparator") for value in report.values}
    assert compared["mitotic_rate"] == "<" and compared["breslow_thickness_mm"] == ">="


BREAST = """Left breast, mastectomy: invasive ductal carcinoma, Nottingham grade 2, size 2.1 cm.
The skin is free of tumor. Estrogen receptor positive in the breast tumor. Breast parenchyma with fibrocystic change.
History of right kidney clear cell renal cell carcinoma, Fuhrman grade 2.
The nipple and the breast margins are free. Sentinel axillary lymph nodes: 0/2.
"""


def test_no_kidney_or_skin_field_on_a_breast_report() -> None:
    report = structure(BREAST)
    assert report.organs == ("breast",)
    foreign = {"kidney_subtype", "fuhrman_grade", "perinephric_invasion", "breslow_thickness_mm", "ulceration"}
    assert not foreign & {value.field for value in report.values}


def test_a_report_on_an_organ_without_a_package_opens_none() -> None:
    report = structure(
        "Thyroid, total thyroidectomy: papillary thyroid carcinoma of the right lobe. Parathyroid benign. Lung clear."
    )
    assert not packages() & set(report.organs)


@pytest.mark.parametrize(
    ("named", "shares", "expected"),
    [
        ({"breast": 5.0, "skin": 3.0}, None, ("breast", "skin")),
        ({"breast": 5.0, "skin": 3.0}, {"breast": 0.97, "skin": 0.01}, ("breast",)),
        ({"liver": 4.0, "lung": 1.0}, {"liver": 0.3, "lung": 0.6}, ("liver", "lung")),
        ({"kidney": 9.0, "breast": 0.0}, {"kidney": 0.01, "breast": 0.9}, ("kidney",)),
        ({"kidney": 0.0}, {"kidney": 1.0}, ()),
    ],
)
def test_the_classifier_strikes_what_is_named_in_passing_and_never_speaks_alone(
    named: dict[str, float], shares: dict[str, float] | None, expected: tuple[str, ...]
) -> None:
    assert settle(named, shares) == expected


def test_a_short_text_is_left_to_the_rules() -> None:
    assert organ_model.organ_model().shares("right kidney tumour") is None


def test_the_shares_of_the_shipped_model_add_up_and_name_the_organ() -> None:
    shares = organ_model.organ_model().shares(BREAST.lower())
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda organ: shares[organ]) == "breast"


def made(organ: str, words: str, number: int) -> list[organ_training.Labelled]:
    rare = (
        "margins specimen received fresh formalin labeled consists measuring sections submitted tissue diagnosis final"
    )
    filler = " ".join(chr(97 + first) + chr(97 + second) + "x" for first in range(5) for second in range(5))
    return [
        organ_training.Labelled(f"{words} {rare} {filler}", organ, f"{organ}-{patient}") for patient in range(number)
    ]


def test_training_learns_what_it_is_shown_and_reads_back_what_it_wrote() -> None:
    reports = made("kidney", "renal kidney nephrectomy", 8) + made("breast", "breast nipple mastectomy", 8)
    model = organ_model.read_model(organ_model.as_bytes(organ_training.train(reports, "1")))
    shares = model.shares(reports[0].text)
    assert shares is not None and shares["kidney"] > 0.9
    assert model.weights.dtype == np.int8 and b"nephrectomy" not in model.weights.tobytes()
    verdicts = organ_training.held_out(reports)
    assert verdicts["rules and model"].right == len(reports)


def test_training_refuses_lines_that_lack_a_key(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "reports.jsonl"
    file.write_text('{"text": "x", "organ": "breast", "patient": "1"}\n{"text": "secret"}\n')
    with pytest.raises(BadRequest) as refused:
        organ_training.read_labelled(file, "organ", "patient")
    assert "line 2" in str(refused.value) and "secret" not in str(refused.value)


def test_a_file_that_is_no_model_is_refused() -> None:
    with pytest.raises((InvalidModel, ValueError)):
        organ_model.read_model(b"not a model")
