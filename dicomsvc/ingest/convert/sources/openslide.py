"""Slides that OpenSlide reads: MIRAX, Leica SCN, Ventana BIF, Hamamatsu, Sakura, Trestle, Zeiss."""

import datetime as dt
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import openslide

from dicomsvc.errors import ConversionError, TruncatedSlide, UnknownSlideFormat
from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources.base import (
    Associated,
    Channel,
    Pixels,
    Properties,
    SlideDescription,
    StoredTiles,
)
from dicomsvc.ingest.convert.sources.ndpi import fluorescent_channel
from dicomsvc.ingest.convert.sources.tiff_properties import plausible

_NAMES: Final[Mapping[str, Associated]] = {"label": "label", "macro": "overview", "thumbnail": "thumbnail"}
_MAX_ASSOCIATED_PIXELS: Final = 64_000_000


def vendor(path: Path) -> str | None:
    """Return OpenSlide's name for the format, or ``None``."""
    try:
        found: str | None = openslide.OpenSlide.detect_format(str(path))
    except openslide.OpenSlideError:
        return None
    return found


def open_slide(path: Path, _options: ConversionOptions) -> "OpenSlideSource":
    """Open a slide with OpenSlide.

    Raises
    ------
    UnknownSlideFormat
        When OpenSlide does not know the format.
    TruncatedSlide
        When it knows it, but cannot open the file.
    """
    if vendor(path) is None:
        raise UnknownSlideFormat("The file is no slide, or files that belong beside it are missing")
    try:
        return OpenSlideSource(openslide.OpenSlide(str(path)), fluorescent_channel(path))
    except openslide.OpenSlideError:
        raise TruncatedSlide("The slide is cut short or damaged, or files that belong beside it are missing") from None


class OpenSlideSource(SlideDescription):
    """An open slide."""

    __slots__ = ("_slide",)

    def __init__(self, slide: Any, fluorescence: Channel | None = None) -> None:
        self._slide = slide
        properties = slide.properties
        background = _background(properties)
        left, top = _bounds_start(properties)
        width, height = _bounds_size(slide)
        super().__init__(
            format=properties.get(openslide.PROPERTY_NAME_VENDOR, "openslide"),
            levels=[
                OpenSlideLevel(slide, index, (left, top), (width, height), background)
                for index in range(slide.level_count)
            ],
            channels=[fluorescence or Channel()],
            samples_per_pixel=3,
            bits=8,
            fluorescence=fluorescence is not None,
            lossless=False,
            subsampled=True,
            spacing_um=_spacing(properties),
            properties=_properties(properties),
            icc_profile=_profile(slide),
            associated={
                _NAMES[name]: partial(_picture, slide, name) for name in slide.associated_images if name in _NAMES
            },
        )

    def close(self) -> None:
        self._slide.close()


class OpenSlideLevel:
    """One level, cut to the scanned bounds; reading is safe from several threads."""

    def __init__(
        self, slide: Any, index: int, start: tuple[int, int], size: tuple[int, int], background: tuple[int, int, int]
    ) -> None:
        self._slide, self._index, self._start = slide, index, start
        self._background = np.array(background, np.uint16)
        self.downsample: float | None = float(slide.level_downsamples[index])
        self._scale = self.downsample
        full = slide.level_dimensions[index]
        self.columns = min(full[0], max(1, round(size[0] / self._scale)))
        self.rows = min(full[1], max(1, round(size[1] / self._scale)))
        self.tile_columns = self.tile_rows = 512

    def stored(self, channel: int) -> StoredTiles | None:
        return None

    def read(self, channel: int, column: int, row: int, columns: int, rows: int) -> Pixels:
        at = (round(self._start[0] + column * self._scale), round(self._start[1] + row * self._scale))
        try:
            image = np.asarray(self._slide.read_region(at, self._index, (columns, rows)))
        except openslide.OpenSlideError as error:
            raise ConversionError(f"A part of the slide cannot be decoded ({type(error).__name__})") from None
        return _without_alpha(image, self._background)


def _without_alpha(image: Pixels, background: Any) -> Pixels:
    alpha = image[:, :, 3]
    colour: Pixels = np.ascontiguousarray(image[:, :, :3])
    if alpha.min() == 255:
        return colour
    weight = alpha[:, :, np.newaxis].astype(np.uint16)
    mixed: Pixels = ((colour * weight + background * (255 - weight) + 127) // 255).astype(np.uint8)
    return mixed


def _background(properties: Mapping[str, str]) -> tuple[int, int, int]:
    text = properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR, "FFFFFF")
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return 255, 255, 255
    return (value[0], value[1], value[2]) if len(value) == 3 else (255, 255, 255)


def _bounds_start(properties: Mapping[str, str]) -> tuple[int, int]:
    return int(properties.get(openslide.PROPERTY_NAME_BOUNDS_X, 0)), int(
        properties.get(openslide.PROPERTY_NAME_BOUNDS_Y, 0)
    )


def _bounds_size(slide: Any) -> tuple[int, int]:
    columns, rows = slide.dimensions
    properties = slide.properties
    return (
        min(int(properties.get(openslide.PROPERTY_NAME_BOUNDS_WIDTH, columns)), columns),
        min(int(properties.get(openslide.PROPERTY_NAME_BOUNDS_HEIGHT, rows)), rows),
    )


def _spacing(properties: Mapping[str, str]) -> tuple[float, float] | None:
    try:
        return plausible(
            float(properties[openslide.PROPERTY_NAME_MPP_X]), float(properties[openslide.PROPERTY_NAME_MPP_Y])
        )
    except (KeyError, ValueError):
        return None


def _properties(properties: Mapping[str, str]) -> Properties:
    def first(*names: str) -> str | None:
        return next((properties[name] for name in names if properties.get(name)), None)

    maker = first("tiff.Make", "hamamatsu.Make") or (first(openslide.PROPERTY_NAME_VENDOR) or "").capitalize()
    software = first("tiff.Software", "hamamatsu.Software")
    power = first(openslide.PROPERTY_NAME_OBJECTIVE_POWER)
    return Properties(
        manufacturer=maker or None,
        model_name=first("tiff.Model", "hamamatsu.Model", "leica.device-model", "ventana.ScannerModel"),
        device_serial_number=first(
            "hamamatsu.ScannerSerialNumber", "hamamatsu.NDP.S/N", "ventana.UnitNumber", "mirax.GENERAL.SCANNER_ID"
        ),
        software_versions=(software,) if software else (),
        acquired=_acquired(properties),
        magnification=float(power) if power and power.replace(".", "", 1).isdigit() else None,
        barcode=first("leica.barcode", "ventana.Barcode1D", "aperio.Barcode"),
    )


def _acquired(properties: Mapping[str, str]) -> dt.datetime | None:
    for name, pattern, length in (
        ("tiff.DateTime", "%Y:%m:%d %H:%M:%S", 19),
        ("leica.creation-date", "%Y-%m-%dT%H:%M:%S", 19),
        ("mirax.GENERAL.SLIDE_CREATIONDATETIME", "%d/%m/%Y %H:%M:%S", 19),
    ):
        try:
            return dt.datetime.strptime(properties[name][:length], pattern)
        except (KeyError, ValueError):
            continue
    return None


def _profile(slide: Any) -> bytes | None:
    profile = slide.color_profile
    return None if profile is None else bytes(profile.tobytes())


def _picture(slide: Any, name: str) -> Pixels:
    image = slide.associated_images[name]
    if image.width * image.height > _MAX_ASSOCIATED_PIXELS:
        raise ConversionError("A picture beside the slide is too large")
    return _without_alpha(np.asarray(image), np.array((255, 255, 255), np.uint16))
