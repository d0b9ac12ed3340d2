"""Writes Microscopy Bulk Simple Annotations as a stream (PS3.3 A.87, C.37.1).

Coordinates and measurements go out as the arrays' own bytes, so that memory is that of the arrays given and an index
of four bytes a thing.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, MicroscopyBulkSimpleAnnotationsStorage

from dicomsvc.errors import InvalidInstance, TooLarge
from dicomsvc.objects.annotations_group import AnnotationGroup, Generation, GraphicType, check_group
from dicomsvc.objects.codes import coding_scheme_items, measure
from dicomsvc.objects.colour import cielab_value
from dicomsvc.objects.common import (
    NOT_VERIFIED,
    algorithm_item,
    code_item,
    common_modules,
    content_identification,
    derived_uid,
    instance_reference,
)
from dicomsvc.objects.part10 import LONGEST_VALUE, Write, header
from dicomsvc.objects.provenance import Identity, Provenance
from dicomsvc.objects.source import SourceSlide

Piece = bytes | memoryview
_GROUPS: Final = 0x006A0002
_POINTS, _DOUBLE_POINTS, _INDEX, _MEASUREMENTS = 0x00660016, 0x00660022, 0x00660040, 0x00660121
_VALUES_SEQUENCE, _VALUES, _VALUES_INDEX = 0x00660132, 0x00660125, 0x006A0011
_ITEM: Final = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
_ITEM_END: Final = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00"
_SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


def write_annotations(
    write: Write,
    source: SourceSlide,
    groups: Sequence[AnnotationGroup],
    identity: Identity,
    provenance: Provenance,
) -> None:
    """Write one object as a Part 10 file; groups without annotations are left out.

    All groups have coordinates of the same kind: pixels of the finest level, or mm.

    Raises
    ------
    InvalidInstance
        When no group has annotations (an object of none is not allowed), or a group is not what it must be. Nothing
        has been written then.
    TooLarge
        When a group's arrays are longer than a data element can be.
    """
    filled = [group for group in groups if len(group)]
    if not filled:
        raise InvalidInstance("there is no annotation: such an object holds at least one")
    for group in filled:
        check_group(group)
        if group.points.nbytes > LONGEST_VALUE:
            raise TooLarge("an annotation group has more coordinates than a data element can hold; split it")
    if len({group.points.shape[1] for group in filled}) > 1:
        raise InvalidInstance("annotation groups of one object have coordinates of one kind, pixels or mm")
    ds = _head(source, identity, provenance, planar=filled[0].points.shape[1] == 2)
    write(header(ds[:_GROUPS], ExplicitVRLittleEndian))
    write(_header(_GROUPS, b"SQ", 0xFFFFFFFF))
    for number, group in enumerate(filled, 1):
        uid = group.uid or derived_uid(identity.sop_instance_uid, "annotation group", str(number))
        for piece in _group_pieces(group, number, uid, provenance):
            write(piece)
    write(_SEQUENCE_END)
    write(_encoded(ds[_GROUPS:]))


def _head(source: SourceSlide, identity: Identity, provenance: Provenance, *, planar: bool) -> Dataset:
    finest = source.levels[:1]
    ds = common_modules(
        source,
        identity,
        provenance,
        "ANN",
        MicroscopyBulkSimpleAnnotationsStorage,
        referenced=finest if planar else None,
    )
    content_identification(ds, identity, provenance)
    ds.CodingSchemeIdentificationSequence = coding_scheme_items()
    ds.AnnotationCoordinateType = "2D" if planar else "3D"
    if planar:
        ds.PixelOriginInterpretation = "VOLUME"
    ds.ReferencedImageSequence = [instance_reference(finest[0])]
    return ds


def _encoded(ds: Dataset) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, ds, "ISO_IR 192")
    return stream.getvalue()


def _header(tag: int, vr: bytes, length: int) -> bytes:
    number = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    return number + vr + b"\0\0" + length.to_bytes(4, "little")


def _array(tag: int, vr: bytes, values: npt.NDArray[Any]) -> Iterator[Piece]:
    yield _header(tag, vr, values.nbytes)
    if values.nbytes:
        yield values.data.cast("B")


def _little(values: npt.NDArray[Any], kind: str) -> npt.NDArray[Any]:
    """Return an array in the byte order of files; it is copied only where it is not so already."""
    return np.ascontiguousarray(values, np.dtype(f"<{kind}")).reshape(-1)


def _group_pieces(group: AnnotationGroup, number: int, uid: str, provenance: Provenance) -> Iterator[Piece]:
    ds = _group_dataset(group, number, uid, provenance)
    points = group.points
    if points.shape[1] == 3 and points[:, 2].min() == points[:, 2].max():
        ds.CommonZCoordinateValue = float(points[0, 2])
        points = points[:, :2]
    yield _ITEM
    yield _encoded(ds[:_POINTS])
    if points.dtype.itemsize == 8:
        yield from _array(_DOUBLE_POINTS, b"OD", _little(points, "f8"))
    else:
        yield from _array(_POINTS, b"OF", _little(points, "f4"))
    if group.graphic_type in (GraphicType.POLYGON, GraphicType.POLYLINE):
        # One-based positions of values, not of points (PS3.3 C.37.1.3).
        yield from _array(_INDEX, b"OL", _little(group.offsets[:-1] * points.shape[1] + 1, "u4"))
    yield from _measurement_pieces(group)
    yield _encoded(ds[_MEASUREMENTS:])
    yield _ITEM_END


def _group_dataset(group: AnnotationGroup, number: int, uid: str, provenance: Provenance) -> Dataset:
    """Return all of a group but its arrays and measurements; no element lies between their tags."""
    finding = group.finding
    ds = Dataset()
    ds.RecommendedDisplayCIELabValue = list(cielab_value(finding.colour))
    ds.AnnotationGroupNumber = number
    ds.AnnotationGroupUID = uid
    ds.AnnotationGroupLabel = (group.label or finding.label)[:64]
    by_machine = group.generation is not Generation.MANUAL
    description = group.description or ((provenance.statement or NOT_VERIFIED) if by_machine else "")
    if description:
        ds.AnnotationGroupDescription = description
    ds.AnnotationGroupGenerationType = group.generation.value
    if by_machine:
        ds.AnnotationGroupAlgorithmIdentificationSequence = [algorithm_item(provenance.algorithm)]
    ds.AnnotationPropertyCategoryCodeSequence = [code_item(finding.category)]
    ds.AnnotationPropertyTypeCodeSequence = [code_item(finding.type)]
    ds.NumberOfAnnotations = len(group)
    ds.AnnotationAppliesToAllOpticalPaths = "YES"
    if group.points.shape[1] == 3:
        ds.AnnotationAppliesToAllZPlanes = "NO"
    ds.GraphicType = group.graphic_type.value
    return ds


def _measurement_pieces(group: AnnotationGroup) -> Iterator[Piece]:
    if all(np.isnan(values).all() for values in group.measurements.values()):
        return
    yield _header(_MEASUREMENTS, b"SQ", 0xFFFFFFFF)
    for name, given in group.measurements.items():
        known = measure(name, group.units.get(name))
        item = Dataset()
        item.ConceptNameCodeSequence = [code_item(known.concept)]
        item.MeasurementUnitsCodeSequence = [code_item(known.unit)]
        present = ~np.isnan(given)
        if not present.any():
            continue
        complete = bool(present.all())
        yield _ITEM
        yield _encoded(item)
        yield _header(_VALUES_SEQUENCE, b"SQ", 0xFFFFFFFF)
        yield _ITEM
        yield from _array(_VALUES, b"OF", _little(given if complete else given[present], "f4"))
        if not complete:
            yield from _array(_VALUES_INDEX, b"OL", _little(np.flatnonzero(present) + 1, "u4"))
        yield _ITEM_END
        yield _SEQUENCE_END
        yield _ITEM_END
    yield _SEQUENCE_END
