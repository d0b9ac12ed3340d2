"""What a clause says of a finding in it."""

import pytest

from dicomsvc.reports.extract.assertion import asserted
from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.reading import Reading

PRESENT, ABSENT, INDETERMINATE, HISTORICAL, NOTHING = "present", "absent", "indeterminate", "historical", None


def said(text: str, finding: str, language: str = "en") -> str | None:
    start = text.index(finding)
    assertion = asserted(Reading(text, language), start, start + len(finding)).assertion
    return assertion.value if assertion else None


@pytest.mark.parametrize(
    ("text", "finding", "assertion"),
    [
        ("No lymphovascular or perineural invasion.", "lymphovascular or perineural invasion", ABSENT),
        ("No lymphovascular or perineural invasion.", "perineural invasion", ABSENT),
        ("Neither necrosis nor perineural invasion is seen.", "perineural invasion", ABSENT),
        ("Lymphovascular invasion is not identified.", "Lymphovascular invasion", ABSENT),
        ("Perineural invasion was not definitely identified.", "Perineural invasion", ABSENT),
        ("There is no evidence of. Lymphovascular invasion in these sections.", "Lymphovascular invasion", ABSENT),
        ("The tumour is unassociated with perineural invasion.", "perineural invasion", ABSENT),
        ("Ulceration present; perineural invasion absent.", "perineural invasion", ABSENT),
        ("The node is negative for carcinoma but shows capsular invasion.", "capsular invasion", PRESENT),
        ("No necrosis; however, perineural invasion is present.", "perineural invasion", PRESENT),
        ("Blood vessel invasion but no lymphatic permeation is seen.", "lymphatic permeation", ABSENT),
        ("Perineural invasion is seen but vascular invasion is not identified.", "Perineural invasion", PRESENT),
        ("Perineural invasion is seen but vascular invasion is not identified.", "vascular invasion", ABSENT),
        ("Not only perineural invasion but also necrosis is seen.", "perineural invasion", PRESENT),
        ("Perineural invasion cannot be excluded.", "Perineural invasion", INDETERMINATE),
        ("Foci suspicious for lymphatic invasion.", "lymphatic invasion", INDETERMINATE),
        ("History of vascular invasion.", "vascular invasion", HISTORICAL),
    ],
)
def test_prose_decides_within_its_clause(text, finding, assertion):
    assert said(text, finding) == assertion


@pytest.mark.parametrize(
    ("text", "assertion"),
    [
        ("Perineural invasion: Not identified", ABSENT),
        ("Perineural invasion (PNI): None seen", ABSENT),
        ("Perineural invasion - absent", ABSENT),
        ("Perineural invasion: IS NOT SEEN.", ABSENT),
        ("Perineural invasion: [x] Present", PRESENT),
        ("Perineural invasion: is present, extensive", PRESENT),
        ("Perineural invasion. Present. Lymphatic invasion. Absent.", PRESENT),
        ("Perineural invasion. Not identified. Margins. Free.", ABSENT),
        ("Perineural invasion: Cannot be determined", INDETERMINATE),
        ("Perineural invasion: Not specified", NOTHING),
        ("Perineural invasion: Not applicable", NOTHING),
        ("Perineural invasion: Margins: free of tumor", NOTHING),
        ("Perineural invasion: 1. yes 2. no", NOTHING),
        ("Perineural invasion:", NOTHING),
    ],
)
def test_a_checklist_answer_decides_and_a_missing_one_says_nothing(text, assertion):
    assert said(text, "Perineural invasion") == assertion


@pytest.mark.parametrize(
    ("text", "assertion"),
    [
        ("未见神经侵犯。", ABSENT),
        ("神经侵犯（-），脉管癌栓（+）。", ABSENT),
        ("神经侵犯：未见。", ABSENT),
        ("脉管内未见癌栓，可见神经侵犯。", PRESENT),
        ("神经侵犯（+）。", PRESENT),
        ("神经侵犯不除外。", INDETERMINATE),
    ],
)
def test_chinese_signs_and_words_decide_between_commas(text, assertion):
    assert said(text, "神经侵犯", "zh") == assertion


def test_the_evidence_spans_the_finding_and_the_word_that_decides():
    text = "There is no evidence of perineural invasion."
    start = text.index("perineural")
    found = asserted(Reading(text, "en"), start, start + len("perineural invasion"))
    assert text[found.start : found.end] == "no evidence of perineural invasion"


@pytest.mark.parametrize(
    ("text", "lymphovascular", "perineural"),
    [
        ("No lymphovascular or perineural invasion.", "absent", "absent"),
        ("NO EVIDENCE OF. ANGIOLYMPHATIC INVASION. PERINEURAL INVASION IDENTIFIED.", "absent", "present"),
        ("Lymphatic (small vessel) invasion: Present. Perineural invasion: Not identified.", "present", "absent"),
        ("Lymphatic invasion: Not specified. Venous invasion: Absent.", "absent", None),
        ("Venous/lymphatic invasion: present; perineural permeation is not seen.", "present", "absent"),
        ("Staging: pT3, pNI, M0, R0 in all sections that were examined.", None, None),
    ],
)
def test_invasion_of_vessels_and_of_nerves_is_told_apart(text, lymphovascular, perineural):
    values = {value.field: value.value for value in structure("FINAL DIAGNOSIS: Adenocarcinoma. " + text).values}
    assert values.get("lymphovascular_invasion") == lymphovascular
    assert values.get("perineural_invasion") == perineural


def test_lymphatic_and_venous_invasion_do_not_contradict_each_other():
    text = "FINAL DIAGNOSIS: Adenocarcinoma. Lymphatic invasion: Present. Venous invasion: Absent."
    values = {value.field: value for value in structure(text).values}
    assert (values["lymphatic_invasion"].value, values["venous_invasion"].value) == ("present", "absent")
    assert (values["lymphovascular_invasion"].value, values["lymphovascular_invasion"].status) == ("present", "stated")


HEAD = "FINAL DIAGNOSIS: Sigmoid colon, resection: adenocarcinoma of the colon. "


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("Macroscopic large vessel invasion is absent. Microscopic (small vessel) invasion is present.",
         "lymphovascular_invasion", PRESENT),
        ("Tumour invades blood vessels.", "lymphovascular_invasion", PRESENT),
        ("The tumour does not invade blood vessels.", "lymphovascular_invasion", ABSENT),
        ("Carcinoma is seen in lymphatic spaces.", "lymphovascular_invasion", PRESENT),
        ("No carcinoma is seen in lymphatic spaces.", "lymphovascular_invasion", ABSENT),
        ("Angiolymphatic: not identified.", "lymphovascular_invasion", ABSENT),
        ("Lymphatics: involved.", "lymphatic_invasion", PRESENT),
        ("Dilated lymphatics are present in the submucosa.", "lymphovascular_invasion", NOTHING),
        ("Vascular space involvement by tumor: absent.", "lymphovascular_invasion", ABSENT),
        ("Vascular invasion (V): V0.", "lymphovascular_invasion", ABSENT),
        ("Vascular invasion (V): V2.", "lymphovascular_invasion", PRESENT),
        ("Lymphangiosis carcinomatosa is found.", "lymphovascular_invasion", PRESENT),
        ("Renal vein invasion is seen.", "lymphovascular_invasion", NOTHING),
        ("No invasion of blood vessels, lymphatics or perineural spaces.", "perineural_invasion", ABSENT),
        ("Nerve involvement: none.", "perineural_invasion", ABSENT),
        ("Tumour surrounds small nerves.", "perineural_invasion", PRESENT),
        ("PNI: present.", "perineural_invasion", PRESENT),
        ("Stage: pT2, pNI, pMX.", "perineural_invasion", NOTHING),
    ],
)  # fmt: skip
def test_invasion_is_told_in_many_forms(text, field, value):
    assert case(text, field) == value


@pytest.mark.parametrize(
    ("text", "invasions"),
    [
        ("pT3, pN1 (2/20), L1, V0, Pn1, R0.", (PRESENT, ABSENT, PRESENT)),
        ("pT3 pN0 (0/20) L0 V1 Pn0 G2 R0.", (ABSENT, PRESENT, ABSENT)),
        ("pT3, PN1, L0, V0, R0.", (ABSENT, ABSENT, NOTHING)),
        ("Fracture of L1. Block V1.", (NOTHING, NOTHING, NOTHING)),
    ],
)
def test_codes_of_invasion_count_beside_categories(text, invasions):
    fields = ("lymphatic_invasion", "venous_invasion", "perineural_invasion")
    assert tuple(case(text, field) for field in fields) == invasions


def case(text: str, field: str) -> object:
    return next((value.value for value in structure(HEAD + text).values if value.field == field), None)
