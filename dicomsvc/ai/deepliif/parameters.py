"""The query parameters of the contract."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dicomsvc.ai.ihc.cells import Thresholds
from dicomsvc.ai.ihc.thresholds import read_thresholds
from dicomsvc.errors import BadRequest

UM_A_PIXEL: Final[Mapping[str, float]] = {"10x": 1.0, "20x": 0.5, "40x": 0.25}
_NO: Final = ("false", "0", "no", "off")


@dataclass(frozen=True, slots=True)
class Wish:
    """``pil`` is read and changes nothing: there is one reader of pictures."""

    mpp: float
    thresholds: Thresholds
    slim: bool = False
    nopost: bool = False


def read_wish(query: Mapping[str, str]) -> Wish:
    """Read a query; what is not known is left alone.

    Raises
    ------
    BadRequest
        When a value is not what the contract allows; the message says what is.
    """
    resolution = query.get("resolution", "40x").lower()
    if resolution not in UM_A_PIXEL:
        raise BadRequest(f"resolution is one of {', '.join(UM_A_PIXEL)}")
    return Wish(UM_A_PIXEL[resolution], read_thresholds(query), _flag(query, "slim"), _flag(query, "nopost"))


def _flag(query: Mapping[str, str], name: str) -> bool:
    """Whether a parameter stands there, with no value or with one that is no denial."""
    return name in query and query[name].strip().lower() not in _NO
