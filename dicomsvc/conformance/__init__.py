"""The DICOM Conformance Statement (PS3.2 Annex A), made of what the code serves: nothing in it is written twice.

In come the table of DIMSE services, the resources of DICOMweb, the settings and the rooms' vocabularies; out goes a
document as Markdown or JSON. `services` answers which SOP class is served or asked for, in which transfer syntaxes and
in which role; the tests associate for each of its lines.
"""

from dicomsvc.conformance.markdown import as_markdown
from dicomsvc.conformance.services import Line, asked, served
from dicomsvc.conformance.statement import statement

__all__ = ["Line", "as_markdown", "asked", "served", "statement"]
