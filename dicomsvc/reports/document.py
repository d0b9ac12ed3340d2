"""The master form of a structured report: a JSON document."""

from dataclasses import asdict
from typing import Any

from dicomsvc.reports.values import FieldValue, StructuredReport


def as_document(report: StructuredReport) -> dict[str, Any]:
    """Return the report as JSON values; the text itself is not in it."""
    return {
        "quality": asdict(report.quality),
        "organs": list(report.organs),
        "values": [_value(value) for value in report.values],
        "version": report.version,
    }


def _value(value: FieldValue) -> dict[str, Any]:
    document = asdict(value)
    document["evidence"] = [asdict(place) for place in value.evidence]
    if not value.qualifiers:
        del document["qualifiers"]
    return document
