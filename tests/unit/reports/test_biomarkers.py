"""Biomarkers in the ways that laboratories write them. All reports here are made up for the test."""

import pytest

from dicomsvc.reports.extract.biomarkers import find_biomarker
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.resolve import resolve
from dicomsvc.reports.schema import fields
from dicomsvc.reports.values import Assertion, FieldValue, Status


def found(field: str, text: str) -> list[FieldValue]:
    reading = Reading(text, "zh" if any("\u4e00" <= character <= "\u9fff" for character in text) else "en")
    return list(resolve(reading, fields()[field], find_biomarker(reading, fields()[field])))


def value(field: str, text: str) -> object:
    values = found(field, text)
    return values[0].value if values else None


@pytest.mark.parametrize(
    ("text", "er", "pr"),
    [
        ("Estrogen receptor: POSITIVE (90%). Progesterone receptor: NEGATIVE (0%).", "positive", "negative"),
        ("ER+/PR-/HER2-", "positive", "negative"),
        ("ER (95%, strong), PR (<1%)", "positive", "negative"),
        ("The tumour cells are positive for oestrogen and progesterone receptors.", "positive", "positive"),
        ("Tumor is negative for ER and PR.", "negative", "negative"),
        ("ER/PR: positive/negative", "positive", "negative"),
        ("ER, PR and HER2 are negative.", "negative", "negative"),
        ("Estrogen receptors found in 75% of nuclei. Progesterone receptors found in 0%.", "positive", "negative"),
        ("Receptors: ER 8/8, PR 0/8", "positive", "negative"),
        ("Approximately 80% of tumour cells are positive for ER and 40% for PR.", "positive", "positive"),
        ("ER: weak expression in 30% of cells. PR: no expression.", "positive", "negative"),
        ("No estrogen receptors are detected.", "negative", None),
        ("ESTROGEN RECEPTORS: P0SITIVE. PROGESTERONE RECEPTORS: NECATIVE.", "positive", "negative"),
        ("ER(90%,强+)，PR(-)", "positive", "negative"),
        ("ER、PR均阴性", "negative", "negative"),
        ("雌激素受体阳性(约80%)，孕激素受体(弱+，5%)", "positive", "positive"),
    ],
)  # fmt: skip
def test_receptors_are_read_in_every_form(text: str, er: str | None, pr: str | None) -> None:
    assert (value("er", text), value("pr", text)) == (er, pr)


@pytest.mark.parametrize(
    "text",
    [
        "ER, PR and HER2 are pending.",
        "Estrogen receptor: not performed. Progesterone receptor: will be reported in an addendum.",
        "Positive control for ER: satisfactory.",
        "ER/PR positive is defined as an Allred score of more than 2.",
        "Please obtain ER and PR by immunohistochemistry.",
        "Estrogen receptor: [ ] positive [ ] negative",
        "The assay can be used to select patients with ER positive breast cancer.",
        "The patient came through the ER and was seen by PR.",
        "Specimen submitted for ER/PR.",
    ],
)
def test_what_is_asked_for_explained_or_pending_is_no_result(text: str) -> None:
    assert found("er", text) == []
    assert found("pr", text) == []


@pytest.mark.parametrize(
    ("text", "score", "status"),
    [
        ("HER2/NEU BY IMMUNOHISTOCHEMISTRY: NEGATIVE (1+).", 1, "negative"),
        ("HER-2/neu 2+ (equivocal)", 2, "equivocal"),
        ("Her2: weakly positive (score 2+), FISH pending", 2, "equivocal"),
        ("HER2 (HercepTest): Positive, staining intensity of 3+", 3, "positive"),
        ("HER2/neu: negative, score 0. Controls react.", 0, "negative"),
        ("HER2 by IHC: 0. No amplification of HER2 by FISH.", 0, "negative"),
        ("HER2 (score +1) as per core biopsy", 1, "negative"),
        ("HER2/neu by FISH: amplified (ratio 5.1)", None, "positive"),
        ("HER2 by IHC: 2+. HER2 by FISH: not amplified, ratio 1.3", 2, "negative"),
        ("HER-2(2+)", 2, "equivocal"),
        ("HER2（-，0分）", 0, "negative"),
        ("HER2(++)", 2, "equivocal"),
        ("HER2(-)", None, "negative"),
        ("HER2基因无扩增(FISH)", None, "negative"),
    ],
)
def test_her2_score_and_status(text: str, score: int | None, status: str) -> None:
    assert (value("her2_score", text), value("her2", text)) == (score, status)


def test_two_scores_in_one_answer_are_uncertain() -> None:
    (score,) = found("her2_score", "HER2/neu: zero or 1+.")
    assert (score.value, score.status) == (1, Status.UNCERTAIN)


def test_a_result_from_a_percent_is_derived_and_says_by_which_rule() -> None:
    (er,) = found("er", "ER: 95% nuclear staining")
    assert (er.value, er.status, er.rule) == ("positive", Status.DERIVED, "receptor_from_percent/asco-cap2020")
    assert er.qualifiers["percent"] == 95


def test_percent_intensity_and_scores_stand_beside_the_result() -> None:
    (er,) = found("er", "Estrogen receptor: Positive (60-70%, strong), Allred score 8")
    assert er.qualifiers == {"percent_low": 60, "percent_high": 70, "intensity": "strong", "allred_score": 8}


def test_a_result_of_this_specimen_goes_before_one_of_an_earlier_biopsy() -> None:
    text = "The prior core biopsy was negative for HER2.\n\nHER2 BY FISH, ADDENDUM ON THE MASTECTOMY: AMPLIFIED (5.0)."
    (status, *_) = found("her2", text)
    assert status.value == "positive"


def test_a_known_status_from_the_history_is_historical() -> None:
    (er,) = found("er", "CLINICAL HISTORY: Left breast cancer, ER positive.")
    assert er.assertion is Assertion.HISTORICAL


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("ki67", "Ki-67 labeling index is approximately 4 to 5%", 5),
        ("ki67", "Ki-67(20%+)", 20),
        ("ki67", "MIB-1 <1% positive nuclei", 1),
        ("mlh1", "MLH1: Loss of nuclear expression", "lost"),
        ("pms2", "PMS2: No loss of nuclear expression", "retained"),
        ("msh6", "MLH1(+)，MSH2(+)，MSH6(+)，PMS2(-)", "retained"),
        ("msi", "Microsatellite instability (MSI): MSI-High", "high"),
        ("msi", "The tumour is microsatellite stable (MSS).", "stable"),
        ("mmr", "dMMR", "deficient"),
        ("pdl1_tps", "PD-L1 (22C3): TPS 60%", 60),
        ("pdl1_cps", "PD-L1 CPS: 10", 10),
        ("kras", "KRAS: G12D mutation detected", "mutated"),
        ("kras", "KRAS基因检测：未检出突变", "not_mutated"),
        ("braf", "BRAF V600E mutation: Not detected", "not_mutated"),
        ("braf", "BRAF V600E突变(-)", "not_mutated"),
        ("kras", "KRAS基因突变检测：阴性", "not_mutated"),
        ("kras", "KRAS基因检测：12密码子突变", "mutated"),
        ("egfr", "EGFR exon 19 deletion detected", "mutated"),
        ("alk", "ALK rearrangement not detected", "not_rearranged"),
        ("p53", "p53: wild-type pattern", "wild_type"),
        ("ttf1", "positive for CK7 and TTF-1", "positive"),
    ],
)
def test_other_markers(field: str, text: str, expected: object) -> None:
    assert value(field, text) == expected


def test_lists_of_stains_are_read_on_both_sides_of_a_change() -> None:
    text = "The cells are strongly positive for CK7 and PAX8 while negative for CK20, GATA3 and synaptophysin."
    stains = {item.qualifiers["marker"]: item.value for item in found("ihc_marker", text)}
    assert stains == {
        "CK7": "positive",
        "PAX8": "positive",
        "CK20": "negative",
        "GATA3": "negative",
        "Synaptophysin": "negative",
    }


def test_chinese_lists_of_stains_are_read_sign_by_sign() -> None:
    text = "免疫组化：CK7(-)，CD10(+)，Vimentin(弱+)，CD34(血管+)，S-100（－）"
    stains = {item.qualifiers["marker"]: item.value for item in found("ihc_marker", text)}
    assert stains == {
        "CK7": "negative",
        "CD10": "positive",
        "Vimentin": "positive",
        "CD34": "positive",
        "S-100": "negative",
    }


def test_a_stain_that_is_only_named_gives_nothing() -> None:
    assert (
        found("ihc_marker", "An immunohistochemical stain for CD31 supports the diagnosis. E-CADHERIN. NEG CONT.") == []
    )


def test_evidence_holds_the_name_and_the_words_that_decide() -> None:
    text = "COMMENT: There was no HER2 overexpression detected in this carcinoma."
    (status,) = found("her2", text)
    assert status.value == "negative"
    (evidence,) = status.evidence
    assert text[evidence.start : evidence.end] == "no HER2 overexpression detected"
