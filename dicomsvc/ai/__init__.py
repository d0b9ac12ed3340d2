"""The place of the AI results: models on Triton, the tile loop, findings as DICOM objects. Nothing is here yet."""
