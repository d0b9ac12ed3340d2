"""Sections, parts and clauses of reports."""

from itertools import pairwise

from dicomsvc.reports.reading import Reading

CASE = """SURGICAL PATHOLOGY REPORT. CLINICAL HISTORY: Mass in the right breast.
SPECIMENS: A: Right breast. B: Sentinel node.
FINAL DIAGNOSIS.
A. RIGHT BREAST, MASTECTOMY: Invasive ductal carcinoma, 2.5 cm.
B. SENTINEL LYMPH NODE, EXCISION: One node, negative.
GROSS DESCRIPTION: A. Received fresh is a breast of 12 x 9 x 4 cm. SUMMARY OF SECTIONS: A1-A4 tumour."""


def kind_at(reading: Reading, words: str) -> str:
    section = reading.section_at(reading.original.index(words))
    assert section is not None
    return section.kind


def test_a_report_is_cut_at_its_headings_wherever_they_stand_in_a_line() -> None:
    reading = Reading(CASE, "en")
    assert kind_at(reading, "Mass in") == "clinical"
    assert kind_at(reading, "Invasive ductal") == "diagnosis"
    assert kind_at(reading, "Received fresh") == "gross"
    assert kind_at(reading, "A1-A4") == "blocks"
    assert reading.weight_at(CASE.index("A1-A4")) == 0
    assert reading.weight_at(CASE.index("Invasive")) > reading.weight_at(CASE.index("Received"))


def test_sections_cover_the_text_in_order_without_overlap() -> None:
    sections = Reading(CASE, "en").sections
    assert all(left.end <= right.start for left, right in pairwise(sections))
    assert sections[0].start == 0
    assert sections[-1].end == len(CASE)


def test_a_word_of_a_heading_within_a_sentence_is_no_heading() -> None:
    reading = Reading(
        "FINAL DIAGNOSIS: Carcinoma. The diagnosis was discussed; see the gross description of the case.", "en"
    )
    assert [section.kind for section in reading.sections] == ["diagnosis"]


def test_values_of_the_diagnosis_know_their_part() -> None:
    reading = Reading(CASE, "en")
    assert reading.label_at(CASE.index("Invasive")) == "A"
    assert reading.label_at(CASE.index("One node")) == "B"
    assert reading.label_at(CASE.index("Mass in")) is None


def test_parts_reported_together_keep_both_labels() -> None:
    text = "FINAL DIAGNOSIS: A&B. Right breast: carcinoma. C. Left breast: benign."
    reading = Reading(text, "en")
    assert reading.label_at(text.index("carcinoma")) == "A, B"
    assert reading.label_at(text.index("benign")) == "C"


def test_letters_that_do_not_count_up_from_a_are_no_parts() -> None:
    assert Reading("FINAL DIAGNOSIS: Reviewed with Dr. T. Right kidney. Dr. B. Tumor.", "en").parts == ()


def test_a_stray_full_stop_at_a_line_s_end_does_not_end_a_clause() -> None:
    text = "Lymph. vascular invasion is not. identified in this tumor. Margins are free."
    reading = Reading(text, "en")
    left, right = reading.clauses.around(text.index("vascular"), text.index("vascular") + 8)
    assert text[left:right] == "Lymph. vascular invasion is not. identified in this tumor."


def test_chinese_headings_and_stops_are_known() -> None:
    text = "肉眼所见：肿物大小3cm。镜下所见：见癌。病理诊断：（左肾）透明细胞性肾细胞癌。未见脉管内癌栓；切缘阴性。"
    reading = Reading(text, "zh")
    assert [section.kind for section in reading.sections] == ["gross", "microscopic", "diagnosis"]
    left, right = reading.clauses.around(text.index("脉管"), text.index("脉管") + 2)
    assert text[left:right] == "未见脉管内癌栓；"


def test_evidence_leaves_blanks_at_its_ends_out() -> None:
    reading = Reading("Grade:  2  ", "en")
    place = reading.evidence(6, 11)
    assert reading.raw(place) == "2"
