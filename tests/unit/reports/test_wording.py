"""Wordings of the tables as patterns."""

import pytest

from dicomsvc.reports.schema import fields
from dicomsvc.reports.text.wording import compiled, searcher


@pytest.mark.parametrize(
    "text", ["perineural invasion", "perineural. invasion", "perineural\n invasion", "peri-neural-invasion"]
)
def test_a_space_of_a_wording_fits_what_scanning_puts_between_words(text: str) -> None:
    assert compiled(["peri ?neural invasion"]).search(text)


def test_a_wording_fits_whole_words_alone() -> None:
    assert compiled(["right"]).search("bright copyright") is None
    assert compiled(["pr"]).search("prostate") is None


def test_a_chinese_wording_needs_no_blanks_around_it() -> None:
    found = compiled(["神经侵犯"]).search("可见神经侵犯及脉管癌栓")
    assert found is not None and found.span() == (2, 6)


def test_no_wordings_find_nothing() -> None:
    assert compiled([]).search("anything") is None


def test_an_expression_that_the_engine_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="RE2"):
        searcher(r"a(?!b)")


def test_an_expression_that_backtracking_would_never_finish_ends() -> None:
    bomb = searcher(r"(a+)+$")
    assert bomb.search("a" * 50_000 + "b") is None


def test_every_field_of_the_tables_has_titles_and_wordings_in_both_languages() -> None:
    for field in fields().values():
        assert field.title["en"] and field.title["zh"], field.id
        assert all(option.title["en"] and option.title["zh"] for option in field.options), field.id
