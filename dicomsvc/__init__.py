"""dicomsvc: a DICOM whole slide imaging service."""

__version__ = "0.1.0"
