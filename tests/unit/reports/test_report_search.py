"""Filters as people write them, places of words, texts that a database can hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.errors import BadRequest
from dicomsvc.reports.repository.filters import FieldFilter, Operator, parse_filter
from dicomsvc.reports.repository.highlights import found_in
from dicomsvc.reports.repository.storable import bigrams, storable
from dicomsvc.reports.route_models import ActionOrder


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("positive", FieldFilter("er", Operator.IS, ("positive",))),
        (" =positive ", FieldFilter("er", Operator.IS, ("positive",))),
        ("t2, t3", FieldFilter("er", Operator.IS, ("t2", "t3"))),
        ("!=absent", FieldFilter("er", Operator.IS_NOT, ("absent",))),
        (">20", FieldFilter("er", Operator.ABOVE, numbers=(20.0,))),
        (">= 2.5", FieldFilter("er", Operator.FROM, numbers=(2.5,))),
        ("<=-1", FieldFilter("er", Operator.TO, numbers=(-1.0,))),
        ("10..20", FieldFilter("er", Operator.BETWEEN, numbers=(10.0, 20.0))),
        ("~lobular", FieldFilter("er", Operator.CONTAINS, ("lobular",))),
        ("*", FieldFilter("er", Operator.ANY)),
        ("-", FieldFilter("er", Operator.NONE)),
    ],
)
def test_a_filter_means_what_it_says(said: str, wanted: FieldFilter) -> None:
    assert parse_filter("er", said) == wanted


@given(name=st.text(max_size=20), said=st.text(max_size=60))
def test_any_filter_is_understood_or_refused(name: str, said: str) -> None:
    try:
        parsed = parse_filter(name, said)
    except BadRequest:
        return
    assert parsed.field == name
    assert bool(parsed.words) + bool(parsed.numbers) == (parsed.operator not in (Operator.ANY, Operator.NONE))


@given(text=st.text())
def test_what_is_stored_has_the_length_of_what_came(text: str) -> None:
    stored = storable(text)
    assert len(stored) == len(text)
    assert "\0" not in stored
    stored.encode()


def test_pairs_are_of_chinese_characters_that_stand_side_by_side() -> None:
    assert bigrams("左肾 CK7癌a栓") == ["左", "肾", "左肾", "癌", "栓"]


@given(text=st.text(), words=st.lists(st.text(min_size=1, max_size=5), max_size=3))
def test_highlights_lie_in_the_text_in_order_and_apart(text: str, words: list[str]) -> None:
    found = found_in(text, None, words)
    last = 0
    for start, end in found.places:
        assert last <= start < end <= len(text)
        last = end
    assert "".join(piece.text for piece in found.snippet) in text


def test_the_snippet_begins_shortly_before_the_first_word() -> None:
    text = "a " * 500 + "tumour of the kidney" + " b" * 500
    found = found_in(text, None, ["kidney"])
    assert [piece.text for piece in found.snippet if piece.match] == ["kidney"]
    assert len("".join(piece.text for piece in found.snippet)) <= 320


@pytest.mark.parametrize("value", [2, 2.5, "2", "t2a", None])
def test_a_value_keeps_its_type_on_the_way_in(value: object) -> None:
    said = ActionOrder.model_validate({"action": "correct", "number": 1, "value": value}).said.value
    assert (said, type(said)) == (value, type(value))
