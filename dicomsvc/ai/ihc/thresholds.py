"""Thresholds as text, by the names and words that DeepLIIF uses."""

from collections.abc import Mapping
from typing import Final, Literal

from dicomsvc.ai.ihc.cells import Thresholds
from dicomsvc.errors import BadRequest

_MOST_PIXELS: Final = 1 << 30


def read_thresholds(query: Mapping[str, str]) -> Thresholds:
    """Read ``prob_thresh``, ``size_thresh``, ``size_thresh_upper`` and ``marker_thresh``.

    Raises
    ------
    BadRequest
        When a value is not what is allowed; the message says what is.
    """
    size = _choice(query, "size_thresh", "auto", ("auto",), 0, _MOST_PIXELS)
    upper = _choice(query, "size_thresh_upper", "none", ("none",), 1, _MOST_PIXELS)
    marker = _choice(query, "marker_thresh", "auto", ("auto", "none"), 0, 255)
    prob = _choice(query, "prob_thresh", "150", (), 0, 254)
    return Thresholds(
        prob=int(prob),
        size=None if isinstance(size, str) else size,
        size_upper=None if isinstance(upper, str) else upper,
        marker=_marker(marker),
    )


def _marker(value: int | str) -> int | Literal["none"] | None:
    if isinstance(value, int):
        return value
    return "none" if value == "none" else None


def _choice(
    query: Mapping[str, str], name: str, default: str, words: tuple[str, ...], least: int, most: int
) -> int | str:
    text = query.get(name, default).strip().lower()
    if text in words:
        return text
    if text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most:
        return int(text)
    allowed = " or ".join((f"an integer from {least} to {most}", *words))
    raise BadRequest(f"{name} is {allowed}")
