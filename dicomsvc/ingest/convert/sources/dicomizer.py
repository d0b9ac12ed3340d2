"""Formats that wsidicomizer's extras read; the only module that knows wsidicomizer."""

import math
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from wsidicom.codec import Encoder
from wsidicom.codec.settings import JpegSettings
from wsidicom.geometry import Point

from dicomsvc.errors import ConversionError, DicomsvcError, TruncatedSlide
from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources.base import (
    Associated,
    Channel,
    Pixels,
    Properties,
    SlideDescription,
    StoredTiles,
)
from dicomsvc.ingest.convert.sources.tiff_properties import plausible


class DicomizerLevel:
    """The finest level; coarser ones are made from it."""

    def __init__(self, image: Any) -> None:
        self._image = image
        self._lock = threading.Lock()
        self.columns, self.rows = int(image.image_size.width), int(image.image_size.height)
        self.tile_columns, self.tile_rows = int(image.tile_size.width), int(image.tile_size.height)
        self.downsample: float | None = None

    def stored(self, channel: int) -> StoredTiles | None:
        return None

    def read(self, channel: int, column: int, row: int, columns: int, rows: int) -> Pixels:
        width, height = self.tile_columns, self.tile_rows
        left, top = column // width, row // height
        right, bottom = math.ceil((column + columns) / width), math.ceil((row + rows) / height)
        bands = [
            np.concatenate([self._tile(channel, across, down) for across in range(left, right)], axis=1)
            for down in range(top, bottom)
        ]
        mosaic = np.concatenate(bands, axis=0)
        x, y = column - left * width, row - top * height
        return mosaic[y : y + rows, x : x + columns]

    def _tile(self, channel: int, across: int, down: int) -> Pixels:
        path = self._image.optical_paths[channel]
        plane = self._image.focal_planes[len(self._image.focal_planes) // 2]
        with self._lock:
            tile: Pixels = np.asarray(self._image.get_decoded_tile(Point(across, down), plane, path))
        return tile[:, :, np.newaxis] if tile.ndim == 2 else tile[:, :, :3]


class DicomizerSource(SlideDescription):
    """An open slide."""

    __slots__ = ("_source",)

    def __init__(self, source: Any, name: str) -> None:
        self._source = source
        image = source._create_level_image_data(0)
        samples, bits = int(image.samples_per_pixel), int(image.bits)
        spacing = image.pixel_spacing
        equipment = source.base_metadata.equipment
        channels = [Channel(str(path)) for path in image.optical_paths]
        super().__init__(
            format=name,
            levels=[DicomizerLevel(image)],
            channels=channels if samples == 1 else channels[:1],
            samples_per_pixel=samples,
            bits=16 if bits > 8 else 8,
            fluorescence=samples == 1,
            lossless=False,
            subsampled=False,
            spacing_um=plausible(spacing.width * 1000, spacing.height * 1000),
            properties=Properties(
                manufacturer=equipment.manufacturer,
                model_name=equipment.model_name,
                device_serial_number=equipment.device_serial_number,
                software_versions=tuple(equipment.software_versions or ()),
                acquired=source.base_metadata.pyramid.image.acquisition_datetime,
            ),
            icc_profile=None,
            associated=_pictures(source),
        )

    def close(self) -> None:
        self._source.close()


def _pictures(source: Any) -> dict[Associated, Callable[[], Pixels]]:
    found: dict[Associated, Callable[[], Pixels]] = {}
    for name, image in (
        ("label", source._create_label_image_data()),
        ("overview", source._create_overview_image_data()),
    ):
        if image is not None:
            found["label" if name == "label" else "overview"] = partial(_picture, image)
    return found


def _picture(image: Any) -> Pixels:
    picture: Pixels = np.asarray(image.get_decoded_tile(Point(0, 0), 0.0, "0").convert("RGB"))
    return picture


def open_with(factory: Callable[..., Any], name: str, path: Path, options: ConversionOptions) -> DicomizerSource:
    """Open a slide with one of wsidicomizer's sources.

    Raises
    ------
    TruncatedSlide
        When it cannot be opened.
    """
    encoder = Encoder.create_for_settings(JpegSettings())
    try:
        return DicomizerSource(factory(path, encoder, options.tile_size), name)
    except DicomsvcError:
        raise
    except Exception as error:  # noqa: BLE001 (border: parsers of untrusted bytes raise anything)
        raise TruncatedSlide(f"The {name} file is cut short or damaged ({type(error).__name__})") from None


def missing(extra: str, name: str) -> ConversionError:
    """Say which extra reads the format."""
    return ConversionError(f"{name} needs an extra: pip install 'dicomsvc[{extra}]'")
