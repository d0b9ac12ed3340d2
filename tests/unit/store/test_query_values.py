"""Search keys and their values: what is read out of the text, what is refused (PS3.4 C.2.2.2)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.errors import BadRequest
from dicomsvc.store.query import Level, level_of, parse_attribute, parse_match
from dicomsvc.store.query.conditions import Parameters, like_pattern, name_pattern, value_condition
from dicomsvc.store.query.values import Empty, FuzzyName, Match, Names, Numbers, Range, Texts, fold


@pytest.mark.parametrize(
    ("name", "path", "vr", "level"),
    [
        ("PatientName", ("00100010",), "PN", Level.STUDY),
        ("00100010", ("00100010",), "PN", Level.STUDY),
        ("0020000e", ("0020000E",), "UI", Level.SERIES),
        ("ModalitiesInStudy", ("00080061",), "CS", Level.STUDY),
        ("NumberOfSeriesRelatedInstances", ("00201209",), "IS", Level.SERIES),
        ("SpecimenDescriptionSequence.00400551", ("00400560", "00400551"), "LO", Level.INSTANCE),
        ("00400275.RequestedProcedureID", ("00400275", "00401001"), "SH", Level.SERIES),
        ("00091001", ("00091001",), "UN", Level.INSTANCE),
    ],
)
def test_an_attribute_is_named_by_keyword_tag_or_path(name: str, path: tuple[str, ...], vr: str, level: Level) -> None:
    attribute = parse_attribute(name)
    assert (attribute.path, attribute.vr, attribute.level) == (path, vr, level)
    assert level_of(attribute.tag) is level


@pytest.mark.parametrize("name", ["", "Nonsense", "0010001", "PatientID.PatientName", "a.b", ".", "(0010,0010)"])
def test_what_names_no_attribute_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        parse_attribute(name)


@pytest.mark.parametrize(
    ("vr", "text", "match"),
    [
        ("LO", " a b ", Texts(("a b",))),
        ("LO", r"a\b\a", Texts(("a", "b"))),
        ("LO", "a,b", Texts(("a,b",))),
        ("CS", "SM,SEG", Texts(("SM", "SEG"))),
        ("UT", r"a\b", Texts((r"a\b",))),
        ("UI", r"1.2,1.3\1.4", Texts(("1.2", "1.3", "1.4"), wildcards=False)),
        ("PN", "Müller^a", Names(("MÜLLER^A",))),
        ("IS", r"5\+6.0", Numbers(("5", "+6.0"))),
        ("DA", "20260102", Range("20260102", "20260102")),
        ("DA", "202601", Range("20260101", "20260131")),
        ("DA", "20260102-20260103", Range("20260102", "20260103")),
        ("DA", "-2026", Range(None, "20261231")),
        ("DA", "2026-", Range("20260101", None)),
        ("TM", "10", Range("100000.000000", "105959.999999")),
        ("TM", "10:11:12.5", Range("101112.500000", "101112.599999")),
        ("TM", "-1011", Range(None, "101159.999999")),
        ("DT", "20260102", Range("20260102000000000000", "20260102235959999999")),
        ("DT", "2026010210-2026010211", Range("20260102100000000000", "20260102115959999999")),
        # A hyphen may begin the offset from UTC.
        ("DT", "2026010210-0500", Range("20260102100000000000", "20260102105959999999")),
        ("DT", "2026010210-0500-2026010212-0500", Range("20260102100000000000", "20260102125959999999")),
    ],
)
def test_a_value_is_read_by_its_vr(vr: str, text: str, match: Match) -> None:
    assert parse_match("key", vr, text) == match


@pytest.mark.parametrize("vr", ["LO", "PN", "UI", "DA", "SQ", "OB", "IS"])
@pytest.mark.parametrize("text", ["", "*", "**", "  "])
def test_an_empty_key_asks_nothing(vr: str, text: str) -> None:
    assert parse_match("key", vr, text) is None


def test_two_quotes_ask_for_no_value_only_when_the_client_says_so() -> None:
    assert parse_match("key", "LO", '""', empty=True) == Empty()
    assert parse_match("key", "LO", '""') == Texts(('""',))


def test_a_fuzzy_name_is_its_words_without_case_and_accents() -> None:
    assert parse_match("key", "PN", "Müller^*jose, 张", fuzzy=True) == FuzzyName(("MULLER", "JOSE", "张"))
    assert parse_match("key", "PN", "^", fuzzy=True) is None
    assert parse_match("key", "LO", "Müller", fuzzy=True) == Texts(("Müller",))


@pytest.mark.parametrize(
    ("vr", "text"),
    [
        ("UI", "1.2.*"),
        ("UI", "1..2"),
        ("DA", "2026-01-02"),
        ("DA", "20261301"),
        ("DA", "20260132"),
        ("DA", "-"),
        ("TM", "24"),
        ("TM", "10.5"),
        ("DT", "x"),
        ("IS", "1-2"),
        ("DS", "NaN"),
        ("DS", "1e999"),
        ("IS", "٣"),
        ("SQ", "x"),
        ("OB", "x"),
        ("LO", "a\0b"),
        ("LO", "x" * 1000),
        ("PN", "\\"),
        ("UI", ",".join(["1.2"] * 3 + [f"1.{n}" for n in range(6000)])),
    ],
)
def test_a_wrong_value_is_refused_without_being_repeated(vr: str, text: str) -> None:
    with pytest.raises(BadRequest, match="'key'") as refused:
        parse_match("key", vr, text)
    assert len(refused.value.message) < 200


@given(st.sampled_from("AE AS AT CS DA DS DT FD IS LO PN SH SQ TM UI UN US UT".split()), st.text(max_size=60))
def test_any_text_is_either_read_or_refused(vr: str, text: str) -> None:
    try:
        match = parse_match("key", vr, text, fuzzy=len(text) % 2 == 0, empty=True)
    except BadRequest:
        return
    if match is not None:
        parameters = Parameters()
        condition = value_condition("value", match, parameters)
        assert parameters.values or isinstance(match, Empty)
        assert set(re.findall(r"%\((\w+)\)s", condition)) == set(parameters.values)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("SMITH", "SMITH", True),
        ("SMITH", "SMITH^^", True),
        ("SMITH^", "SMITH", True),
        ("SMITH", "SMITH^JOHN", False),
        ("SM?TH*", "SMITH^JOHN", True),
        ("*JOHN", "SMITH^JOHN^", True),
        ("SMITH", "X=SMITH=Y", True),
        ("S*Y", "SX=YY", False),
        ("X=S*", "X=SMITH", True),
        ("X=", "X=SMITH", True),
        ("=SMITH", "X=SMITH=Y", True),
        ("Y=SMITH", "X=SMITH", False),
        ("SMITH", r"X\SMITH", True),
        ("A.C", "ABC", False),
        ("(", "(", True),
    ],
)
def test_a_name_matches_any_component_group_and_ignores_empty_ends(pattern: str, name: str, matches: bool) -> None:
    # PostgreSQL's advanced regular expressions and Python's agree on what is used here.
    assert bool(re.search(name_pattern(pattern), name)) is matches


def test_wildcards_become_those_of_like_and_its_own_are_escaped() -> None:
    assert like_pattern(r"a*b?c%d_e\f") == r"a%b_c\%d\_e\\f"


@pytest.mark.parametrize(("text", "folded"), [("Müller", "MULLER"), ("é", "E"), ("张三", "张三"), ("Øß", "ØSS")])
def test_folding_takes_case_and_accents_away(text: str, folded: str) -> None:
    assert fold(text) == folded
