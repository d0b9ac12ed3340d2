"""Numerals of grades and levels: Arabic, Roman as typed and as scanned ("Il" is II), Chinese typesetting's, words."""

NUMERALS = {
    "i": 1,
    "l": 1,
    "ii": 2,
    "il": 2,
    "ll": 2,
    "li": 2,
    "iii": 3,
    "iil": 3,
    "ill": 3,
    "lll": 3,
    "iv": 4,
    "lv": 4,
}
NUMERALS |= {"v": 5, "vi": 6, "ⅰ": 1, "ⅱ": 2, "ⅲ": 3, "ⅳ": 4, "ⅴ": 5, "ⅵ": 6}
NUMERALS |= {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "一": 1,
    "二": 2,
    "三": 3,
    "四": 4,
    "五": 5,
}
NUMBER = (
    r"(?:[0-6]|i{1,3}|iv|vi?|[il]{1,3}|lv|[ⅰⅱⅲⅳⅴⅵ]|one|two|three|four|five|six|[一二三四五](?=级|期|度))"
    r"(?![a-z0-9%]|\.\d|\s?[cm]m\b)"
)
"""A numeral up to six, in normalised text; not what begins a word, a decimal or a length."""


def number(numeral: str) -> int:
    """Return what a numeral that `NUMBER` matched counts."""
    return NUMERALS.get(numeral) or int(numeral)
