"""What Hamamatsu's NDPI says of fluorescence, in TIFF tags of its own that OpenSlide does not give."""

import struct
from pathlib import Path
from typing import Any, Final

import tifffile

from dicomsvc.ingest.convert.sources.base import Channel

_FILTER_SET_NAME: Final = 65434
_EMISSION_NM: Final = 65451
_VISIBLE_NM: Final = (300.0, 1100.0)


def fluorescent_channel(path: Path) -> Channel | None:
    """Return the filter set of a slide scanned in fluorescence; None of brightfield, and of other formats."""
    if path.suffix.lower() != ".ndpi":
        return None
    try:
        with tifffile.TiffFile(path) as tiff:
            tags = tiff.pages.first.tags
            name, emission = tags.valueof(_FILTER_SET_NAME), tags.valueof(_EMISSION_NM)
    except (tifffile.TiffFileError, ValueError, OSError, IndexError, KeyError, struct.error):
        return None
    emission_nm = _wavelength(emission)
    if emission_nm is None:
        return None
    return Channel(name=name.strip() or None if isinstance(name, str) else None, emission_nm=emission_nm)


def _wavelength(value: Any) -> float | None:
    is_length = isinstance(value, int | float) and _VISIBLE_NM[0] <= value <= _VISIBLE_NM[1]
    return float(value) if is_length else None
