"""The master form of a structured report: a JSON document."""

from dataclasses import asdict, fields
from typing import Any

from dicomsvc.reports.values import FieldValue, StructuredReport

_NAMES = tuple(field.name for field in fields(FieldValue))


def as_document(report: StructuredReport) -> dict[str, Any]:
    """Return the report as JSON values; the text itself is not in it."""
    return {
        "quality": asdict(report.quality),
        "organs": list(report.organs),
        "values": [_value(value) for value in report.values],
        "version": report.version,
    }


def _value(value: FieldValue) -> dict[str, Any]:
    # Not `asdict`, which copies every piece of every value.
    document = {name: getattr(value, name) for name in _NAMES}
    document["evidence"] = [{"start": place.start, "end": place.end} for place in value.evidence]
    document["code"] = asdict(value.code) if value.code is not None else None
    if not value.qualifiers:
        del document["qualifiers"]
    return document
