"""Checks coded concepts: what a code sequence can hold, and whether a code can be right at all."""

from collections.abc import Mapping
from typing import cast

from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from dicomsvc.ai.catalogue.fields import Fields


# Verhoeff's check digit, which every SNOMED CT identifier ends with: multiplication in the dihedral group D5, and the
# permutation that is applied once more for each place.
def _product(a: int, b: int) -> int:
    turned, flipped = ((a + b) % 5, b >= 5) if a < 5 else ((a - b) % 5, b < 5)
    return turned + 5 * flipped


_D5 = tuple(tuple(_product(a, b) for b in range(10)) for a in range(10))
_PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def take_code(fields: Fields, key: str) -> Code:
    """Take ``{ value, scheme, meaning }`` as PS3.3 8.8 allows it.

    Codes of DCM must be in PS3.16's tables with this meaning; those of SCT must have the right check digit.
    """
    table = fields.table(key)
    value = table.text("value", longest=16)
    scheme = table.text("scheme", longest=16)
    meaning = table.text("meaning", longest=64)
    table.done()
    if scheme == "SCT" and not is_sctid(value):
        table.fail("value", f"is no SNOMED CT identifier: {value} has a wrong check digit or length")
    if scheme == "DCM":
        known = _dcm_meaning(value)
        if known is None:
            table.fail("value", f"is no code of DCM: {value}")
        if known.casefold() != meaning.casefold():
            table.fail("meaning", f"of DCM {value} is {known!r}")
    return Code(value, scheme, meaning)


def _dcm_meaning(value: str) -> str | None:
    tables = cast("Mapping[str, Mapping[str, tuple[str, object]]]", concepts["DCM"])
    return next((entries[value][0] for entries in tables.values() if value in entries), None)


def is_sctid(value: str) -> bool:
    """Whether a text is a SNOMED CT identifier: 6 to 18 digits, the last one Verhoeff's."""
    if not (value.isascii() and value.isdigit() and 6 <= len(value) <= 18):
        return False
    check = 0
    for place, character in enumerate(reversed(value)):
        digit = int(character)
        for _ in range(place % 8):
            digit = _PERMUTATION[digit]
        check = _D5[check][digit]
    return check == 0
