"""What a search asks of an attribute's value, read from the text of the key (PS3.4 C.2.2.2).

====================  ==========================================================================================
`Texts`               single value, wildcards ``*`` and ``?``, several values; also lists of UIDs
`Names`               the same of person names: without case, any component group
`FuzzyName`           every word is somewhere in the name, without case and accents
`Numbers`             equal as numbers
`Range`               dates, times and date-times between two ends, both included
`Empty`               the attribute has no value
====================  ==========================================================================================

A universal key asks nothing and has no match at all.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.errors import BadRequest

_TEXT_VRS: Final = frozenset("AE AS CS LO LT SH ST UC UN UR UT AT".split())
_NO_SPLIT_VRS: Final = frozenset("LT ST UT UR".split())
_NUMBER_VRS: Final = frozenset("IS DS US SS UL SL UV SV FL FD".split())
_MAX_VALUES: Final = 5000
_MAX_PATTERN: Final = 400
_NUMBER = re.compile(r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,2})?\Z", re.ASCII)
_WORD_BORDERS = re.compile(r"[\s^=,*?\\]+")
_ACCENTS = re.compile("[\u0300-\u036f]")


@dataclass(frozen=True, slots=True)
class Texts:
    """Any of these; ``*`` and ``?`` are wildcards where ``wildcards`` says so."""

    values: tuple[str, ...]
    wildcards: bool = True


@dataclass(frozen=True, slots=True)
class Names:
    """Any of these, upper case."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FuzzyName:
    """All of these words, folded by `fold`."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Numbers:
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Between two ends, which sort as texts: ``YYYYMMDD``, ``HHMMSS.FFFFFF``, ``YYYYMMDDHHMMSSFFFFFF``."""

    low: str | None
    high: str | None

    @property
    def open(self) -> bool:
        return self.low != self.high


@dataclass(frozen=True, slots=True)
class Empty:
    """No value."""


Match = Texts | Names | FuzzyName | Numbers | Range | Empty


def fold(text: str) -> str:
    """Return a text without case and accents, as the function ``fold`` of the database does."""
    return _ACCENTS.sub("", unicodedata.normalize("NFKD", text)).upper()


def parse_match(name: str, vr: str, text: str, *, fuzzy: bool = False, empty: bool = False) -> Match | None:
    """Return what ``text`` asks of an attribute of this VR; None when it asks nothing (universal matching).

    Parameters
    ----------
    name
        What a message calls the attribute.
    fuzzy, empty
        The client asked for fuzzy matching of names; for ``""`` to mean an attribute without value.

    Raises
    ------
    BadRequest
        When the text is no value of that VR; the message does not repeat it.
    """
    text = text.strip(" \0")
    if "\0" in text:
        raise BadRequest(f"search key {name!r}: a value holds a NUL character")
    if not text or set(text) == {"*"}:
        return None
    if text == '""' and empty:
        return Empty()
    if vr == "PN":
        return _fuzzy_name(text) if fuzzy else Names(_split(name, text.upper(), "\\"))
    if vr == "UI":
        return Texts(_uids(name, text), wildcards=False)
    if vr in _RANGES:
        return _range(name, text, _RANGES[vr])
    if vr in _NUMBER_VRS:
        return _numbers(name, text)
    if vr in _TEXT_VRS:
        return _texts(name, vr, text)
    raise BadRequest(f"search key {name!r}: attributes of VR {vr} cannot be matched with a value")


def _split(name: str, text: str, separators: str) -> tuple[str, ...]:
    values = tuple(dict.fromkeys(part.strip() for part in re.split(f"[{re.escape(separators)}]", text)))
    values = tuple(value for value in values if value)
    if not values or len(values) > _MAX_VALUES or max(map(len, values)) > _MAX_PATTERN:
        raise BadRequest(f"search key {name!r}: a value is too long, or there are none or too many")
    return values


def _fuzzy_name(text: str) -> FuzzyName | None:
    words = tuple(word for word in _WORD_BORDERS.split(fold(text[:_MAX_PATTERN])) if word)
    return FuzzyName(words) if words else None


def _uids(name: str, text: str) -> tuple[str, ...]:
    uids = _split(name, text, ",\\")
    if not all(is_valid_uid(uid) for uid in uids):
        raise BadRequest(f"search key {name!r}: a value is not a UID")
    return uids


def _texts(name: str, vr: str, text: str) -> Texts:
    if vr in _NO_SPLIT_VRS:
        if len(text) > _MAX_PATTERN:
            raise BadRequest(f"search key {name!r}: the value is too long")
        return Texts((text,), wildcards=vr != "UR")
    # A comma is no character of a code string (PS3.5 6.2); viewers write lists of modalities with it.
    return Texts(_split(name, text, ",\\" if vr == "CS" else "\\"), wildcards=vr not in ("AS", "AT"))


def _numbers(name: str, text: str) -> Numbers:
    values = _split(name, text, "\\")
    if not all(_NUMBER.match(value) for value in values):
        raise BadRequest(f"search key {name!r}: a value is not a number")
    return Numbers(values)


_Ends = Callable[[str], tuple[str, str] | None]
_DATE = re.compile(r"(\d{4})(\d\d)?(\d\d)?\Z", re.ASCII)
_TIME = re.compile(r"(\d\d)(\d\d)?(\d\d)?(?:\.(\d{1,6}))?\Z", re.ASCII)
_OFFSET = re.compile(r"[+-]\d{4}\Z", re.ASCII)


def _date_ends(text: str) -> tuple[str, str] | None:
    found = _DATE.match(text.replace(".", ""))
    if found is None or not "00" < (found[2] or "01") <= "12" or not "00" < (found[3] or "01") <= "31":
        return None
    year, month, day = found.groups()
    return f"{year}{month or '01'}{day or '01'}", f"{year}{month or '12'}{day or '31'}"


def _time_ends(text: str) -> tuple[str, str] | None:
    found = _TIME.match(text.replace(":", ""))
    if found is None or (found[4] and not found[3]):
        return None
    hours, minutes, seconds, fraction = found.groups()
    if hours > "23" or (minutes or "00") > "59" or (seconds or "00") > "60":
        return None
    low = f"{hours}{minutes or '00'}{seconds or '00'}.{fraction or '':0<6}"
    return low, f"{hours}{minutes or '59'}{seconds or '59'}.{fraction or '':9<6}"


def _datetime_ends(text: str) -> tuple[str, str] | None:
    local = _OFFSET.sub("", text)
    date, time = _date_ends(local[:8]), _time_ends(local[8:]) if len(local) > 8 else ("000000", "235959.999999")
    if date is None or time is None:
        return None
    low, high = (date[end] + time[end].replace(".", "") for end in (0, 1))
    return f"{low:0<20}", f"{high:0<20}"


_RANGES: Final[dict[str, _Ends]] = {"DA": _date_ends, "TM": _time_ends, "DT": _datetime_ends}


def _range(name: str, text: str, ends: _Ends) -> Range:
    """Read ``A``, ``A-B``, ``A-`` or ``-B``; of a date-time, a hyphen may also begin the offset from UTC."""
    whole = ends(text)
    if whole is not None:
        return Range(*whole)
    for cut in (position for position, character in enumerate(text) if character == "-"):
        before, after = text[:cut].strip(), text[cut + 1 :].strip()
        low, high = ends(before) if before else None, ends(after) if after else None
        if (before or after) and (low is not None) == bool(before) and (high is not None) == bool(after):
            return Range(low[0] if low else None, high[1] if high else None)
    raise BadRequest(f"search key {name!r}: the value is no date or time, nor a range of them")
