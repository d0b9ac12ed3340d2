"""Values out of DICOM JSON (PS3.18 F), by tag; what is missing or of another kind is a default."""

from collections.abc import Mapping
from typing import Any

Dataset = Mapping[str, Mapping[str, Any]]


def first(ds: Dataset, tag: str) -> Any:
    """Return the first value of an element, or None."""
    values = ds.get(tag, {}).get("Value")
    return values[0] if values else None


def number(ds: Dataset, tag: str, default: float) -> float:
    value = first(ds, tag)
    return float(value) if isinstance(value, int | float) else default


def integer(ds: Dataset, tag: str, default: int) -> int:
    value = first(ds, tag)
    return int(value) if isinstance(value, int | float) else default


def text(ds: Dataset, tag: str) -> str:
    value = first(ds, tag)
    return value if isinstance(value, str) else ""


def texts(ds: Dataset, tag: str) -> tuple[str, ...]:
    return tuple(value for value in ds.get(tag, {}).get("Value", ()) if isinstance(value, str))


def numbers(ds: Dataset, tag: str) -> tuple[float, ...]:
    return tuple(float(value) for value in ds.get(tag, {}).get("Value", ()) if isinstance(value, int | float))


def item(ds: Dataset, *tags: str) -> Dataset:
    """Return the first item of a sequence, nested as the tags say; an empty one where there is none."""
    for tag in tags:
        value = first(ds, tag)
        ds = value if isinstance(value, Mapping) else {}
    return ds


def items(ds: Dataset, tag: str) -> tuple[Dataset, ...]:
    return tuple(value for value in ds.get(tag, {}).get("Value", ()) if isinstance(value, Mapping))
