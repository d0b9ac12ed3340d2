"""Vendor slides to DICOM VL Whole Slide Microscopy Images (PS3.3 A.32.8).

In: a file of a scanner (or a plain picture) and options. Out: one series of instances, written through a sink: all
levels of the pyramid, label, overview and thumbnail. Compressed tiles pass through bit for bit where frames can be
made of them; everything else is decoded and encoded. Knows no store and no database.
"""

from pathlib import Path

from dicomsvc.ingest.convert.conversion import convert
from dicomsvc.ingest.convert.inspect import LevelSummary, SlideSummary, inspect_slide
from dicomsvc.ingest.convert.options import (
    ConversionOptions,
    ConvertedInstance,
    Progress,
    ReportProgress,
    ignore_progress,
)
from dicomsvc.ingest.convert.sink import FolderSink, OutputFile, Sink
from dicomsvc.ingest.convert.sources import open_source


def convert_slide(
    source: Path,
    sink: Sink,
    options: ConversionOptions | None = None,
    progress: ReportProgress = ignore_progress,
) -> list[ConvertedInstance]:
    """Convert a slide; on any error, also one that ``progress`` raises, every file opened is discarded.

    Raises
    ------
    UnknownSlideFormat
        When the file is no slide of a known format.
    TruncatedSlide
        When it is cut short; found before anything is written.
    MissingPixelSpacing
        When neither file nor options tell the pixel spacing.
    ConversionError
        When it is damaged or of a kind that cannot be converted, or the metadata is not understood.
    OutOfResources
        When a disk is full.
    """
    chosen = options or ConversionOptions()
    return convert(source, open_source(source, chosen), sink, chosen, progress)


__all__ = [
    "ConversionOptions",
    "ConvertedInstance",
    "FolderSink",
    "LevelSummary",
    "OutputFile",
    "Progress",
    "ReportProgress",
    "Sink",
    "SlideSummary",
    "convert_slide",
    "inspect_slide",
]
