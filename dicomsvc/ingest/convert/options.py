"""What a conversion is told, and what it tells."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Codec = Literal["auto", "jpeg", "jpeg2000", "jpeg2000-lossless", "uncompressed"]


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """How to convert one slide.

    Parameters
    ----------
    metadata
        The metadata document: flat keys, wsidicom's JSON schema, or both (docs/conversion.md).
    mpp
        Pixel spacing of the base level in micrometres, ``(across columns, across rows)`` or one number for both;
        goes before what the file says.
    deidentify
        Leave out label and overview, identifying scanner properties, dates and text inside images.
    keep_dates
        With ``deidentify``: keep acquisition and study dates.
    codec
        For pixels that cannot pass through as stored; ``auto`` is JPEG for 8 bits, lossless JPEG 2000 for 16.
    quality
        JPEG quality, 1 to 100.
    tile_size
        Rows and columns of frames that are made here, where the source gives no reason for another size.
    build_levels
        Make the pyramid levels that the source lacks.
    uniform_tiles
        Encode levels anew whose tiles differ in size from the finest level's, for readers that want one size.
    seed
        Same source, options and seed give the same UIDs, so that a second attempt makes the same instances.
    scratch
        Folder for temporary files (they have no name there and vanish with the process); default: the system's.
    workers
        Threads that decode and encode.
    max_plain_megapixels
        Largest PNG, JPEG or other undivided picture that is decoded in memory.
    """

    metadata: Mapping[str, Any] = field(default_factory=dict)
    mpp: float | tuple[float, float] | None = None
    deidentify: bool = False
    keep_dates: bool = False
    include_label: bool = True
    include_overview: bool = True
    include_thumbnail: bool = True
    codec: Codec = "auto"
    quality: int = 90
    tile_size: int = 512
    build_levels: bool = True
    uniform_tiles: bool = False
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    seed: str | None = None
    scratch: Path | None = None
    workers: int = 2
    max_plain_megapixels: int = 180


@dataclass(frozen=True, slots=True)
class Progress:
    """Frames written so far, over all instances of the slide; ``stage`` names the image being made."""

    done: int
    total: int
    stage: str


@dataclass(frozen=True, slots=True)
class ConvertedInstance:
    """One instance that was written; ``path`` is where the sink's file says it lies."""

    path: Path
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    image_type: tuple[str, ...]
    transfer_syntax_uid: str
    columns: int
    rows: int
    frames: int
    size_bytes: int
    as_stored: bool
    """Whether the frames are the source's compressed tiles, bit for bit."""


ReportProgress = Callable[[Progress], None]


def ignore_progress(_progress: Progress) -> None:
    """Take progress and do nothing."""
