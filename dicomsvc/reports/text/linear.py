"""RE2 patterns whose cost at a place of a text does not grow with the text.

The package's own pattern counts the characters of the whole text at each call and asks for its groups' names at each
match; with some hundred calls a report that cost more than the searches. This is its ``_match`` with offsets kept.
"""

from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Any

import re2

_NONE = (-1, -1)
_SHORT = 300
"""Stretches of fewer characters are not worth keeping."""


class LinearPattern(re2._Regexp):  # type: ignore[misc]
    """As what ``re2.compile`` gives, for `str` alone; in ASCII, bytes are characters."""

    __slots__ = ("_count", "_names")

    def __init__(self, expression: str, options: Any) -> None:
        super().__init__(expression, options)
        self._count = int(super().groups)
        self._names: dict[str, int] = super().groupindex

    @property
    def groups(self) -> int:
        return self._count

    @property
    def groupindex(self) -> dict[str, int]:
        return self._names

    def _match(self, anchor: Any, text: str, pos: int | None = None, endpos: int | None = None) -> Iterator[Any]:
        first = 0 if pos is None else max(0, min(pos, len(text)))
        last = len(text) if endpos is None else max(0, min(endpos, len(text)))
        if first > last:
            return
        encoded, starts = (text.encode(), None) if text.isascii() else _in_bytes(text)
        place, finish = (first, last) if starts is None else (starts[first], starts[last])
        while True:
            spans = self._regexp.Match(anchor, encoded, place, finish)
            if spans[0] == _NONE:
                return
            yield re2._Match(self, text, first, last, spans if starts is None else _characters(spans, starts))
            if place == finish:
                return
            place = spans[0][1] if spans[0][1] != place else _next(place, starts)


def _next(place: int, starts: tuple[int, ...] | None) -> int:
    return place + 1 if starts is None else starts[bisect_left(starts, place) + 1]


def _characters(spans: Any, starts: tuple[int, ...]) -> list[tuple[int, int]]:
    return [span if span == _NONE else (bisect_left(starts, span[0]), bisect_left(starts, span[1])) for span in spans]


def _in_bytes(text: str) -> tuple[bytes, tuple[int, ...]]:
    """Return ``text`` in UTF-8 and at which byte each of its characters begins, and the last one ends."""
    return _encoded(text) if len(text) < _SHORT else _kept(text)


@lru_cache(maxsize=4)
def _kept(text: str) -> tuple[bytes, tuple[int, ...]]:
    return _encoded(text)


def _encoded(text: str) -> tuple[bytes, tuple[int, ...]]:
    return text.encode(), (0, *accumulate(map(_bytes, text)))


def _bytes(character: str) -> int:
    point = ord(character)
    return 1 if point < 0x80 else 2 if point < 0x800 else 3 if point < 0x10000 else 4
