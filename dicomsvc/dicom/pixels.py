"""The pixel data of a parsed data set: what describes it, and the index of its frames."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from dicomsvc.dicom.fragments import MAX_TABLE_BYTES
from dicomsvc.dicom.frames import FrameIndex, PixelDescription, index_encapsulated, index_native
from dicomsvc.dicom.json import BulkRange
from dicomsvc.dicom.offset_tables import frame_starts
from dicomsvc.dicom.scope import PixelElement
from dicomsvc.dicom.uids import TransferSyntax
from dicomsvc.errors import InvalidInstance

Attributes = Mapping[str, Mapping[str, Any]]
_FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}
_EXTENDED_OFFSET_TABLE = "7FE00001"
_PIXEL_DATA_PROVIDER_URL = "00287FE0"
_MAX_FRAMES = (1 << 31) - 1


def index_frames(
    fd: int,
    element: PixelElement,
    attributes: Attributes,
    bulk: Mapping[str, BulkRange],
    syntax: TransferSyntax,
    warn: Callable[[str], None],
) -> FrameIndex:
    """Index the frames of a pixel data element of the file `fd`.

    Raises
    ------
    InvalidInstance
        When the description is incomplete or contradicts the element.
    """
    description = _describe(element, attributes, syntax)
    fragments = element.fragments
    if fragments is None:
        if syntax.encapsulated:
            raise InvalidInstance("pixel data is not encapsulated, as its transfer syntax says (PS3.5 A.4)")
        return index_native(description, element.offset, element.length, warn)
    if not syntax.encapsulated:
        raise InvalidInstance("pixel data is encapsulated, which its transfer syntax forbids (PS3.5 A.4)")
    where = bulk.get(_EXTENDED_OFFSET_TABLE)
    extended = b""
    if where is not None and where.length <= MAX_TABLE_BYTES:
        extended = os.pread(fd, where.length, where.offset)
    starts = frame_starts(fd, fragments, description.number_of_frames, extended, syntax, warn)
    if 0 in fragments.lengths:
        warn("pixel data has an empty fragment")
    return index_encapsulated(description, fragments, starts)


def check_no_pixels(attributes: Attributes) -> None:
    """Refuse an image whose pixel data is missing, as of a file that was cut exactly before it.

    Raises
    ------
    InvalidInstance
        When the data set describes pixels and has none, nor says where they are.
    """
    described = all(tag in attributes for tag in ("00280010", "00280011", "00280100", "00280004"))
    if described and _PIXEL_DATA_PROVIDER_URL not in attributes:
        raise InvalidInstance("the data set has Rows, Columns and BitsAllocated, but no pixel data")


def _describe(element: PixelElement, attributes: Attributes, syntax: TransferSyntax) -> PixelDescription:
    bits = _FLOAT_BITS.get(element.tag)
    bits_allocated = bits or _integer(attributes, "00280100", "BitsAllocated", 1, 64)
    samples = _integer(attributes, "00280002", "SamplesPerPixel", 1, 65535, 1)
    photometric = _first(attributes, "00280004")
    default = "RGB" if samples == 3 else "MONOCHROME2"
    return PixelDescription(
        number_of_frames=_integer(attributes, "00280008", "NumberOfFrames", 1, _MAX_FRAMES, 1),
        transfer_syntax_uid=syntax.uid,
        element=f"{element.tag:08X}",
        rows=_integer(attributes, "00280010", "Rows", 1, 65535),
        columns=_integer(attributes, "00280011", "Columns", 1, 65535),
        samples_per_pixel=samples,
        bits_allocated=bits_allocated,
        bits_stored=bits or _integer(attributes, "00280101", "BitsStored", 1, bits_allocated, bits_allocated),
        pixel_representation=_integer(attributes, "00280103", "PixelRepresentation", 0, 1, 0),
        planar_configuration=_integer(attributes, "00280006", "PlanarConfiguration", 0, 1, 0),
        photometric_interpretation=photometric if isinstance(photometric, str) else default,
    )


def _first(attributes: Attributes, tag: str) -> object:
    values = attributes.get(tag, {}).get("Value")
    return values[0] if values else None


def _integer(attributes: Attributes, tag: str, name: str, least: int, most: int, default: int | None = None) -> int:
    value = _first(attributes, tag)
    if value is None:
        value = default
    if not isinstance(value, int) or not least <= value <= most:
        raise InvalidInstance(f"{name} is missing, or not a number from {least} to {most}")
    return value
