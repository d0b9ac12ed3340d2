"""Files that begin like a TIFF: ours, Hamamatsu's, and those that only OpenSlide puts together."""

from pathlib import Path
from typing import Final

from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources.base import SlideSource
from dicomsvc.ingest.convert.sources.openslide import open_slide as open_with_openslide
from dicomsvc.ingest.convert.sources.openslide import vendor
from dicomsvc.ingest.convert.sources.tiff import TiffSource, check_pages
from dicomsvc.ingest.convert.sources.tiff_guard import check_directories

# Several scanned areas, overlapping tiles or strips with restart markers: reading those is OpenSlide's trade.
_OPENSLIDE_VENDORS: Final = frozenset({"leica", "ventana", "trestle", "hamamatsu", "argos"})


def open_slide(path: Path, options: ConversionOptions) -> SlideSource:
    """Open a TIFF of any maker."""
    check_directories(path)
    if vendor(path) in _OPENSLIDE_VENDORS:
        check_pages(path)
        return open_with_openslide(path, options)
    source = TiffSource(path, options)
    if _needs_openslide(source):
        source.close()
        return open_with_openslide(path, options)
    return source


def _needs_openslide(source: TiffSource) -> bool:
    """Aperio's older JPEG 2000 has YCbCr at half resolution, undeclared in the codestream."""
    stored = source.levels[0].stored(0) if source.format == "aperio" else None
    return stored is not None and stored.codec == "jpeg2000" and stored.colour == "ycbcr"
