"""Outlines out of groups of Microscopy Bulk Simple Annotations (PS3.3 C.37.1)."""

from collections import Counter
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.training.data.marks import Mark, Ring, disc, ellipse, make_mark
from dicomsvc.ai.training.data.reports import ToPixels
from dicomsvc.objects.annotations import AnnotationGroup, GraphicType

MOST: Final = 500_000


def bulk_marks(
    group: AnnotationGroup, to_slide: ToPixels, point_radius: tuple[float, float] | None
) -> tuple[list[Mark], Counter[str]]:
    """Return the outlines of a group in slide pixels, and how many were left out, by reason.

    Points become discs of ``point_radius`` slide pixels, (x, y), or are left out.
    """
    if group.graphic_type is GraphicType.POINT and point_radius is None:
        return [], Counter({"point, and no size for points was given": len(group)})
    if len(group) > MOST:
        return [], Counter({f"group of more than {MOST} annotations": len(group)})
    label = group.finding.type.meaning if not group.label.strip() else group.label
    points = to_slide(np.asarray(group.points, np.float64))
    marks, left_out = [], Counter[str]()
    for first, end in zip(group.offsets[:-1], group.offsets[1:], strict=True):
        ring = _ring(group.graphic_type, points[first:end], point_radius)
        mark = None if ring is None else make_mark(label, group.finding.type, [ring])
        if mark is None:
            left_out["open line" if ring is None else "outline that encloses nothing"] += 1
        else:
            marks.append(mark)
    return marks, left_out


def _ring(kind: GraphicType, points: npt.NDArray[np.float64], point_radius: tuple[float, float] | None) -> Ring | None:
    if kind is GraphicType.ELLIPSE:
        return ellipse(points)
    if kind is GraphicType.POINT and point_radius is not None:
        return disc(points[0], point_radius)
    if kind is GraphicType.POLYLINE and not (len(points) > 3 and np.array_equal(points[0], points[-1])):
        return None
    return points
