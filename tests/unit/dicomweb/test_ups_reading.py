import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.dicom.xml import dataset_xml
from dicomsvc.dicomweb.workitems.reading import parse_attributes, read_order, read_update
from dicomsvc.errors import BadRequest

PLAIN = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8)
TAGS = st.sampled_from(
    ["00741000", "00404018", "00404021", "00741210", "00100010", "00741200", "0074100e", "x", "1234567"]
)
VRS = st.sampled_from(["CS", "SQ", "PN", "LO", "", "SQL", "UN"])


def element(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"vr": VRS}, optional={"Value": st.lists(values, max_size=3), "InlineBinary": PLAIN})


JSON = st.recursive(
    PLAIN,
    lambda inner: st.dictionaries(TAGS, element(inner) | inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_read_or_refused(document: Any) -> None:
    with suppress(BadRequest):
        attributes = parse_attributes(json.dumps(document).encode())
        dataset_xml(attributes)
        with suppress(BadRequest):
            read_update(attributes, {})
        read_order(
            attributes | {"00741000": {"vr": "CS", "Value": ["SCHEDULED"]}}, lambda value, scheme: ("analyze", {})
        )


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with suppress(BadRequest):
        parse_attributes(body)
