"""A value's code and words, the same for all ways out."""

import pytest

from dicomsvc.reports import coded
from dicomsvc.reports.schema import fields
from dicomsvc.reports.values import Coding, FieldValue


@pytest.mark.parametrize(
    ("value", "english", "chinese"),
    [
        (FieldValue("laterality", "left"), "Left", "左侧"),
        (FieldValue("lymphovascular_invasion", "absent"), "Absent", "无"),
        (FieldValue("pt_category", "t1b"), "T1b", "T1b"),
        (FieldValue("made_up", "ductal_carcinoma_in_situ"), "ductal carcinoma in situ", "ductal carcinoma in situ"),
        (FieldValue("made_up", "Seen in A_1"), "Seen in A_1", "Seen in A_1"),
        (FieldValue("made_up", 4.5), "4.5", "4.5"),
    ],
)
def test_value_in_words_of_both_languages(value: FieldValue, english: str, chinese: str) -> None:
    assert (coded.answer_text(value, "en"), coded.answer_text(value, "zh")) == (english, chinese)


def test_own_code_goes_before_that_of_the_option_and_of_the_common_word() -> None:
    own = Coding("urn:x", "1", "one")
    assert coded.answer(FieldValue("laterality", "left", code=own)) == own
    assert coded.answer(FieldValue("laterality", "left")) == Coding("http://snomed.info/sct", "7771000", "Left")
    assert coded.answer(FieldValue("made_up", "present")) == Coding("http://snomed.info/sct", "52101004", "Present")
    assert coded.answer(FieldValue("made_up", "something else")) is None


def test_unverified_codes_do_not_go_out() -> None:
    unverified = [field for field in fields().values() if field.concept is not None and not field.concept.verified]
    options = [
        (field, option)
        for field in fields().values()
        for option in field.options
        if option.concept is not None and not option.concept.verified and option.value not in ("present", "absent")
    ]
    for field in unverified:
        assert coded.question(field.id) is None
    for field, option in options:
        assert coded.answer(FieldValue(field.id, option.value)) in (None, coded.answer(FieldValue("x", option.value)))


def test_field_of_another_version_is_called_by_its_name() -> None:
    assert coded.title("field_of_old") == "field of old"
    assert coded.question("field_of_old") is None


def test_numbers_are_numbers_and_words_of_a_value_set_are_words() -> None:
    assert coded.number(FieldValue("x", 3)) == 3
    assert coded.number(FieldValue("x", "3")) is None
    assert coded.is_word(FieldValue("laterality", "left"))
    assert not coded.is_word(FieldValue("x", "free text"))
