"""Optical paths (PS3.3 C.8.12.5) and colour profiles."""

from collections.abc import Sequence
from typing import Final

from PIL import ImageCms
from pydicom import Dataset
from pydicom.sr.coding import Code
from wsidicom.metadata import OpticalPath
from wsidicom.metadata.schema.dicom.optical_path import OpticalPathDicomSchema

from dicomsvc.errors import ConversionError
from dicomsvc.ingest.convert.sources.base import Channel

_BRIGHTFIELD: Final = Code("111744", "DCM", "Brightfield illumination")
_EPIFLUORESCENCE: Final = Code("111743", "DCM", "Epifluorescence illumination")
_FULL_SPECTRUM: Final = Code("414298005", "SCT", "Full Spectrum")
_TEXT_TYPES: Final = (b"text", b"desc", b"mluc")


def code_item(code: Code) -> Dataset:
    """Make an item of a code sequence (PS3.3 8.8)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def optical_paths(
    channels: Sequence[Channel],
    given: Sequence[OpticalPath],
    *,
    fluorescence: bool,
    magnification: float | None,
    icc_profile: bytes | None,
) -> list[Dataset]:
    """Make the items of OpticalPathSequence, one a channel; what the metadata gives goes before what the file says.

    Raises
    ------
    ConversionError
        When the metadata gives another number of optical paths than the slide has channels.
    """
    if given and len(given) != len(channels):
        raise ConversionError(
            f"The metadata has {len(given)} optical paths, but the slide has {len(channels)} channels"
        )
    items = []
    for index, channel in enumerate(channels):
        item = _from_file(channel, fluorescence=fluorescence, magnification=magnification)
        if given:
            _overlay(item, given[index])
        if not item.get("OpticalPathIdentifier"):
            item.OpticalPathIdentifier = str(index + 1)
        if icc_profile is not None:
            item.ICCProfile = icc_profile + b"\0" * (len(icc_profile) & 1)
        items.append(item)
    _make_identifiers_unique(items)
    return items


def _from_file(channel: Channel, *, fluorescence: bool, magnification: float | None) -> Dataset:
    item = Dataset()
    item.IlluminationTypeCodeSequence = [code_item(_EPIFLUORESCENCE if fluorescence else _BRIGHTFIELD)]
    if channel.excitation_nm is not None:
        item.IlluminationWaveLength = channel.excitation_nm
        item.LightPathFilterPassThroughWavelength = round(channel.excitation_nm)
    else:
        item.IlluminationColorCodeSequence = [code_item(_FULL_SPECTRUM)]
    if channel.emission_nm is not None:
        item.ImagePathFilterPassThroughWavelength = round(channel.emission_nm)
    if channel.name:
        item.OpticalPathDescription = channel.name[:64]
    if magnification is not None:
        item.ObjectiveLensPower = f"{magnification:g}"
    return item


def _overlay(item: Dataset, path: OpticalPath) -> None:
    try:
        dumped: Dataset = OpticalPathDicomSchema().dump(path)
    except Exception as error:  # noqa: BLE001 (border: a foreign serialiser on a user's document)
        raise ConversionError(f"The metadata's optical paths cannot be written ({type(error).__name__})") from None
    if path.identifier is None and "OpticalPathIdentifier" in dumped:
        del dumped.OpticalPathIdentifier
    if not path.illumination_types and "IlluminationTypeCodeSequence" in dumped:
        del dumped.IlluminationTypeCodeSequence
    item.update(dumped)


def _make_identifiers_unique(items: Sequence[Dataset]) -> None:
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item.OpticalPathIdentifier in seen:
            item.OpticalPathIdentifier = f"{item.OpticalPathIdentifier[:12]}-{index + 1}"
        seen.add(item.OpticalPathIdentifier)


def srgb_profile() -> bytes:
    """Make the profile of IEC 61966-2-1, the same bytes each time."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Date of creation and profile identifier (ICC.1 7.2): the maker writes the clock there.
    profile[24:36] = bytes.fromhex("07e800010001000000000000")
    profile[84:100] = bytes(16)
    return bytes(profile)


def profile_without_text(profile: bytes) -> bytes:
    """Blank the texts of an ICC profile, which may name scanner and laboratory; colours stay."""
    blank = bytearray(profile)
    blank[84:100] = bytes(16)
    count = int.from_bytes(profile[128:132], "big")
    for index in range(min(count, 256)):
        entry = profile[132 + 12 * index : 144 + 12 * index]
        offset, size = int.from_bytes(entry[4:8], "big"), int.from_bytes(entry[8:12], "big")
        if len(entry) == 12 and offset + size <= len(profile) and profile[offset : offset + 4] in _TEXT_TYPES:
            _blank_text(blank, offset, size)
    return bytes(blank)


def _blank_text(profile: bytearray, offset: int, size: int) -> None:
    kind = bytes(profile[offset : offset + 4])
    if kind == b"text":
        start, end = offset + 8, offset + size - 1
    elif kind == b"desc":
        start = offset + 12
        end = start + max(0, int.from_bytes(profile[offset + 8 : offset + 12], "big") - 1)
        tail = end + 1
        profile[tail : offset + size] = bytes(max(0, offset + size - tail))
    else:
        # Strings of mluc are UTF-16; a space is 00 20.
        records = int.from_bytes(profile[offset + 8 : offset + 12], "big")
        start, end = offset + 16 + 12 * records, offset + size
        profile[start:end] = (b"\0 " * size)[: max(0, end - start)]
        return
    end = min(end, offset + size)
    profile[start:end] = b" " * max(0, end - start)
