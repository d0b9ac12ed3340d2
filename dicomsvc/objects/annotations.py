"""Microscopy Bulk Simple Annotations: outlines and points by the million (PS3.3 A.87).

In go groups of one class each, as arrays; out comes one Part 10 file, written piece by piece, and the same groups when
it is read. No class for single annotations exists in the standard, so there is one group for each class.
"""

from dicomsvc.objects.annotations_group import AnnotationGroup, Generation, GraphicType, in_slide_pixels
from dicomsvc.objects.annotations_read import read_annotations
from dicomsvc.objects.annotations_write import write_annotations

__all__ = [
    "AnnotationGroup",
    "Generation",
    "GraphicType",
    "in_slide_pixels",
    "read_annotations",
    "write_annotations",
]
