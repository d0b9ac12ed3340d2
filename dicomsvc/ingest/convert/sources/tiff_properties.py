"""What the tags and descriptions of a TIFF say: pixel spacing, channels, scanner."""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from xml.etree import ElementTree

from dicomsvc.ingest.convert.sources.base import Channel, Properties

# Outside of this a resolution is a printer's, not a microscope's (72 dots per inch are 353 um).
_PLAUSIBLE_UM: Final = (0.01, 50.0)
_UNIT_UM: Final = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3}
_RESOLUTION_UNIT_UM: Final = {2: 25400.0, 3: 10000.0}
_DESCRIPTION_LIMIT: Final = 4 << 20


def plausible(column_um: float, row_um: float) -> tuple[float, float] | None:
    """Return the spacing when a microscope may have made it."""
    low, high = _PLAUSIBLE_UM
    if low <= column_um <= high and low <= row_um <= high:
        return column_um, row_um
    return None


def tag_spacing_um(page: Any) -> tuple[float, float] | None:
    """Read XResolution and YResolution (TIFF 6.0 section 8)."""
    unit = _RESOLUTION_UNIT_UM.get(int(_tag(page, 296) or 0))
    if unit is None:
        return None
    spacing = []
    for code in (282, 283):
        value = _tag(page, code)
        if not isinstance(value, tuple) or len(value) != 2 or not value[0] or not value[1]:
            return None
        spacing.append(unit * value[1] / value[0])
    return plausible(spacing[0], spacing[1])


def tag_properties(page: Any) -> Properties:
    """Read Make, Model, Software and DateTime."""
    software = _text(_tag(page, 305))
    return Properties(
        manufacturer=_text(_tag(page, 271)),
        model_name=_text(_tag(page, 272)),
        software_versions=(software,) if software else (),
        acquired=_when(_text(_tag(page, 306)), "%Y:%m:%d %H:%M:%S"),
    )


def aperio_properties(description: str) -> tuple[tuple[float, float] | None, Properties]:
    """Read an Aperio image description: lines of free text, then ``|key = value`` pairs."""
    head, *pairs = description[:_DESCRIPTION_LIMIT].split("|")
    values = {key.strip(): value.strip() for key, _, value in (pair.partition("=") for pair in pairs)}
    spacing = _number(values.get("MPP"))
    software = head.splitlines()[0].strip() if head.strip() else ""
    stamp = f"{values.get('Date', '')} {values.get('Time', '')}".strip()
    properties = Properties(
        manufacturer="Leica Biosystems" if software.startswith("Leica") else "Aperio",
        model_name=values.get("ScannerType") or None,
        device_serial_number=values.get("ScanScope ID") or None,
        software_versions=(software,) if software else (),
        acquired=_when(stamp, "%m/%d/%y %H:%M:%S"),
        magnification=_number(values.get("AppMag")),
        barcode=values.get("Barcode") or None,
    )
    return (plausible(spacing, spacing) if spacing else None), properties


def philips_properties(description: str, base: Properties) -> tuple[tuple[float, float] | None, Properties]:
    """Read a Philips description: XML whose attributes are named as in DICOM."""

    def find(name: str) -> str | None:
        found = re.search(rf'Name="{name}"[^>]*>([^<]*)<', description[:_DESCRIPTION_LIMIT])
        return found.group(1).strip() if found else None

    numbers = [float(text) for text in re.findall(r"[0-9.]+(?:[eE][-+]?\d+)?", find("DICOM_PIXEL_SPACING") or "")]
    spacing = plausible(numbers[1] * 1000, numbers[0] * 1000) if len(numbers) >= 2 else None
    software = re.findall(r"&quot;(.*?)&quot;|\"(.*?)\"", find("DICOM_SOFTWARE_VERSIONS") or "")
    return spacing, replace(
        base,
        manufacturer=find("DICOM_MANUFACTURER") or "Philips",
        device_serial_number=find("DICOM_DEVICE_SERIAL_NUMBER"),
        software_versions=tuple(a or b for a, b in software),
        acquired=_when((find("DICOM_ACQUISITION_DATETIME") or "")[:14], "%Y%m%d%H%M%S"),
        barcode=None,
    )


def ome_properties(document: str, base: Properties) -> tuple[tuple[float, float] | None, list[Channel], Properties]:
    """Read OME-XML: the first image's pixel size and channels."""
    try:
        # Expat expands no external entity and limits amplification of internal ones.
        root = ElementTree.fromstring(document[: 16 << 20])  # noqa: S314
    except ElementTree.ParseError:
        return None, [], base
    pixels = _largest(root.iterfind(".//{*}Pixels"))
    if pixels is None:
        return None, [], base
    across, down = _length(pixels, "PhysicalSizeX"), _length(pixels, "PhysicalSizeY")
    channels = [
        Channel(
            name=element.get("Name") or element.get("Fluor"),
            excitation_nm=_wavelength(element, "ExcitationWavelength"),
            emission_nm=_wavelength(element, "EmissionWavelength"),
        )
        for element in pixels.iterfind("{*}Channel")
    ]
    spacing = plausible(across, down or across) if across else None
    return spacing, channels, _ome_instrument(root, base)


def _ome_instrument(root: ElementTree.Element, base: Properties) -> Properties:
    stamp = root.find(".//{*}AcquisitionDate")
    acquired = base.acquired
    if stamp is not None and stamp.text:
        acquired = _when(stamp.text.strip()[:19], "%Y-%m-%dT%H:%M:%S") or acquired
    objective = root.find(".//{*}Objective")
    scope = root.find(".//{*}Microscope")
    power = _number(objective.get("NominalMagnification")) if objective is not None else None
    return replace(
        base,
        acquired=acquired,
        magnification=power,
        manufacturer=(scope.get("Manufacturer") if scope is not None else None) or base.manufacturer,
        model_name=(scope.get("Model") if scope is not None else None) or base.model_name,
        device_serial_number=scope.get("SerialNumber") if scope is not None else None,
    )


def _largest(elements: Any) -> ElementTree.Element | None:
    def area(element: ElementTree.Element) -> float:
        return (_number(element.get("SizeX")) or 0) * (_number(element.get("SizeY")) or 0)

    return max(elements, key=area, default=None)


def _length(element: ElementTree.Element, name: str) -> float | None:
    value, unit = _number(element.get(name)), _UNIT_UM.get(element.get(f"{name}Unit", "µm"))
    return value * unit if value and unit else None


def _wavelength(element: ElementTree.Element, name: str) -> float | None:
    value, unit = _number(element.get(name)), _UNIT_UM.get(element.get(f"{name}Unit", "nm"))
    return value * unit * 1000 if value and unit else None


def _tag(page: Any, code: int) -> Any:
    tag = page.tags.get(code)
    return None if tag is None else tag.value


def _text(value: Any) -> str | None:
    return value.strip()[:256] or None if isinstance(value, str) else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and 0 < value < float("inf") else None


def _when(text: str | None, pattern: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text, pattern) if text else None
    except ValueError:
        return None


def same_count(channels: Sequence[Channel], count: int) -> list[Channel]:
    """Return exactly ``count`` channels, whatever the description says."""
    return [channels[index] if index < len(channels) else Channel() for index in range(count)]


def icc_profile(tags: Mapping[int, Any]) -> bytes | None:
    """Return a TIFF's ICC profile (tag 34675) when it is one."""
    tag = tags.get(34675)
    value = bytes(tag.value) if tag is not None and isinstance(tag.value, bytes | bytearray) else b""
    return value if len(value) >= 132 and value[36:40] == b"acsp" else None
