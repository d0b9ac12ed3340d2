"""The data types that the resources are made of, as JSON values."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from dicomsvc.reports import coded
from dicomsvc.reports.values import Coding

Json = dict[str, Any]

LOINC: Final = "http://loinc.org"
EXTENSIONS: Final = "https://github.com/dicomsvc/dicomsvc/fhir/StructureDefinition"
"""Root of the URIs of our extensions, which are described in docs/reports-exchange.md."""
CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
IDENTIFIER_TYPES: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"


def coding(code: Coding) -> Json:
    return {"system": code.system, "code": code.code, "display": code.display}


def concept(text: str, code: Coding | None = None) -> Json:
    """Return a CodeableConcept; ``text`` is always there."""
    return {"coding": [coding(code)], "text": text} if code is not None else {"text": text}


def field_concept(field_id: str, language: str) -> Json:
    return concept(coded.title(field_id, language), coded.question(field_id))


def extension(name: str, **value: Any) -> Json:
    """Return an extension of ours; ``value`` is one ``valueX``."""
    return {"url": f"{EXTENSIONS}/{name}", **value}


def nested(name: str, parts: Iterable[tuple[str, Json]]) -> Json:
    return {"url": f"{EXTENSIONS}/{name}", "extension": [{"url": part, **value} for part, value in parts]}


def urn(*parts: str) -> str:
    """Return a full URL that depends on nothing but the parts: a repeated export has the same."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, '|'.join(('dicomsvc', *parts)))}"


def reference(full_url: str) -> Json:
    return {"reference": full_url}


def instant(when: datetime) -> str:
    """Return a time with its zone; one without is taken for UTC."""
    aware = when if when.utcoffset() is not None else when.replace(tzinfo=UTC)
    return aware.isoformat(timespec="seconds")


def human_name(person_name: str) -> str:
    """Return a DICOM Person Name as people write it: its first group that says something, family name last."""
    group = next((each for each in person_name.split("=") if each.strip("^ ")), "")
    parts = [*group.split("^"), "", "", "", "", ""][:5]
    family, given, middle, prefix, suffix = (part.strip() for part in parts)
    plain = " ".join(part for part in (prefix, given, middle, family) if part)
    return f"{plain}, {suffix}" if suffix else plain
