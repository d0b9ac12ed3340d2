"""One region: what it is of, its planes, its cells."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.ihc.cells import CellTable
from dicomsvc.ai.ihc.maps import Maps
from dicomsvc.ai.ihc.postprocess import Territories
from dicomsvc.errors import DamagedFile

Points = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class RegionCard:
    """What a region is of.

    ``origin`` (x, y) is the region's corner in plane pixels, ``scale`` (x, y) plane pixels per slide pixel; of a
    picture that was sent, they are (0, 0) and (1, 1), and the UIDs are empty. ``cells`` is how many territories there
    are.
    """

    id: str
    study_instance_uid: str
    series_instance_uid: str
    columns: int
    rows: int
    mpp: float
    origin: tuple[int, int]
    scale: tuple[float, float]
    marker: str
    model: str
    number: int
    version: str
    weights_sha256: str
    backend: str
    cells: int
    warnings: tuple[str, ...]
    created: str
    created_by: str

    @property
    def is_slide(self) -> bool:
        return bool(self.series_instance_uid)

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Return what `document` gave.

        Raises
        ------
        DamagedFile
            When it is something else.
        """
        try:
            values = dict(document)
            for name in ("origin", "scale", "warnings"):
                values[name] = tuple(values[name])
            return cls(**values)
        except (TypeError, KeyError, ValueError) as error:
            raise DamagedFile("the description of a region cannot be read") from error

    def to_slide(self, points: Points) -> npt.NDArray[np.float64]:
        """Return slide pixels ``(n, 2)`` of the region's pixels; top left corners are (0, 0)."""
        placed: npt.NDArray[np.float64] = (np.asarray(points, np.float64) + self.origin) / self.scale
        return placed

    def from_slide(self, points: Points) -> npt.NDArray[np.float64]:
        """Return the region's pixels of slide pixels."""
        placed: npt.NDArray[np.float64] = np.asarray(points, np.float64) * self.scale - self.origin
        return placed


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A region with all that is needed to answer at once."""

    card: RegionCard
    maps: Maps
    found: Territories
    table: CellTable

    @property
    def pixels(self) -> int:
        return self.card.columns * self.card.rows
