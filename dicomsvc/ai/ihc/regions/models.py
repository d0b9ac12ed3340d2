"""Bodies of the requests and answers under ``/api/ihc/regions``."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dicomsvc.ai.analysis.request import Region as Place
from dicomsvc.ai.analysis.request import Uid
from dicomsvc.ai.ihc.cells import Thresholds
from dicomsvc.ai.ihc.presets import DEFAULT
from dicomsvc.ai.ihc.regions.region import RegionCard
from dicomsvc.ai.ihc.thresholds import read_thresholds

Model = Annotated[str, StringConstraints(max_length=80)]
Marker = Annotated[str, StringConstraints(max_length=32)]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Class = Literal["positive", "negative"]


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=True)


class RegionOrder(Body):
    """A part of a stored slide; ``region`` in slide pixels."""

    series_instance_uid: Uid
    region: Place
    marker: Marker = DEFAULT
    model: Model | None = None


class ThresholdOrder(Body):
    """Thresholds, by DeepLIIF's names and words."""

    prob_thresh: int = 150
    size_thresh: int | Literal["auto"] = "auto"
    size_thresh_upper: int | Literal["none"] | None = None
    marker_thresh: int | Literal["auto", "none"] = "auto"

    def thresholds(self) -> Thresholds:
        """Return them; raises `BadRequest`."""
        given = {
            "prob_thresh": str(self.prob_thresh),
            "size_thresh": str(self.size_thresh),
            "size_thresh_upper": "none" if self.size_thresh_upper is None else str(self.size_thresh_upper),
            "marker_thresh": str(self.marker_thresh),
        }
        return read_thresholds(given)


class ScoringOrder(ThresholdOrder):
    """``classes``: a character a cell, 0 where it does not count, 1 negative, 2 positive; ``geojson``: the outlines."""

    classes: bool = False
    geojson: bool = False


class CellOrder(ThresholdOrder):
    """A cell by a point or by an outline, in slide pixels; ``class`` is taken from the pixels where it is not told."""

    point: Point | None = None
    outline: Annotated[list[Point], Field(max_length=2000)] | None = None
    class_: Class | None = Field(None, alias="class")


class ClassOrder(Body):
    class_: Class = Field(alias="class")


class RegionEntry(BaseModel):
    """A region. ``cells``: how many territories; which of them count depends on thresholds."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    url: str
    page: str
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

    @classmethod
    def of(cls, card: RegionCard) -> Self:
        return cls(url=f"/api/ihc/regions/{card.id}", page=f"/pages/ihc.html?region={card.id}", **card.document())


class ScoringEntry(BaseModel):
    """``scoring`` by DeepLIIF's names, with intensities and counts of changes; ``warnings`` are the region's."""

    scoring: dict[str, Any]
    warnings: tuple[str, ...]
    classes: str | None = None
    added: list[dict[str, Any]] = []
    geojson: dict[str, Any] | None = None


class ChangeEntry(BaseModel):
    """A change that is kept: who, when, what."""

    edit: int
    what: str
    cell: int
    who: str
    at: str
    positive: bool | None = None
