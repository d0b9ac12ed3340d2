"""Our own writers' objects of the known shapes, over a slide."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from dicomsvc.objects.annotations import AnnotationGroup, GraphicType, write_annotations
from dicomsvc.objects.levels import Strips, Target
from dicomsvc.objects.parametric import MapQuantity, write_parametric_map
from dicomsvc.objects.provenance import Algorithm, Equipment, FindingClass, Identity, Provenance
from dicomsvc.objects.segmentation import (
    Organisation,
    SegmentationKind,
    SegmentationOptions,
    write_segmentation_pyramid,
)
from dicomsvc.objects.source import SourceSlide
from tests.acceptance.viewer import known

Places = npt.NDArray[np.float64]
TISSUE: Final = FindingClass("shapes", codes.SCT.AnatomicalStructure, codes.SCT.Tissue, (0, 160, 60))
NUCLEUS: Final = FindingClass("outlines", codes.SCT.AnatomicalStructure, codes.SCT.Nucleus, (0, 90, 255))
SPOT: Final = FindingClass("spots", codes.SCT.AnatomicalStructure, codes.SCT.Nucleus, (255, 120, 0))
TRIANGLE: Final = ((1500, 900), (1900, 1000), (1600, 1400))
TURNED: Final = ((1500, 1700), (1700, 1900), (1600, 2000), (1400, 1800))
ELLIPSE: Final = ((700, 2300), (1300, 2300), (1000, 2150), (1000, 2450))
SPOTS: Final = ((200, 200), (1000, 1000), (2000, 2800))
THINGS: Final = {
    GraphicType.POLYGON: [known.L_OUTLINE, TRIANGLE],
    GraphicType.RECTANGLE: [TURNED],
    GraphicType.ELLIPSE: [ELLIPSE],
    GraphicType.POINT: [(spot,) for spot in SPOTS],
}
_TILE: Final = 256


def provenance() -> Provenance:
    algorithm = Algorithm("known shapes", "1", codes.DCM.ArtificialIntelligence, "00" * 32)
    equipment = Equipment("dicomsvc", "dicomsvc", "1", ("1",))
    return Provenance(algorithm, equipment, datetime(2026, 1, 2, 10, 11, 12, tzinfo=UTC), generate_uid())


class Series:
    """The instances of one series, as bytes."""

    def __init__(self, number: int, description: str) -> None:
        self.uid = str(generate_uid())
        self._number, self._description = number, description
        self.files: list[bytearray] = []
        self.instances: list[str] = []

    def target(self, level: int) -> Target:
        self.files.append(bytearray())
        self.instances.append(str(generate_uid()))
        identity = Identity(self.uid, self._number, self._description, self.instances[-1], len(self.files))
        return Target(self.files[-1].extend, level, identity)


def segmentation(
    source: SourceSlide,
    kind: SegmentationKind,
    *,
    compress: bool = True,
    organisation: Organisation = Organisation.AUTO,
    levels: Sequence[int] | None = None,
) -> Series:
    """Return the shapes as a pyramid; FRACTIONAL has 1 in the L, a half in the squares."""
    series = Series(11, f"{kind} {organisation}")
    targets = [series.target(level) for level in levels or range(len(source.levels))]
    value = known.share if kind is SegmentationKind.FRACTIONAL else known.covered
    options = SegmentationOptions(kind, organisation, _TILE, compress=compress)
    given = strips(source, targets[0].level, value)
    write_segmentation_pyramid(targets, source, [TISSUE], given, provenance(), options)
    return series


def heat_map(source: SourceSlide) -> Series:
    """Return `known.heat` as a pyramid."""
    series = Series(13, "map")
    targets = [series.target(level) for level in range(len(source.levels))]
    quantity = MapQuantity("Heat", "made up", codes.DCM.Probability)
    write_parametric_map(targets, source, quantity, strips(source, 0, known.heat), provenance(), tile_size=_TILE)
    return series


def annotations(source: SourceSlide, *, spatial: bool = False) -> Series:
    """Return polygons, a rectangle, an ellipse and points; ``spatial``: in mm."""
    series = Series(12, "3D" if spatial else "2D")
    groups = [
        _group(SPOT if kind is GraphicType.POINT else NUCLEUS, kind, things, source if spatial else None)
        for kind, things in THINGS.items()
    ]
    target = series.target(0)
    write_annotations(target.write, source, groups, target.identity, provenance())
    return series


def colour(kind: GraphicType) -> tuple[int, int, int]:
    return (SPOT if kind is GraphicType.POINT else NUCLEUS).colour


def shapes(kind: GraphicType) -> list[Places]:
    """Return the outlines that a group of `annotations` draws, in pixels of the finest level."""
    if kind is not GraphicType.ELLIPSE:
        return [np.array(thing, np.float64) for thing in THINGS[kind]]
    angles = np.linspace(0, 2 * np.pi, 180)
    (left, y), (right, _), (x, top), (_, bottom) = ELLIPSE
    return [np.stack([x + (right - left) / 2 * np.cos(angles), y + (bottom - top) / 2 * np.sin(angles)], axis=1)]


def strips(source: SourceSlide, level: int, value: Callable[[Places, Places], npt.NDArray[np.generic]]) -> Strips:
    """Give values at the centres of a level's pixels, a row of tiles at a time."""
    base, described = source.levels[0], source.levels[level]
    across, down = (described.pixel_spacing_mm[axis] / base.pixel_spacing_mm[axis] for axis in (1, 0))

    def strip(number: int) -> npt.NDArray[np.generic]:
        rows = np.arange(number * _TILE, min((number + 1) * _TILE, described.rows))
        columns, rows = np.meshgrid((np.arange(described.columns) + 0.5) * across, (rows + 0.5) * down)
        return value(columns, rows)[np.newaxis]

    return strip


def _group(
    finding: FindingClass, kind: GraphicType, things: Sequence[Sequence[tuple[int, int]]], source: SourceSlide | None
) -> AnnotationGroup:
    points = np.array([point for thing in things for point in thing], np.float32)
    offsets = np.cumsum([0, *map(len, things)]).astype(np.int64)
    if source is not None:
        points = np.hstack([source.to_slide_mm(points), np.zeros((len(points), 1))])
    return AnnotationGroup(finding, kind, points, offsets, label=f"{kind.lower()}s")
