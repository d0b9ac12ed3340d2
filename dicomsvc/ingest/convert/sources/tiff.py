"""TIFF slides: Aperio SVS, OME-TIFF, Philips, generic pyramids, plain TIFF."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile

from dicomsvc.errors import ConversionError, DicomsvcError, UnknownSlideFormat
from dicomsvc.ingest.convert.bitstream import parse_jpeg
from dicomsvc.ingest.convert.codec import with_tables
from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources import tiff_properties as properties_of
from dicomsvc.ingest.convert.sources.base import (
    Channel,
    Pixels,
    Properties,
    SlideDescription,
    SourceLevel,
)
from dicomsvc.ingest.convert.sources.raster import level_of_bands
from dicomsvc.ingest.convert.sources.tiff_guard import check_directories
from dicomsvc.ingest.convert.sources.tiff_level import (
    MAX_CHUNK_BYTES,
    TiffLevel,
    TiffPlane,
    TileCache,
    check_extent,
    decode_segment,
)
from dicomsvc.ingest.convert.sources.tiff_pages import Pages, find_pages

_MAX_ASSOCIATED_PIXELS: Final = 64_000_000
_HEADER_BYTES: Final = 4096


class TiffSource(SlideDescription):
    """An open TIFF slide.

    Raises
    ------
    UnknownSlideFormat, TruncatedSlide, ConversionError
        When it is no TIFF, cut short, or of a kind that cannot be converted.
    """

    __slots__ = ("_descriptor", "_tiff")

    def __init__(self, path: Path, options: ConversionOptions) -> None:
        check_directories(path)
        self._tiff = _open(path)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._describe(options)
        except BaseException:
            self.close()
            raise

    def _describe(self, options: ConversionOptions) -> None:
        pages = _guarded(find_pages, self._tiff)
        base = pages.levels[0][0]
        spacing, channels, properties = _properties(pages, base)
        samples = 3 if base.samplesperpixel >= 3 else 1
        fluorescence = samples == 1 and (len(pages.levels[0]) > 1 or base.bitspersample == 16 or base.photometric == 1)
        background = 0 if fluorescence else (1 << base.bitspersample) - 1
        levels, channel_count = self._levels(pages, background, options)
        super().__init__(
            format=pages.kind,
            levels=levels,
            channels=properties_of.same_count(channels, channel_count),
            samples_per_pixel=samples,
            bits=base.bitspersample,
            fluorescence=fluorescence,
            lossless=base.compression not in (6, 7) and int(base.compression) not in (33003, 33004, 33005, 34712),
            subsampled=_subsampled(base, self._descriptor),
            spacing_um=spacing,
            properties=properties,
            icc_profile=properties_of.icc_profile(base.tags),
            associated={name: partial(_picture, page, self._descriptor) for name, page in pages.associated.items()},
        )

    def _levels(self, pages: Pages, background: int, options: ConversionOptions) -> tuple[list[SourceLevel], int]:
        if not pages.levels[0][0].is_tiled:
            level = _striped(pages.levels[0][0], self._descriptor, options)
            return [level], 1
        cache = TileCache()
        levels: list[SourceLevel] = []
        for index, channel_pages in enumerate(pages.levels):
            planes = [TiffPlane(page, self._descriptor, background) for page in channel_pages]
            # Philips pads every level to whole tiles, so that sizes do not tell the scale.
            downsample = float(1 << index) if pages.kind == "philips" else None
            levels.append(TiffLevel(planes, cache, downsample))
        return levels, len(pages.levels[0])

    def close(self) -> None:
        self._tiff.close()
        os.close(self._descriptor)


def _open(path: Path) -> Any:
    try:
        return tifffile.TiffFile(path)
    except tifffile.TiffFileError:
        raise UnknownSlideFormat("The file is no TIFF") from None
    except Exception as error:  # noqa: BLE001 (border: parser of untrusted bytes)
        raise ConversionError(f"The TIFF cannot be read ({type(error).__name__})") from None


def check_pages(path: Path) -> None:
    """Check that all compressed pieces of a TIFF that another reader will open lie inside the file.

    Raises
    ------
    TruncatedSlide, ConversionError
        When they do not, or cannot be found.
    """
    size = path.stat().st_size
    with _open(path) as tiff:
        try:
            tables = [(page.dataoffsets, page.databytecounts) for page in tiff.pages]
        except Exception as error:  # noqa: BLE001 (border: parser of untrusted bytes)
            raise ConversionError(f"The TIFF's images cannot be read ({type(error).__name__})") from None
    for offsets, counts in tables:
        check_extent(np.asarray(offsets, np.int64), np.asarray(counts, np.int64), size)


def _guarded(find: Callable[[Any], Pages], tiff: Any) -> Pages:
    try:
        return find(tiff)
    except DicomsvcError:
        raise
    except Exception as error:  # noqa: BLE001 (border: parser of untrusted bytes)
        raise ConversionError(f"The TIFF's images cannot be read ({type(error).__name__})") from None


def _properties(pages: Pages, base: Any) -> tuple[tuple[float, float] | None, list[Channel], Properties]:
    tags = properties_of.tag_properties(base)
    description = str(base.description or "")
    if pages.kind == "aperio":
        spacing, properties = properties_of.aperio_properties(description)
        return spacing, [], properties
    if pages.kind == "philips":
        spacing, properties = properties_of.philips_properties(description, tags)
        return spacing, [], properties
    if pages.kind == "ome-tiff":
        spacing, channels, properties = properties_of.ome_properties(description, tags)
        return spacing or properties_of.tag_spacing_um(base), channels, properties
    return properties_of.tag_spacing_um(base), [], tags


def _subsampled(page: Any, descriptor: int) -> bool:
    """Whether the source's own JPEG tiles have colour at half resolution."""
    if page.compression != 7 or page.samplesperpixel != 3 or not page.dataoffsets:
        return False
    data = os.pread(descriptor, min(_HEADER_BYTES, page.databytecounts[0]), page.dataoffsets[0])
    try:
        return parse_jpeg(with_tables(data, page.jpegtables)).subsampled
    except ConversionError:
        return False


def _striped(page: Any, descriptor: int, options: ConversionOptions) -> SourceLevel:
    _check_striped(page, descriptor, options.max_plain_megapixels * 1_000_000)
    samples = 3 if page.samplesperpixel >= 3 else 1
    shape = (page.imagelength, page.imagewidth, samples)
    return level_of_bands(_bands(page, descriptor), shape, page.dtype, options.tile_size, options.scratch)


def _check_striped(page: Any, descriptor: int, max_chunk_pixels: int) -> None:
    if page.dtype is None or page.dtype.kind != "u" or page.bitspersample not in (8, 16):
        raise ConversionError(f"Pixels of {page.bitspersample} bits of this kind cannot be converted")
    if page.photometric not in (0, 1, 2, 6):
        raise ConversionError(f"Photometric interpretation {int(page.photometric)} cannot be converted")
    if not page.imagewidth or not page.imagelength or not page.rowsperstrip:
        raise ConversionError("The TIFF declares an empty image")
    rows = min(page.rowsperstrip, page.imagelength)
    pixels = rows * page.imagewidth
    limit = min(max_chunk_pixels, 3 * MAX_CHUNK_BYTES // page.samplesperpixel)
    if pixels > limit:
        raise ConversionError(f"A strip of {page.imagewidth} x {rows} pixels is too large to decode")
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    strips = -(-page.imagelength // rows) * planes
    if len(page.dataoffsets) < strips:
        raise ConversionError("The TIFF declares an image larger than its strips")
    offsets, counts = np.asarray(page.dataoffsets, np.int64), np.asarray(page.databytecounts, np.int64)
    check_extent(offsets, counts, os.fstat(descriptor).st_size)


def _bands(page: Any, descriptor: int) -> Iterator[Pixels]:
    """Decode strips from the top to the bottom, ``(rows, columns, samples)`` each."""
    rows = min(page.rowsperstrip, page.imagelength)
    strips = -(-page.imagelength // rows)
    planes = page.samplesperpixel if page.planarconfig == 2 and page.samplesperpixel > 1 else 1
    for strip in range(strips):
        height = min(rows, page.imagelength - strip * rows)
        parts = []
        for plane in range(planes):
            index = strip + plane * strips
            data = os.pread(descriptor, page.databytecounts[index], page.dataoffsets[index])
            parts.append(decode_segment(page, data, index)[:height, : page.imagewidth])
        band = parts[0] if planes == 1 else np.concatenate(parts, axis=2)
        if band.shape[0] != height or band.shape[1] != page.imagewidth:
            raise ConversionError("A strip of the TIFF has another size than the file says")
        band = ~band if page.photometric == 0 else band
        yield band[:, :, : 3 if page.samplesperpixel >= 3 else 1]


def _picture(page: Any, descriptor: int) -> Pixels:
    """Decode a label, overview or thumbnail."""
    if page.imagewidth * page.imagelength > _MAX_ASSOCIATED_PIXELS:
        raise ConversionError("A picture beside the slide is too large")
    if page.is_tiled:
        plane = TiffPlane(page, descriptor, (1 << page.bitspersample) - 1)
        return TiffLevel([plane], TileCache()).read(0, 0, 0, plane.columns, plane.rows)
    _check_striped(page, descriptor, _MAX_ASSOCIATED_PIXELS)
    return np.concatenate(list(_bands(page, descriptor)))
