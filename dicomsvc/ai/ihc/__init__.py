"""Cells of immunohistochemistry: counted, positive or negative, scored.

In come a model's planes (`maps`) or a picture of a segmentation; out go territories (`postprocess`), the table of cells
from which any threshold is answered (`cells`), and pictures of them (`drawing`).
"""
