"""FHIR R4B: a structured report out as a Bundle, a DiagnosticReport in as text.

Out go Device, Specimen, section and field Observations, DiagnosticReport and Provenance; every bundle is checked by
``fhir.resources`` before it leaves. The report is *preliminary* until a person has signed its fields off.
"""

from dicomsvc.reports.fhir.bundle import fhir_bundle
from dicomsvc.reports.fhir.reading import read_diagnostic_report

__all__ = ["fhir_bundle", "read_diagnostic_report"]
