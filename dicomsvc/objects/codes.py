"""Coded concepts of result objects: what is measured, in which unit, and what people decide about it.

Codes stand in pydicom's tables of PS3.16 wherever they are there. Concepts that no public coding scheme names that we
know of are in the private scheme ``99DICOMSVC``.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomsvc.errors import InvalidInstance

PRIVATE_SCHEME: Final = "99DICOMSVC"
PRIVATE_SCHEME_UID: Final = "2.25.313617061841372484475206346267552647810"

SQUARE_MICROMETER: Final[Code] = codes.UCUM.SquareMicrometer
SQUARE_MILLIMETER: Final[Code] = codes.UCUM.SquareMillimeter
MICROMETER: Final[Code] = codes.UCUM.Micrometer
MILLIMETER: Final[Code] = codes.UCUM.Millimeter
NO_UNITS: Final[Code] = codes.UCUM.NoUnits
PERCENT: Final[Code] = codes.UCUM.Percent
COUNTS: Final[Code] = codes.UCUM.Counts
# UCUM expressions that PS3.16 has no context group for; their meaning is the expression itself (PS3.16 7.2.2).
PER_SQUARE_MILLIMETER: Final = Code("/mm2", "UCUM", "/mm2")

MEAN: Final[Code] = codes.SCT.Mean
MEDIAN: Final[Code] = codes.SCT.Median
STANDARD_DEVIATION: Final[Code] = codes.SCT.StandardDeviation
MINIMUM: Final[Code] = codes.SCT.Minimum
MAXIMUM: Final[Code] = codes.SCT.Maximum

# Verdicts. "Accepted" is 385645004 in SNOMED CT (FHIR value sets of DEMIS and others use it); its "Rejected" concepts
# are about specimens, claims and persons, and PS3.16 has none about results of software.
VERDICT: Final = Code("AI_VERDICT", PRIVATE_SCHEME, "Verdict on AI Result")
VERDICT_COMMENT: Final = Code("AI_VERDICT_NOTE", PRIVATE_SCHEME, "Comment on Verdict on AI Result")
ACCEPTED: Final = Code("385645004", "SCT", "Accepted")
REJECTED: Final = Code("REJECTED", PRIVATE_SCHEME, "Rejected")
# The container of TID 1500 row 12, as PS3.16 writes it.
QUALITATIVE_EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
# The procedure that slides come from; CID 100 lists those of radiology only.
LIGHT_MICROSCOPY: Final[Code] = codes.SCT.LightMicroscopy


@dataclass(frozen=True, slots=True)
class Measure:
    """What a column of measurements is: its name in code here, its coded concept and its unit (UCUM)."""

    name: str
    concept: Code
    unit: Code


def _private(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


_AREA: Code = codes.SCT.Area
_PERIMETER: Code = codes.SCT.Perimeter
_MAJOR_AXIS: Code = codes.SCT.MajorAxis
_MINOR_AXIS: Code = codes.SCT.MinorAxis
_DIAMETER: Code = codes.SCT.Diameter
_LENGTH: Code = codes.SCT.Length
# DCM 122157: the probability that something is as stated; "Certainty of Finding" (111012) is a percentage of CAD.
_PROBABILITY: Code = codes.DCM.Probability
# SNOMED CT 410681005, "Count of entities" (a property; FHIR microbiology profiles use it with this meaning).
_COUNT = Code("410681005", "SCT", "Count of entities")
# SNOMED CT 131184002: what a fraction or a density is taken of.
_AREA_ANALYSED: Code = codes.SCT.AreaOfDefinedRegion

MEASURES: Final[Mapping[str, Measure]] = MappingProxyType(
    {
        measure.name: measure
        for measure in (
            Measure("area_um2", _AREA, SQUARE_MICROMETER),
            Measure("area_mm2", _AREA, SQUARE_MILLIMETER),
            Measure("analysed_area_mm2", _AREA_ANALYSED, SQUARE_MILLIMETER),
            Measure("perimeter_um", _PERIMETER, MICROMETER),
            Measure("perimeter_mm", _PERIMETER, MILLIMETER),
            Measure("major_axis_um", _MAJOR_AXIS, MICROMETER),
            Measure("minor_axis_um", _MINOR_AXIS, MICROMETER),
            Measure("diameter_um", _DIAMETER, MICROMETER),
            Measure("length_um", _LENGTH, MICROMETER),
            Measure("length_mm", _LENGTH, MILLIMETER),
            Measure("probability", _PROBABILITY, NO_UNITS),
            Measure("count", _COUNT, COUNTS),
            Measure("density_per_mm2", _private("DENSITY_AREA", "Number per Area"), PER_SQUARE_MILLIMETER),
            Measure("area_percent", _private("AREA_PERCENT", "Percentage of Area"), PERCENT),
            Measure("positive_percent", _private("POS_PERCENT", "Percentage of Positive Cells"), PERCENT),
            # LOINC: percentages of cells that a pathology laboratory reports.
            Measure("ki67_percent", Code("29593-1", "LN", "Ki-67 positive cells/100 cells in Tissue"), PERCENT),
            Measure("er_percent", Code("14228-1", "LN", "ER positive cells/100 cells in Tissue"), PERCENT),
            Measure("pr_percent", Code("14230-7", "LN", "PR positive cells/100 cells in Tissue"), PERCENT),
            Measure("h_score", _private("H_SCORE", "H-score, 0 to 300"), NO_UNITS),
            Measure("cells_count", _private("CELLS", "Number of Cells"), COUNTS),
            Measure("positive_count", _private("POS_CELLS", "Number of Positive Cells"), COUNTS),
            Measure("intensity_0_count", _private("CELLS_0", "Number of Cells of Intensity 0"), COUNTS),
            Measure("intensity_1_count", _private("CELLS_1", "Number of Cells of Intensity 1+"), COUNTS),
            Measure("intensity_2_count", _private("CELLS_2", "Number of Cells of Intensity 2+"), COUNTS),
            Measure("intensity_3_count", _private("CELLS_3", "Number of Cells of Intensity 3+"), COUNTS),
            Measure("allred_proportion", _private("ALLRED_PROP", "Allred Proportion Score"), NO_UNITS),
            Measure("allred_intensity", _private("ALLRED_INT", "Allred Intensity Score"), NO_UNITS),
            Measure("mean_marker_od", _private("OD_MARKER", "Mean Optical Density of Marker in Nucleus"), NO_UNITS),
            Measure(
                "ring_marker_od", _private("OD_MARKER_RING", "Mean Optical Density of Marker around Nucleus"), NO_UNITS
            ),
            Measure(
                "highest_marker_od", _private("OD_MARKER_MAX", "Highest Optical Density of Marker in Nucleus"), NO_UNITS
            ),
            Measure(
                "mean_counterstain_od", _private("OD_COUNTERSTAIN", "Mean Optical Density of Counterstain"), NO_UNITS
            ),
            Measure("positive_probability", _private("POS_PROBABILITY", "Probability of Being Positive"), NO_UNITS),
            # IBSI's shape features are those of volumes; these two are of the region's moments and convex hull.
            Measure("eccentricity", _private("ECCENTRICITY", "Eccentricity"), NO_UNITS),
            Measure("solidity", _private("SOLIDITY", "Solidity"), NO_UNITS),
            Measure("circularity", _private("CIRCULARITY", "Circularity"), NO_UNITS),
            Measure("mean_hematoxylin_od", _private("OD_HEMATOXYLIN", "Mean Optical Density of Hematoxylin"), NO_UNITS),
            Measure("mean_eosin_od", _private("OD_EOSIN", "Mean Optical Density of Eosin"), NO_UNITS),
            Measure("mean_dab_od", _private("OD_DAB", "Mean Optical Density of Diaminobenzidine"), NO_UNITS),
        )
    }
)
_BY_CONCEPT = {
    (each.concept.scheme_designator, each.concept.value, each.unit.value): each for each in MEASURES.values()
}
_UNITS_BY_ENDING = (
    ("_um2", SQUARE_MICROMETER),
    ("_per_mm2", PER_SQUARE_MILLIMETER),
    ("_mm2", SQUARE_MILLIMETER),
    ("_um", MICROMETER),
    ("_mm", MILLIMETER),
    ("_percent", PERCENT),
    ("_count", COUNTS),
)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


def measure(name: str, unit: str | None = None) -> Measure:
    """Return what a measurement of this name is.

    A name that is not in `MEASURES`, such as ``mean_cd3_intensity``, becomes a private concept; its unit is ``unit``
    (UCUM), or what its ending says (``_um2``, ``_um``, ``_mm2``, ``_mm``, ``_per_mm2``, ``_percent``, ``_count``), or
    none.

    Raises
    ------
    InvalidInstance
        When the name is not of lower case letters, digits and underscores.
    """
    known = MEASURES.get(name)
    if known is not None and unit in (None, known.unit.value):
        return known
    if not _NAME.match(name):
        raise InvalidInstance("the name of a measurement has other than lower case letters, digits and underscores")
    # Code Value holds 16 characters (PS3.3 8.8); viewers of today do not look for Long Code Value.
    value = name.upper() if len(name) <= 16 else f"{hashlib.sha256(name.encode()).hexdigest()[:16].upper()}"
    ending = next((code for end, code in _UNITS_BY_ENDING if name.endswith(end)), NO_UNITS)
    coded = ending if unit in (None, ending.value) else Code(str(unit), "UCUM", str(unit))
    return Measure(name, Code(value, PRIVATE_SCHEME, name), coded)


def measure_named(concept: Code, unit: Code) -> Measure:
    """Return the measure that a concept and a unit stand for; a foreign one's name is made of its meaning."""
    known = _BY_CONCEPT.get((concept.scheme_designator, concept.value, unit.value))
    if known is not None:
        return known
    words = re.sub(r"[^a-z0-9]+", "_", concept.meaning.lower()).strip("_")[:64]
    return Measure(words or "measurement", concept, unit)


def code_of(items: Sequence[Dataset] | None) -> Code | None:
    """Return the first code of a code sequence, or None where it is empty or has no value."""
    if not items:
        return None
    item = items[0]
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue")
    if not value:
        return None
    version = item.get("CodingSchemeVersion")
    return Code(
        str(value),
        str(item.get("CodingSchemeDesignator") or ""),
        str(item.get("CodeMeaning") or value),
        str(version) if version else None,
    )


def same_concept(one: Code | None, other: Code) -> bool:
    """Whether two codes are the same concept whatever words they come with."""
    return one is not None and (one.value, one.scheme_designator) == (other.value, other.scheme_designator)


def coding_scheme_items() -> list[Dataset]:
    """Return the Coding Scheme Identification Sequence that tells of the private scheme (PS3.3 C.12.1.1.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeUID = PRIVATE_SCHEME_UID
    item.CodingSchemeName = "dicomsvc: concepts of results of image analysis"
    item.CodingSchemeResponsibleOrganization = "dicomsvc"
    return [item]
