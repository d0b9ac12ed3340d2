"""Pathology reports: free text to coded fields, each with the place in the text that says so.

In comes text (REST, a file, HL7 v2 ORU^R01, a DICOM object, FHIR); out go values as JSON, FHIR R4, DICOM SR,
ORU^R01 and tables. What a field is stands in ``fields/*.toml`` (`dicomsvc.reports.schema`); how a text becomes values
is `dicomsvc.reports.pipeline`: layout (``text/``), extractors (``extract/``), derivation, conflicts.

Rules: PS3.16 (SR templates), FHIR R4, HL7 v2.5.1; TNM by the AJCC/UICC edition that a value names.
"""
