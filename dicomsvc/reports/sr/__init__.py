"""Structured reports as DICOM Enhanced SR, and report text out of DICOM objects (PS3.3 A.35.2, A.45).

PS3.16 has no template for synoptic pathology reports: the tree is ours and described in docs/reports-exchange.md. Each
value is a content item of its own with the words of the report that it is INFERRED FROM.
"""

from dicomsvc.reports.sr.reading import read_report_object
from dicomsvc.reports.sr.writing import report_sr

__all__ = ["read_report_object", "report_sr"]
