"""Reads outlines out of structured reports: planar regions of measurement reports (PS3.16 TID 1500, TID 1410).

Viewers write what people draw as Comprehensive 3D SR: one measurement group an outline, its place as SCOORD3D in mm,
its class as Finding, the person as observer context (TID 1002).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomsvc.ai.training.data.marks import NO_CLASS, Mark, Ring, disc, ellipse, make_mark
from dicomsvc.errors import DicomsvcError, InvalidInstance, UnsupportedInstance
from dicomsvc.objects.codes import code_of, same_concept
from dicomsvc.objects.verification import Verdict, verdict_of
from dicomsvc.store import InstanceRecord

REPORT_STORAGES: Final = tuple(map(str, (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage)))
_PLAIN: Final = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
_MAX_BYTES: Final = 1 << 28
_DEEPEST: Final = 8
_OBSERVER_TYPE: Final[Code] = codes.DCM.ObserverType
_PERSON: Final[Code] = codes.DCM.Person
_FINDING: Final[Code] = codes.DCM.Finding


ToPixels = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
"""Makes slide pixels ``(n, 2)`` of slide coordinates ``(n, 3)`` in mm."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What a report says of outlines.

    ``annotator`` is empty where no person observed; ``marks`` are by the UID of the frame of reference they lie in;
    ``references`` are the UIDs of all instances that it names.
    """

    annotator: str
    verdict: Verdict | None
    references: frozenset[str]
    marks: Mapping[str, Sequence[Mark]]
    left_out: Counter[str] = field(default_factory=Counter)


def load_report(record: InstanceRecord) -> Dataset:
    """Return the data set of a stored report.

    Raises
    ------
    UnsupportedInstance
        When it is compressed, or larger than any report.
    InvalidInstance, DamagedFile
        When it cannot be read.
    """
    if record.transfer_syntax_uid not in _PLAIN or record.size > _MAX_BYTES:
        raise UnsupportedInstance("report in a compressed transfer syntax, or too large")
    try:
        return dcmread(record.readable_path())
    except DicomsvcError:
        raise
    except Exception as error:  # noqa: BLE001 - the parser of untrusted bytes
        raise InvalidInstance(f"report that cannot be read ({type(error).__name__})") from None


def read_report(ds: Dataset, planes: Mapping[str, ToPixels], point_radius: tuple[float, float] | None = None) -> Report:
    """Return the outlines of a report; ``planes`` are by the UID of a slide's frame of reference.

    Points become discs of ``point_radius`` slide pixels, (x, y), or are left out.

    Raises
    ------
    InvalidInstance
        When its content cannot be read.
    """
    left_out: Counter[str] = Counter()
    marks: dict[str, list[Mark]] = {frame: [] for frame in planes}
    try:
        for group in _groups(ds, 0):
            for item in _items(group):
                if item.get("ValueType") not in ("SCOORD", "SCOORD3D"):
                    continue
                frame = str(item.get("ReferencedFrameOfReferenceUID") or "")
                rings, reason = _rings(item, planes.get(frame), point_radius)
                mark = _mark(group, rings) if rings else None
                if mark is None:
                    left_out[reason or "outline that encloses nothing"] += 1
                else:
                    marks[frame].append(mark)
        references = frozenset(str(each.value) for each in ds.iterall() if each.keyword == "ReferencedSOPInstanceUID")
        return Report(_annotator(ds), verdict_of(ds), references, marks, left_out)
    except InvalidInstance:
        raise
    except Exception as error:  # noqa: BLE001 - values of untrusted objects fail in any way inside pydicom
        raise InvalidInstance(f"report whose content cannot be read ({type(error).__name__})") from None


def series_named(ds: Dataset) -> frozenset[str]:
    """Return the UIDs of the series that a report says it is about (PS3.3 C.17.2.3).

    Raises
    ------
    InvalidInstance
        When its evidence cannot be read.
    """
    try:
        studies = ds.get("CurrentRequestedProcedureEvidenceSequence") or ()
        return frozenset(
            str(series.get("SeriesInstanceUID"))
            for study in studies
            for series in study.get("ReferencedSeriesSequence") or ()
        )
    except Exception as error:  # noqa: BLE001 - values of untrusted objects fail in any way inside pydicom
        raise InvalidInstance(f"report whose evidence cannot be read ({type(error).__name__})") from None


def _mark(group: Dataset, rings: Sequence[Ring]) -> Mark | None:
    finding = next((item for item in _items(group) if _named(item, _FINDING)), None)
    code = code_of(finding.get("ConceptCodeSequence")) if finding is not None else None
    return make_mark(code.meaning if code else NO_CLASS, code, rings)


def _items(ds: Dataset) -> Sequence[Dataset]:
    found: Sequence[Dataset] = ds.get("ContentSequence") or ()
    return found


def _named(item: Dataset, concept: Code) -> bool:
    return same_concept(code_of(item.get("ConceptNameCodeSequence")), concept)


def _groups(ds: Dataset, depth: int) -> Iterator[Dataset]:
    """Yield the measurement groups, wherever they stand."""
    for item in _items(ds):
        if item.get("ValueType") != "CONTAINER" or depth > _DEEPEST:
            continue
        if _named(item, codes.DCM.MeasurementGroup):
            yield item
        else:
            yield from _groups(item, depth + 1)


def _annotator(ds: Dataset) -> str:
    """Return the person who observed (PS3.16 TID 1003); a device is nobody."""
    kinds = [code_of(item.get("ConceptCodeSequence")) for item in _items(ds) if _named(item, _OBSERVER_TYPE)]
    names = [str(item.get("PersonName") or "") for item in _items(ds) if _named(item, codes.DCM.PersonObserverName)]
    if any(same_concept(kind, _PERSON) for kind in kinds) or (names and not kinds):
        return next((name for name in names if name.strip("^= ")), "unnamed person")
    return ""


def _rings(
    item: Dataset, to_pixels: ToPixels | None, point_radius: tuple[float, float] | None
) -> tuple[list[Ring], str]:
    """Return the rings of a graphic, or why there are none (PS3.3 C.18.9)."""
    if item.get("ValueType") == "SCOORD":
        return [], "outline in image coordinates (SCOORD), which name no place on the slide"
    if to_pixels is None:
        return [], "outline on a slide that is not in this study"
    kind = str(item.get("GraphicType"))
    values = np.asarray(item.get("GraphicData") or (), np.float64)
    if not len(values) or len(values) % 3:
        return [], "graphic without points of three numbers"
    points = to_pixels(values.reshape(-1, 3))
    if kind == "POLYGON" or (kind == "POLYLINE" and len(points) > 3 and np.array_equal(points[0], points[-1])):
        return [points], ""
    if kind == "ELLIPSE" and len(points) == 4:
        return [ellipse(points)], ""
    if kind in ("POINT", "MULTIPOINT"):
        if point_radius is None:
            return [], "point, and no size for points was given"
        return [disc(point, point_radius) for point in points], ""
    return [], f"graphic of type {kind if kind in ('POLYLINE', 'ELLIPSOID') else 'unknown'}"
