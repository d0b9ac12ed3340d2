"""Dates and times that are moved by whole days, or shown to be such and kept (PS3.15 E.3.6; PS3.5 6.2)."""

import re
from datetime import date, timedelta
from typing import Final

DUMMY: Final = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})\Z", re.ASCII)
_TIME = re.compile(r"\d{2}:?(?:\d{2}:?(?:\d{2}(?:\.\d{1,6})?)?)?\Z", re.ASCII)
_DATETIME = re.compile(
    r"(?P<year>\d{4})(?P<month>\d{2})?(?P<day>\d{2})?(?P<rest>(?:\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?)"
    r"(?P<zone>[+-]\d{4})?\Z",
    re.ASCII,
)


def moved(vr: str, value: str, days: int) -> str | None:
    """Return one value of VR DA, TM or DT moved by ``days``; None where it is no such value.

    Times of day stay. A date and time without month or day is moved as a whole and stays as coarse as it was.
    """
    value = value.strip(" \0")
    if not value:
        return ""
    if vr == "TM":
        return value.replace(":", "") if _TIME.match(value) else None
    if vr == "DA":
        match = _DATE.match(value)
        return None if match is None else _moved(match[1], match[2], match[3], days)
    match = _DATETIME.match(value)
    if match is None:
        return None
    year, month, day = match["year"], match["month"], match["day"]
    shifted = _moved(year, month or "07", day or ("01" if month is None else "15"), days)
    if shifted is None:
        return None
    precision = 4 + 2 * (month is not None) + 2 * (day is not None)
    return shifted[:precision] + match["rest"] + (match["zone"] or "")


def _moved(year: str, month: str, day: str, days: int) -> str | None:
    try:
        shifted = date(int(year), int(month), int(day)) + timedelta(days)
    except (ValueError, OverflowError):
        return None
    return f"{shifted.year:04d}{shifted.month:02d}{shifted.day:02d}"
