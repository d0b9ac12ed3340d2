"""Which attribute belongs to which level of the Study Root model (PS3.3 A.1.2, PS3.18 10.6.1.2.3), and its columns."""

from typing import Any

Attributes = dict[str, dict[str, Any]]
# PostgreSQL refuses an entry of an index above 2,704 bytes. No value that these columns are for is as long (PS3.5 6.2);
# the attributes keep it whole.
MOST_CHARACTERS = 512

PATIENT_TAGS = frozenset(
    "00100010 00100020 00100021 00100022 00100024 00100030 00100032 00100040 00101000 00101001 00101002 00102160"
    " 00102201 00104000 00120062 00120063 00120064 00400039".split()
)
STUDY_TAGS = PATIENT_TAGS | frozenset(
    "0020000D 00080020 00080030 00080050 00080051 00080090 00080096 0008009C 00081030 00081032 00081048 00081060"
    " 00081080 00081084 00081110 00100212 00101010 00101020 00101030 001021A0 001021B0 00200010 00080201".split()
)
SERIES_TAGS = frozenset(
    [
        "0020000E",
        "00080060",
        "00200011",
        "00200060",
        "00080021",
        "00080031",
        "0008103E",
        "0008103F",
        "00081040",
        "00081050",
        "00081070",
        "00181030",
        "00180015",
        "00400244",
        "00400245",
        "00400250",
        "00400251",
        "00400253",
        "00400254",
        "00400275",
        "00081111",
        "00080070",
        "00080080",
        "00080081",
        "00081010",
        "00081090",
        "00181000",
        "00181020",
        "00200052",
        "00201040",
        "00540081",
    ]
)


def split_by_level(attributes: Attributes) -> tuple[Attributes, Attributes, Attributes]:
    """Split an instance's attributes into those of study, series and instance; without empty ones above instance."""
    study: Attributes = {}
    series: Attributes = {}
    instance: Attributes = {}
    for tag, element in attributes.items():
        if tag in STUDY_TAGS:
            if len(element) > 1:
                study[tag] = element
        elif tag in SERIES_TAGS:
            if len(element) > 1:
                series[tag] = element
        elif not tag.startswith("0002"):
            instance[tag] = element
    return study, series, instance


def text_value(attributes: Attributes, tag: str) -> str | None:
    """Return the element's values as one text with backslashes, or None when it is absent or empty."""
    values = attributes.get(tag, {}).get("Value")
    if not values:
        return None
    joined = "\\".join("" if value is None else str(value) for value in values)
    return joined[:MOST_CHARACTERS] or None


def person_name(attributes: Attributes, tag: str) -> str | None:
    """Return all component groups of the names, upper case, groups joined by ``=``, names by a backslash."""
    values = attributes.get(tag, {}).get("Value") or ()
    groups = ("Alphabetic", "Ideographic", "Phonetic")
    names = ["=".join(name.get(group, "") for group in groups).rstrip("=") for name in values if isinstance(name, dict)]
    return "\\".join(names).upper()[:MOST_CHARACTERS] or None


def integer_value(attributes: Attributes, tag: str) -> int | None:
    """Return the first value as an integer that fits a column, or None."""
    values = attributes.get(tag, {}).get("Value")
    try:
        number = int(values[0]) if values else None
    except (TypeError, ValueError, OverflowError):
        return None
    if number is None:
        return None
    return number if abs(number) < 2**63 else None


def normal_time(value: str | None) -> str | None:
    """Return a time of a data set as ``HHMMSS.FFFFFF``, padded with zeros, so that texts sort as times do."""
    if value is None:
        return None
    whole, _, fraction = value.replace(":", "").partition(".")
    return f"{whole:0<6.6}.{fraction:0<6.6}"


def normal_date(value: str | None) -> str | None:
    """Return a date as ``YYYYMMDD``, also from the form with dots of ACR-NEMA."""
    return value.replace(".", "").replace("-", "") if value else None


def study_columns(attributes: Attributes) -> dict[str, Any]:
    return {
        "patient_id": text_value(attributes, "00100020"),
        "patient_name": person_name(attributes, "00100010"),
        "patient_birth_date": normal_date(text_value(attributes, "00100030")),
        "accession_number": text_value(attributes, "00080050"),
        "study_id": text_value(attributes, "00200010"),
        "study_date": normal_date(text_value(attributes, "00080020")),
        "study_time": normal_time(text_value(attributes, "00080030")),
        "study_description": text_value(attributes, "00081030"),
        "referring_physician_name": person_name(attributes, "00080090"),
    }


def series_columns(attributes: Attributes) -> dict[str, Any]:
    return {
        "modality": text_value(attributes, "00080060"),
        "series_number": integer_value(attributes, "00200011"),
        "series_date": normal_date(text_value(attributes, "00080021")),
        "series_description": text_value(attributes, "0008103E"),
    }


def instance_columns(attributes: Attributes) -> dict[str, Any]:
    return {
        "instance_number": integer_value(attributes, "00200013"),
        "container_identifier": text_value(attributes, "00400512"),
    }
