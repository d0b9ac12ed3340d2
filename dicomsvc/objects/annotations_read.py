"""Reads Microscopy Bulk Simple Annotations, ours and foreign ones, as columns (PS3.3 A.87, C.37.1)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.sr.codedict import codes
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MicroscopyBulkSimpleAnnotationsStorage,
)

from dicomsvc.errors import InvalidInstance, NotFound, NotParseable, UnsupportedInstance
from dicomsvc.objects.annotations_group import POINTS_EACH, AnnotationGroup, Generation, GraphicType
from dicomsvc.objects.codes import code_of, measure_named
from dicomsvc.objects.colour import srgb_colour
from dicomsvc.objects.provenance import FindingClass

_GREY: Final = (128, 128, 128)


def read_annotations(source: str | os.PathLike[str] | Dataset) -> Sequence[AnnotationGroup]:
    """Return the groups of a file or a data set, in their order.

    Arrays are views of the bytes read. Coordinates may be single or double, in pixels or in mm; points of a common z
    get it as a column.

    Raises
    ------
    NotFound, NotParseable
        When there is no file, or it is not a DICOM file.
    UnsupportedInstance
        When it is another kind of object, or its transfer syntax is compressed.
    InvalidInstance
        When its arrays contradict each other; the message names the group.
    """
    ds = source if isinstance(source, Dataset) else _read(Path(source))
    if ds.get("SOPClassUID") != MicroscopyBulkSimpleAnnotationsStorage:
        raise UnsupportedInstance("this is not a Microscopy Bulk Simple Annotations object")
    try:
        spatial = ds.get("AnnotationCoordinateType") == "3D"
        return [_group(item, number, spatial) for number, item in enumerate(ds.get("AnnotationGroupSequence") or (), 1)]
    except InvalidInstance:
        raise
    except Exception as error:  # noqa: BLE001 - values of untrusted objects fail in any way inside pydicom
        raise InvalidInstance(f"the annotation groups cannot be read: {type(error).__name__}") from None


def _read(path: Path) -> Dataset:
    try:
        # A deflated file may become thousands of times larger when it is read.
        if read_file_meta_info(path).get("TransferSyntaxUID") not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
            raise UnsupportedInstance("bulk annotations in this transfer syntax are not read")
        return dcmread(path)
    except FileNotFoundError:
        raise NotFound("there is no such file of annotations") from None
    except UnsupportedInstance:
        raise
    except Exception as error:  # noqa: BLE001 - the parser of untrusted bytes
        raise NotParseable(f"the file is not DICOM: {type(error).__name__}") from None


def _group(item: Dataset, number: int, spatial: bool) -> AnnotationGroup:
    try:
        graphic_type = GraphicType(str(item.GraphicType))
    except (ValueError, AttributeError):
        raise _wrong(number, "has no known Graphic Type") from None
    stored, dimensions = _coordinates(item, number, spatial)
    offsets = _offsets(item, number, graphic_type, len(stored) // dimensions, dimensions)
    points = stored.reshape(-1, dimensions)
    if dimensions == 2 and "CommonZCoordinateValue" in item:
        depth = np.full((len(points), 1), item.CommonZCoordinateValue, points.dtype)
        points = np.hstack([points, depth])
    values, units = _measurements(item, number, len(offsets) - 1)
    return AnnotationGroup(
        finding=_finding(item),
        graphic_type=graphic_type,
        points=points,
        offsets=offsets,
        measurements=values,
        units=units,
        label=str(item.get("AnnotationGroupLabel") or ""),
        description=str(item.get("AnnotationGroupDescription") or ""),
        uid=str(item.get("AnnotationGroupUID") or ""),
        generation=_generation(item),
    )


def _generation(item: Dataset) -> Generation:
    try:
        return Generation(str(item.get("AnnotationGroupGenerationType")))
    except ValueError:
        return Generation.MANUAL


def _finding(item: Dataset) -> FindingClass:
    kind = code_of(item.get("AnnotationPropertyTypeCodeSequence"))
    label = str(item.get("AnnotationGroupLabel") or (kind.meaning if kind else ""))
    colour = item.get("RecommendedDisplayCIELabValue")
    return FindingClass(
        label=label,
        category=code_of(item.get("AnnotationPropertyCategoryCodeSequence")) or codes.SCT.AnatomicalStructure,
        type=kind or codes.SCT.Tissue,
        colour=srgb_colour(colour) if colour is not None and len(colour) == 3 else _GREY,
    )


def _coordinates(item: Dataset, number: int, spatial: bool) -> tuple[npt.NDArray[np.floating[Any]], int]:
    """Return the values as they are stored, flat, and how many make a point."""
    if "DoublePointCoordinatesData" in item:
        stored: npt.NDArray[np.floating[Any]] = _array(item.DoublePointCoordinatesData, "<f8", number)
    elif "PointCoordinatesData" in item:
        stored = _array(item.PointCoordinatesData, "<f4", number)
    else:
        raise _wrong(number, "has no coordinates")
    dimensions = 3 if spatial and "CommonZCoordinateValue" not in item else 2
    if len(stored) % dimensions:
        raise _wrong(number, f"has {len(stored)} values for points of {dimensions}")
    return stored, dimensions


def _offsets(
    item: Dataset, number: int, graphic_type: GraphicType, points: int, dimensions: int
) -> npt.NDArray[np.int64]:
    each = POINTS_EACH.get(graphic_type)
    if each is not None:
        if points % each:
            raise _wrong(number, f"has {points} points, no multiple of {each}")
        offsets = np.arange(0, points + 1, each, dtype=np.int64)
    elif "LongPrimitivePointIndexList" in item:
        starts = _array(item.LongPrimitivePointIndexList, "<u4", number).astype(np.int64) - 1
        if np.any(starts % dimensions):
            raise _wrong(number, "has an index that is not that of the first value of a point")
        offsets = np.append(starts // dimensions, points)
    else:
        offsets = np.array([0, points], np.int64)
    if offsets[0] != 0 or np.any(np.diff(offsets) <= 0):
        raise _wrong(number, "has an index list that does not cut its points into annotations")
    count = item.get("NumberOfAnnotations")
    if count is not None and count != len(offsets) - 1:
        raise _wrong(number, f"says {count} annotations and holds {len(offsets) - 1}")
    return offsets


def _measurements(
    item: Dataset, number: int, count: int
) -> tuple[dict[str, npt.NDArray[np.floating[Any]]], dict[str, str]]:
    found: dict[str, npt.NDArray[np.floating[Any]]] = {}
    units: dict[str, str] = {}
    for entry in item.get("MeasurementsSequence") or ():
        concept, unit = (
            code_of(entry.get("ConceptNameCodeSequence")),
            code_of(entry.get("MeasurementUnitsCodeSequence")),
        )
        stored = entry.get("MeasurementValuesSequence") or ()
        if concept is None or unit is None or not stored:
            continue
        known = measure_named(concept, unit)
        name, again = known.name, 2
        while name in found:
            name, again = f"{known.name}_{again}", again + 1
        found[name] = _values(stored[0], number, count, known.name)
        units[name] = unit.value
    return found, units


def _values(item: Dataset, number: int, count: int, name: str) -> npt.NDArray[np.floating[Any]]:
    if not item.get("FloatingPointValues"):
        return np.full(count, np.nan, np.float32)
    stored = _array(item.FloatingPointValues, "<f4", number)
    if "AnnotationIndexList" not in item:
        if len(stored) != count:
            raise _wrong(number, f"has {len(stored)} values of {name} for {count} annotations")
        return stored
    rows = _array(item.AnnotationIndexList, "<u4", number)
    if len(rows) != len(stored) or (len(rows) and not 1 <= rows.min() <= rows.max() <= count):
        raise _wrong(number, f"has an index list of {name} that does not fit")
    values = np.full(count, np.nan, np.float32)
    values[rows - 1] = stored
    return values


def _array(value: object, kind: str, number: int) -> npt.NDArray[Any]:
    data = value if isinstance(value, (bytes, bytearray, memoryview)) else b""
    size = np.dtype(kind).itemsize
    if len(data) == 0 or len(data) % size:
        raise _wrong(number, f"has {len(data)} bytes where values of {size} bytes should stand")
    return np.frombuffer(data, kind)


def _wrong(number: int, what: str) -> InvalidInstance:
    return InvalidInstance(f"annotation group {number} {what}")
