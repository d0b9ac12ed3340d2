"""What one person drew on one slide.

Places are slide pixels: ``(column, row)`` of the finest level, the top left corner of the top left pixel is (0, 0).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomsvc.objects.codes import same_concept

Ring = npt.NDArray[np.float64]
FARTHEST: Final = 1e7
"""No slide has a pixel as far out; a coordinate that is farther is a mistake."""
NO_CLASS: Final = "Unclassified"
"""Of an outline that has no class."""
_ELLIPSE_POINTS: Final = 48
_REGION_NAMES: Final = ("region*", "region of interest", "selected region", "target region", "roi")
_REGION_CODES: Final[tuple[Code, ...]] = (codes.DCM.SelectedRegion, codes.DCM.TargetRegion)


class Role(StrEnum):
    """What an outline is for.

    A thing is to be learned. In a region of interest all things were drawn, so that the rest of it is background. What
    is ignored is unknown, also inside of a region. QuPath's classes say it by their names: ``Region*``, and another
    name that ends with an asterisk is one to ignore.
    """

    THING = "THING"
    REGION = "REGION"
    IGNORED = "IGNORED"


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """An outline. ``rings`` are ``(n, 2)``, open or closed; what lies in an even number of them is a hole."""

    label: str
    code: Code | None
    role: Role
    rings: tuple[Ring, ...]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom."""
        points = np.concatenate(self.rings)
        return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def role_of(label: str, code: Code | None) -> Role:
    """Return what a class is for; a code goes before a name."""
    name = label.strip().casefold()
    if name in _REGION_NAMES or any(same_concept(code, each) for each in _REGION_CODES):
        return Role.REGION
    return Role.IGNORED if name.endswith("*") else Role.THING


def make_mark(label: str, code: Code | None, rings: Sequence[npt.NDArray[np.floating]]) -> Mark | None:
    """Return a mark, or None when it encloses nothing or has impossible coordinates."""
    kept = [np.asarray(ring, np.float64)[:, :2] for ring in rings if len(ring) >= 3]
    if not kept or not all(np.isfinite(ring).all() and np.abs(ring).max() < FARTHEST for ring in kept):
        return None
    if not any(_area(ring) > 0 for ring in kept):
        return None
    return Mark(label, code, role_of(label, code), tuple(kept))


def ellipse(ends: npt.NDArray[np.floating]) -> Ring:
    """Return an ellipse as a polygon, of the ends of its major and its minor axis, ``(4, 2)`` (PS3.3 C.18.9)."""
    points = np.asarray(ends, np.float64)[:, :2]
    centre = points.mean(axis=0)
    major, minor = (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
    angles = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)[:, np.newaxis]
    around: Ring = centre + np.cos(angles) * major + np.sin(angles) * minor
    return around


def disc(centre: npt.NDArray[np.floating], radius: tuple[float, float]) -> Ring:
    """Return a disc around a point as a polygon; ``radius`` (x, y) in slide pixels."""
    x, y = (float(value) for value in np.asarray(centre, np.float64)[:2])
    return ellipse(np.array([[x - radius[0], y], [x + radius[0], y], [x, y - radius[1]], [x, y + radius[1]]]))


def _area(ring: Ring) -> float:
    x, y = ring.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
