"""Lymph nodes: counts of the case, of stations and parts; what repeats and what sums up is not added."""

import pytest

from dicomsvc.reports.extract.node_words import number_of
from dicomsvc.reports.pipeline import structure
from dicomsvc.reports.values import FieldValue, Status

COLON = "Sigmoid colon, resection: adenocarcinoma of the colon. "
BREAST = "Left breast, mastectomy: invasive ductal carcinoma of the breast. "
COLON_ZH = "（乙状结肠）中分化腺癌，结肠切除标本。"


def of_case(text: str, side: str) -> FieldValue | None:
    field = f"lymph_nodes_{side}"
    whole = (value for value in structure(text).values if value.field == field and value.part is None)
    return next((value for value in whole if "station" not in value.qualifiers), None)


def counted(text: str) -> tuple[object, object]:
    found = of_case(text, "positive"), of_case(text, "examined")
    return tuple(value.value if value else None for value in found)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("text", "number"),
    [("12", 12), ("sixteen (16)", 16), ("twenty-one", 21), ("a single", 1), ("none", 0), ("十二", 12), ("二十", 20)],
)
def test_numbers_are_read_as_they_are_spelt(text, number):
    assert number_of(text) == number


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("Metastatic carcinoma in 3 of 17 lymph nodes (3/17).", (3, 17)),
        ("Two of fifteen regional lymph nodes are positive.", (2, 15)),
        ("Lymph nodes: 0/12.", (0, 12)),
        ("Fourteen lymph nodes, negative for tumor (0/14).", (0, 14)),
        ("Number of nodes examined: 13. Number of nodes involved: 0.", (0, 13)),
        ("Regional lymph nodes (pN): pN1. Number examined: 22. Number involved: 3.", (3, 22)),
        ("NUMBER OF POSITIVE LYMPH NOOES / TOTAL NUMBER OF NODES EXAMINED: 2/10.", (2, 10)),
        ("No evidence of metastasis in 18 lymph nodes.", (0, 18)),
        ("Eleven benign tymph nodes.", (0, 11)),
        ("Nineteen lymph nodes are dissected from the specimen. They are all negative.", (0, 19)),
        ("Twelve lymph nodes were examined. Two of them contain metastatic carcinoma.", (2, 12)),
        ("Twelve lymph nodes, three positive for adenocarcinoma.", (3, 12)),
        ("Metastatic carcinoma to three (3) lymph nodes.", (3, 3)),
        ("One hilar node and three mesenteric nodes are negative for tumor.", (0, 4)),
        ("None of sixteen lymph nodes contains tumor.", (0, 16)),
        ("Metastatic carcinoma in lymph nodes (No III/XXIV).", (3, 24)),
        ("Number of nodes with macrometastases: 1. Number of nodes with micrometastases: 2. "
         "Total number of nodes examined: 7.", (3, 7)),
        ("Total number of nodes examined (sentinel and nonsentinel): 14. Number of lymph nodes with macrometastases "
         "(greater than 2 mm): 1. Number with micrometastases (greater than 0.2 mm to 2 mm): 0.", (1, 14)),
        ("Metastatic carcinoma is present in 7. of 20 lymph nodes.", (7, 20)),
    ],
)  # fmt: skip
def test_counts_are_read_in_all_their_forms(text, nodes):
    assert counted(COLON + text) == nodes


@pytest.mark.parametrize(
    "text",
    [
        "Lymph nodes are present. Nuclear grade 2/3. Mitoses 3/10 hpf.",
        "Level 7 lymph node, see below.",
        "Lymph node measuring 4.5 cm.",
        "GROSS DESCRIPTION: Twelve possible lymph nodes are found, three positive by touch.",
        "BLOCK SUMMARY: A1-A4: four lymph nodes, negative areas; A5: 1/2 of a lymph node.",
        "Lymph nodes: not submitted. Grade 3 of 4 carcinoma.",
        "Lymph nodes: see report of 1/18/14.",
    ],
)
def test_what_counts_no_nodes_is_left_alone(text):
    assert counted(COLON + text) == (None, None)


def test_a_ratio_beyond_the_nodes_there_are_is_not_believed():
    assert counted(COLON + "Number of lymph nodes examined: 4. Number of lymph nodes involved: 9.") == (None, None)


PARTS = """FINAL DIAGNOSIS:
A. SENTINEL LYMPH NODE #1, EXCISION: One lymph node positive for metastatic carcinoma (1/1).
B. SENTINEL LYMPH NODE #2, EXCISION: Negative for tumor by immunohistochemistry.
C. AXILLARY CONTENTS: Two of thirteen lymph nodes positive for carcinoma (2/13).
D. BREAST, LEFT, MASTECTOMY: Invasive ductal carcinoma of the breast.
"""


def test_parts_are_added_up_once_each():
    assert counted(PARTS) == (3, 15)


def test_a_sum_is_derived_and_points_at_what_was_added():
    total = of_case(PARTS, "examined")
    assert total is not None
    assert (total.status, total.rule) == (Status.DERIVED, "node_sum/1")
    said = [PARTS[place.start : place.end] for place in total.evidence]
    assert ["One lymph node" in said[0], "LYMPH NODE #2" in said[1], "Two of thirteen" in said[2]] == [True] * 3


def test_each_part_has_its_own_count():
    values = [value for value in structure(PARTS).values if value.field == "lymph_nodes_positive" and value.part]
    assert [(value.part, value.value, value.qualifiers["station"]) for value in values] == [
        ("A", 1, "sentinel"), ("B", 0, "sentinel"), ("C", 2, "axillary")]  # fmt: skip


def test_a_summary_line_is_not_added_to_what_it_sums_up():
    summary = "E. SYNOPSIS: Lymph nodes: 3/15 in total, see parts A-C.\n"
    assert counted(PARTS + summary) == (3, 15)
    first = PARTS.replace("A. SENT", "A. BREAST, LEFT: Carcinoma. LYMPH NODES: 3 OF 15 POSITIVE.\nB. SENT", 1)
    assert counted(first)[0] == 3


def test_microscopy_and_diagnosis_tell_the_same_nodes():
    text = (
        "MICROSCOPIC DESCRIPTION: Colon carcinoma. Two of 30 nodes involved. DIAGNOSIS: Colon: carcinoma in 2/30 nodes."
    )
    assert counted(text) == (2, 30)


def test_a_checklist_goes_before_a_sum():
    checklist = "SYNOPTIC REPORT: Number of lymph nodes examined: 16. Number of lymph nodes involved: 3.\n"
    assert counted(PARTS + checklist) == (3, 16)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("淋巴结 0/5", (0, 5)),
        ("肠周淋巴结转移(2/15)", (2, 15)),
        ("共检出淋巴结12枚，其中2枚见转移。", (2, 12)),
        ("肠周淋巴结14枚，均未见癌转移。", (0, 14)),
        ("第7组淋巴结(1/3)，第8组淋巴结(0/4)。", (1, 7)),
        ("淋巴结未见癌转移（0／21），其中第1组0/8，第2组0/8，第3组0/5。", (0, 21)),
        ("十二枚淋巴结，均未见癌转移。", (0, 12)),
        ("核分裂象3/10HPF。", (None, None)),
    ],
)
def test_chinese_counts_are_read(text, nodes):
    assert counted(COLON_ZH + text) == nodes


def test_stations_in_chinese_reports_keep_their_names():
    values = structure(COLON_ZH + "第7组淋巴结(1/3)，第8组淋巴结(0/4)。").values
    stations = [
        value.qualifiers["station"] for value in values if value.field == "lymph_nodes_examined" and value.qualifiers
    ]
    assert stations == ["第7组", "第8组"]


def test_a_flood_of_counts_is_cut_off():
    flood = " ".join(f"Level {level}: one of two lymph nodes positive." for level in range(1, 600))
    assert len([value for value in structure(COLON + flood).values if value.field == "lymph_nodes_examined"]) <= 151


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("Extranodal extension: Present, 4 mm.", "present"),
        ("Extracapsular extension is not identified.", "absent"),
        ("Nodes without extranodal spread.", "absent"),
    ],
)
def test_extranodal_extension_is_a_finding(text, finding):
    value = next(value for value in structure(BREAST + text).values if value.field == "extranodal_extension")
    assert value.value == finding
