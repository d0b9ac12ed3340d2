"""Import options."""

import pytest

from dicomsvc.errors import BadRequest
from dicomsvc.ingest.requests import ImportOptions, read_options, read_options_json


def test_what_is_none_counts_as_not_given() -> None:
    assert read_options({"metadata": None, "mpp": None, "deidentify": True}) == ImportOptions(deidentify=True)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"mpp": 0}', '{"colour": 1}'])
def test_what_is_not_understood_is_a_bad_request(text: str) -> None:
    with pytest.raises(BadRequest):
        read_options_json(text)


def test_an_error_names_the_field_and_not_its_value() -> None:
    with pytest.raises(BadRequest, match="mpp") as caught:
        read_options_json('{"mpp": "Eva Example"}')
    assert "Eva" not in str(caught.value)
