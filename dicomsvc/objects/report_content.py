"""What a report says, as values: groups of measurements of the whole slide, of a region, of a class."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.sr.coding import Code

from dicomsvc.objects.provenance import FindingClass


@dataclass(frozen=True, slots=True)
class ReportMeasurement:
    """One number.

    ``name`` is one of `dicomsvc.objects.codes.MEASURES` or a model's own; ``statistic`` says what the number is of
    many (`codes.MEAN`, …); ``unit`` (UCUM) only where the name does not tell it.
    """

    name: str
    value: float
    statistic: Code | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A question and its answer, coded or in words."""

    name: Code
    value: Code | str


@dataclass(frozen=True, slots=True)
class ResultReference:
    """A result object in the slide's study: a segmentation, bulk annotations, a parametric map."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, eq=False)
class ReportGroup:
    """Measurements and evaluations of one thing.

    ``region`` is its outline, ``(n, 2)`` slide pixels, open or closed; without one it is the whole slide.
    ``segmentation`` with ``segment_number``, and ``annotations``, say which objects show it. ``tracking_uid`` is that
    of the segment or the annotation group where there is one (PS3.16 TID 4108); it is made when it is empty.
    """

    label: str
    measurements: tuple[ReportMeasurement, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    finding: FindingClass | None = None
    region: npt.NDArray[np.floating[Any]] | None = None
    segmentation: ResultReference | None = None
    segment_number: int = 1
    annotations: ResultReference | None = None
    tracking_uid: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ReportContent:
    """``results`` are further objects that came with the report; ``comment`` is for people, e.g. a model's limits."""

    groups: tuple[ReportGroup, ...]
    results: tuple[ResultReference, ...] = ()
    comment: str = ""
