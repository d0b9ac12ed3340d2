"""A group of bulk annotations as columns: one class, one kind of graphic, many things (PS3.3 C.37.1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from dicomsvc.errors import InvalidInstance
from dicomsvc.objects.codes import measure
from dicomsvc.objects.provenance import FindingClass
from dicomsvc.objects.source import SourceSlide


class GraphicType(StrEnum):
    """Graphic Type (006A,0014)."""

    POINT = "POINT"
    POLYLINE = "POLYLINE"
    POLYGON = "POLYGON"
    """Closed: the last point is joined to the first, and is another one."""
    ELLIPSE = "ELLIPSE"
    """Four points: the ends of the major axis, then those of the minor axis."""
    RECTANGLE = "RECTANGLE"
    """Four points, the corners in order."""


class Generation(StrEnum):
    """Annotation Group Generation Type (006A,0007)."""

    AUTOMATIC = "AUTOMATIC"
    SEMIAUTOMATIC = "SEMIAUTOMATIC"
    MANUAL = "MANUAL"


POINTS_EACH: Final = {GraphicType.POINT: 1, GraphicType.ELLIPSE: 4, GraphicType.RECTANGLE: 4}
_FEWEST: Final = {GraphicType.POLYLINE: 2, GraphicType.POLYGON: 3}


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationGroup:
    """Things of one class.

    ``points`` is ``(m, 2)``: slide pixels ``(column, row)`` with the top left corner of the top left pixel at (0, 0);
    or ``(m, 3)``: slide coordinates (x, y, z) in mm. float32 and float64 are kept as they are. ``offsets`` int64
    ``(n + 1,)`` cuts them into ``n`` things. ``measurements`` are ``(n,)`` by a name of `dicomsvc.objects.codes`
    (``area_um2``, …); NaN where a thing has none. ``units`` (UCUM) are only needed for names that do not tell theirs.
    ``uid`` is made when it is empty.
    """

    finding: FindingClass
    graphic_type: GraphicType
    points: npt.NDArray[np.floating[Any]]
    offsets: npt.NDArray[np.int64]
    measurements: Mapping[str, npt.NDArray[np.floating[Any]]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    description: str = ""
    uid: str = ""
    generation: Generation = Generation.AUTOMATIC

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def graphic(self, number: int) -> npt.NDArray[np.floating[Any]]:
        """Return the points of one thing, counted from 0."""
        return self.points[self.offsets[number] : self.offsets[number + 1]]

    @classmethod
    def of_points(
        cls,
        finding: FindingClass,
        points: npt.NDArray[np.floating[Any]],
        measurements: Mapping[str, npt.NDArray[np.floating[Any]]] | None = None,
        *,
        uid: str = "",
    ) -> Self:
        """Return a group in which every row of ``points`` is a thing."""
        offsets = np.arange(len(points) + 1, dtype=np.int64)
        return cls(finding, GraphicType.POINT, points, offsets, measurements or {}, uid=uid)


def in_slide_pixels(group: AnnotationGroup, source: SourceSlide) -> AnnotationGroup:
    """Return a group with coordinates of pixels; one in mm is projected onto the plane of the slide.

    Raises
    ------
    InvalidInstance
        When the slide's orientation does not tell where its columns and rows run.
    """
    if group.points.shape[1] == 2:
        return group
    # The way to mm is an affine map: it is known by what it does to three points.
    corner, right, down = source.to_slide_mm(np.array([[0, 0], [1, 0], [0, 1]], np.float64))
    try:
        inverse = np.linalg.inv(np.column_stack([right - corner, down - corner]))
    except np.linalg.LinAlgError:
        raise InvalidInstance("the orientation of the slide has no columns and rows in its plane") from None
    return replace(group, points=(group.points[:, :2] - corner) @ inverse.T)


def check_group(group: AnnotationGroup) -> None:
    """Refuse what the standard does not allow to be written (PS3.3 C.37.1.2).

    Raises
    ------
    InvalidInstance
        Names the group's label and what is wrong.
    """
    _check_shape(group)
    label = group.label or group.finding.label
    if not label.strip() or "\\" in label or not label.isprintable():
        raise _wrong(group, "has a label that is empty, or has a backslash or a control character in it")
    # Least and greatest carry NaN on and make no array of the points' size, as np.isfinite would.
    if not (np.isfinite(group.points.min()) and np.isfinite(group.points.max())):
        raise _wrong(group, "has a coordinate that is not a finite number")
    lengths = np.diff(group.offsets)
    exact = POINTS_EACH.get(group.graphic_type)
    if exact is not None and not np.all(lengths == exact):
        raise _wrong(group, f"has a {group.graphic_type} that has not {exact} points")
    if exact is None and lengths.min() < _FEWEST[group.graphic_type]:
        raise _wrong(group, f"has a {group.graphic_type} of fewer than {_FEWEST[group.graphic_type]} points")
    if group.graphic_type is GraphicType.POLYGON:
        first, last = group.points[group.offsets[:-1]], group.points[group.offsets[1:] - 1]
        if np.any(np.all(first == last, axis=1)):
            raise _wrong(group, "has a POLYGON whose last point repeats the first")
    for name, values in group.measurements.items():
        measure(name, group.units.get(name))
        if values.shape != (len(group),):
            raise _wrong(group, f"has {values.shape} values of {name} for {len(group)} things")
        if np.any(np.isinf(values)):
            raise _wrong(group, f"has an infinite value of {name}")


def _check_shape(group: AnnotationGroup) -> None:
    points, offsets = group.points, group.offsets
    if points.ndim != 2 or points.shape[1] not in (2, 3) or points.dtype.kind != "f":
        raise _wrong(group, "has points that are not rows of two or three floating point numbers")
    if offsets.ndim != 1 or len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(points):
        raise _wrong(group, "has offsets that do not run from 0 to the number of points")


def _wrong(group: AnnotationGroup, what: str) -> InvalidInstance:
    return InvalidInstance(f"annotation group {group.label or group.finding.label!r} {what}")
