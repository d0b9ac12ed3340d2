"""Extractors: one for each kind of field, listed in `KINDS`.

An extractor takes a `Reading` and a `Field` and yields every value it finds, with evidence; which of them holds for the
case is `dicomsvc.reports.resolve`'s to say.
"""

from collections.abc import Callable, Iterable, Mapping

from dicomsvc.reports.extract.biomarkers import find_biomarker
from dicomsvc.reports.extract.choice import find_choice
from dicomsvc.reports.extract.depth import find_depth
from dicomsvc.reports.extract.finding import find_finding
from dicomsvc.reports.extract.gleason import find_gleason
from dicomsvc.reports.extract.grade import find_grade
from dicomsvc.reports.extract.histology import find_histology
from dicomsvc.reports.extract.laterality import find_laterality
from dicomsvc.reports.extract.margins import find_margins
from dicomsvc.reports.extract.measure import find_measure
from dicomsvc.reports.extract.nodes import find_nodes
from dicomsvc.reports.extract.nottingham import find_nottingham
from dicomsvc.reports.extract.nuclear_grade import find_nuclear_grade
from dicomsvc.reports.extract.numbered import find_numbered
from dicomsvc.reports.extract.size import find_size
from dicomsvc.reports.extract.spread import find_spread
from dicomsvc.reports.extract.staging import find_edition, find_stage_group
from dicomsvc.reports.extract.subtype import find_subtype
from dicomsvc.reports.extract.terms import find_term
from dicomsvc.reports.extract.tnm import find_descriptor, find_tnm
from dicomsvc.reports.reading import Reading
from dicomsvc.reports.schema import Field
from dicomsvc.reports.values import FieldValue

Extractor = Callable[[Reading, Field], Iterable[FieldValue]]

KINDS: Mapping[str, Extractor] = {
    "biomarker": find_biomarker,
    "grade": find_grade,
    "histology": find_histology,
    "nottingham": find_nottingham,
    "term": find_term,
    "tnm": find_tnm,
    "tnm_descriptor": find_descriptor,
    "ajcc_edition": find_edition,
    "stage_group": find_stage_group,
    "nodes": find_nodes,
    "depth": find_depth,
    "finding": find_finding,
    "choice": find_choice,
    "gleason": find_gleason,
    "laterality": find_laterality,
    "margins": find_margins,
    "measure": find_measure,
    "nuclear_grade": find_nuclear_grade,
    "numbered": find_numbered,
    "size": find_size,
    "spread": find_spread,
    "subtype": find_subtype,
}

__all__ = ["KINDS", "Extractor"]
