"""Files that begin like a TIFF: ours, Hamamatsu's, and those that only OpenSlide puts together."""

from pathlib import Path
from typing import Final

from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources.base import SlideSource
from dicomsvc.ingest.convert.sources.openslide import open_slide as open_with_openslide
from dicomsvc.ingest.convert.sources.openslide import vendor
from dicomsvc.ingest.convert.sources.tiff import TiffSource
from dicomsvc.ingest.convert.sources.tiff_guard import check_directories

# Several scanned areas, overlapping tiles or strips with restart markers: reading those is OpenSlide's trade.
_OPENSLIDE_VENDORS: Final = frozenset({"leica", "ventana", "trestle", "hamamatsu", "argos"})


def open_slide(path: Path, options: ConversionOptions) -> SlideSource:
    """Open a TIFF of any maker."""
    check_directories(path)
    if vendor(path) in _OPENSLIDE_VENDORS:
        return open_with_openslide(path, options)
    return TiffSource(path, options)


