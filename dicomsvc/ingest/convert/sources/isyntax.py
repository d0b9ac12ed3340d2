"""Philips iSyntax, by the extra ``isyntax``."""

from pathlib import Path

from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources.base import SlideSource
from dicomsvc.ingest.convert.sources.dicomizer import missing, open_with


def open_slide(path: Path, options: ConversionOptions) -> SlideSource:
    """Open an iSyntax file.

    Raises
    ------
    ConversionError
        When the extra is not installed.
    """
    try:
        from wsidicomizer.extras.isyntax.isyntax_source import ISyntaxSource
    except ImportError:
        raise missing("isyntax", "iSyntax") from None
    return open_with(ISyntaxSource, "iSyntax", path, options)
