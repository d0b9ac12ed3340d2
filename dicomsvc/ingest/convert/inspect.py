"""What a slide is, without converting it."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from dicomsvc.ingest.convert.levels import looks_like_finest
from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources import open_source


@dataclass(frozen=True, slots=True)
class LevelSummary:
    """A level of the source; one that does not look like the finest is not converted but made anew."""

    columns: int
    rows: int
    tile_columns: int
    tile_rows: int
    looks_like_finest: bool


@dataclass(frozen=True, slots=True)
class SlideSummary:
    """What a conversion would meet; ``spacing_um`` is (column, row) of the finest level."""

    format: str
    levels: tuple[LevelSummary, ...]
    spacing_um: tuple[float, float] | None
    channels: int
    bits: int
    has_label: bool
    has_overview: bool
    has_thumbnail: bool
    has_icc_profile: bool


def inspect_slide(path: Path, options: ConversionOptions | None = None) -> SlideSummary:
    """Look at a slide.

    Raises
    ------
    UnknownSlideFormat, TruncatedSlide, ConversionError
        As a conversion would.
    """
    with closing(open_source(path, options or ConversionOptions())) as source:
        return SlideSummary(
            format=source.format,
            levels=tuple(
                LevelSummary(
                    *(level.columns, level.rows, level.tile_columns, level.tile_rows),
                    looks_like_finest(source.levels, level),
                )
                for level in source.levels
            ),
            spacing_um=source.spacing_um,
            channels=len(source.channels),
            bits=source.bits,
            has_label="label" in source.associated,
            has_overview="overview" in source.associated,
            has_thumbnail="thumbnail" in source.associated,
            has_icc_profile=source.icc_profile is not None,
        )
