"""Concept names and values of the tree: verified codes, else the private scheme of `dicomsvc.objects.codes`."""

import hashlib
from typing import Final

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomsvc.objects.codes import NO_UNITS, PRIVATE_SCHEME
from dicomsvc.reports import coded
from dicomsvc.reports.schema import SYSTEMS
from dicomsvc.reports.values import Coding, FieldValue, Status

TITLE: Final = Code("11526-1", "LN", "Pathology study")
REPORT_TEXT: Final = Code("REPORT_TEXT", PRIVATE_SCHEME, "Text of Report")
PLACE: Final = Code("TEXT_PLACE", PRIVATE_SCHEME, "Place in Text of Report, Characters")
VALUE_STATUS: Final = Code("VALUE_STATUS", PRIVATE_SCHEME, "How Value Came to Be")
ASSERTION: Final = Code("ASSERTION", PRIVATE_SCHEME, "What is Said of Finding")
RULE: Final = Code("RULE", PRIVATE_SCHEME, "Rule that Found Value")
SECTIONS: Final = {
    "diagnosis": Code("22637-3", "LN", "Pathology report final diagnosis"),
    "gross": Code("22634-0", "LN", "Pathology report gross observation"),
    "microscopic": Code("22635-7", "LN", "Pathology report microscopic observation"),
    "clinical": Code("22636-5", "LN", "Pathology report relevant history"),
    "synoptic": Code("60568-3", "LN", "Pathology Synoptic report"),
}
"""By the kinds of ``text/sections.toml``."""
_STATUSES: Final = {
    status: Code(status.value.upper(), PRIVATE_SCHEME, status.value.replace("_", " ").capitalize()) for status in Status
}
_LANGUAGES: Final = {"en": "English", "zh": "Chinese"}
# FHIR's name of a scheme to DICOM's (PS3.16 table 8-1).
_DESIGNATORS: Final = {uri: "NCIt" if name == "NCIT" else name for name, uri in SYSTEMS.items()}
_MEANING: Final = 64


def coded_concept(code: Coding) -> Code | None:
    """Return the code as DICOM names it, None for a scheme that it has no designator for."""
    designator = _DESIGNATORS.get(code.system)
    return Code(code.code, designator, code.display[:_MEANING]) if designator else None


def name_of(field_id: str, language: str) -> Code:
    """Return the concept name of a field."""
    question = coded.question(field_id)
    known = coded_concept(question) if question is not None else None
    return known or private(field_id, coded.title(field_id, language))


def private(identifier: str, meaning: str) -> Code:
    """Return a concept of the private scheme; Code Value holds 16 characters (PS3.3 8.8)."""
    value = identifier.upper()
    if len(value) > 16 or not value.replace("_", "").isalnum() or not value.isascii():
        value = hashlib.sha256(identifier.encode()).hexdigest()[:16].upper()
    return Code(value, PRIVATE_SCHEME, meaning[:_MEANING])


def section_name(kind: str) -> Code:
    return SECTIONS.get(kind) or private(f"SEC_{kind}", f"Section: {kind.replace('_', ' ')}")


def status_code(value: FieldValue) -> Code:
    return _STATUSES[value.status]


def language_code(language: str) -> Code | None:
    meaning = _LANGUAGES.get(language)
    return Code(language, "RFC5646", meaning) if meaning else None


def unit_code(unit: str | None) -> Code:
    """Return a UCUM unit; its meaning is the expression itself (PS3.16 7.2.2)."""
    return Code(unit, "UCUM", unit) if unit else NO_UNITS


LANGUAGE: Final[Code] = codes.DCM.LanguageOfContentItemAndDescendants
FINDINGS: Final[Code] = codes.DCM.Findings
SPECIMEN_IDENTIFIER: Final[Code] = codes.DCM.SpecimenIdentifier
