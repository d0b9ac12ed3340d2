"""Text as PostgreSQL takes it, and as it is found again."""

import re
from typing import Final

_LONE_SURROGATE: Final = re.compile("[\0\ud800-\udfff]")
_FIRST_OF_CHINESE: Final = "\u2e80"
_LARGEST_INDEXED: Final = 100_000


def storable(text: str) -> str:
    """Return a text of the same length without what no text in PostgreSQL can hold: NUL and halves of characters."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def bigrams(text: str) -> list[str]:
    """Return the Chinese characters of a text, and the pairs of such that stand side by side, each once."""
    found: dict[str, None] = {}
    previous = ""
    for character in text[:_LARGEST_INDEXED]:
        if character < _FIRST_OF_CHINESE:
            previous = ""
            continue
        found[character] = None
        if previous:
            found[previous + character] = None
        previous = character
    return list(found)


def is_chinese(text: str) -> bool:
    """Whether any character is of a script that has no blanks between words."""
    return any(character >= _FIRST_OF_CHINESE for character in text)
