"""Zeiss CZI: OpenSlide reads brightfield slides, the extra ``czi`` the others."""

from pathlib import Path

from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources.base import SlideSource
from dicomsvc.ingest.convert.sources.openslide import open_slide as open_with_openslide
from dicomsvc.ingest.convert.sources.openslide import vendor


def open_slide(path: Path, options: ConversionOptions) -> SlideSource:
    """Open a CZI file.

    Raises
    ------
    ConversionError
        When it takes the extra, which is not installed.
    """
    if vendor(path) == "zeiss":
        return open_with_openslide(path, options)
    from dicomsvc.ingest.convert.sources.dicomizer import missing, open_with

    try:
        from wsidicomizer.sources.czi.czi_source import CziSource
    except ImportError:
        raise missing("czi", "This kind of CZI") from None
    return open_with(CziSource, "CZI", path, options)
