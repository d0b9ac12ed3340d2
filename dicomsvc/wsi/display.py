"""From stored pixel values to what a screen shows (PS3.4 N.2, PS3.3 C.11.1, C.11.2, C.7.6.3.1.5)."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.wsi.attributes import Dataset, integer, item, number, numbers, text
from dicomsvc.wsi.codecs import Pixels

Shown = npt.NDArray[np.uint8]
_PALETTE_DESCRIPTORS: Final = ("00281101", "00281102", "00281103")
LINEAR: Final = "linear"
FUNCTIONS: Final = (LINEAR, "linear-exact", "sigmoid")


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window; centre and width in modality units."""

    center: float
    width: float
    function: str = LINEAR


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """A palette colour lookup table: ``colours`` of shape ``(entries, 3)``, the first for the value ``first``."""

    first: int
    colours: Shown


def stored_window(ds: Dataset) -> Window | None:
    """Return the first window of a data set, of its shared or of its first frame's functional groups."""
    for each in (ds, item(ds, "52009229", "00289132"), item(ds, "52009230", "00289132")):
        centers, widths = numbers(each, "00281050"), numbers(each, "00281051")
        if centers and widths and widths[0] >= 1:
            function = text(each, "00281056").lower().replace("_", "-")
            return Window(centers[0], widths[0], function if function in FUNCTIONS else LINEAR)
    return None


def rescale(ds: Dataset) -> tuple[float, float]:
    """Return slope and intercept of the modality transformation."""
    for each in (ds, item(ds, "52009229", "00289145"), item(ds, "52009230", "00289145")):
        if "00281053" in each:
            return number(each, "00281053", 1.0), number(each, "00281052", 0.0)
    return 1.0, 0.0


def range_window(lowest: float, highest: float) -> Window:
    """Return the window that shows all values from the lowest to the highest."""
    return Window((lowest + highest) / 2, max(highest - lowest, 1e-9), "linear-exact")


def apply_window(values: npt.NDArray[np.floating], window: Window) -> Shown:
    """Map modality values to 0 to 255 (PS3.3 C.11.2.1.2, C.11.2.1.3)."""
    center, width = window.center, window.width
    if window.function == "sigmoid":
        exponent = np.clip(-4 * (values - center) / max(width, 1e-9), -60, 60)
        shown = 255 / (1 + np.exp(exponent))
    elif window.function == "linear-exact":
        shown = ((values - center) / max(width, 1e-9) + 0.5) * 255
    else:
        shown = ((values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5) * 255
    mapped: Shown = np.clip(np.rint(np.nan_to_num(shown)), 0, 255).astype(np.uint8)
    return mapped


def show(pixels: Pixels, ds: Dataset, window: Window | None, palette: Palette | None) -> Shown:
    """Return a picture ``(rows, columns, 1 or 3)`` of pixels ``(rows, columns, samples)``.

    Without a window 8-bit and 1-bit values use their whole range, others must be given one.
    """
    photometric = text(ds, "00280004")
    if pixels.shape[2] >= 3:
        colour = pixels[:, :, :3]
        bits = max(integer(ds, "00280101", 8), 8)
        return colour if colour.dtype == np.uint8 else (colour >> (bits - 8)).astype(np.uint8)
    pixels = pixels[:, :, :1]
    if palette is not None:
        indices = np.clip(pixels[:, :, 0].astype(np.int64) - palette.first, 0, len(palette.colours) - 1)
        return palette.colours[indices]
    if integer(ds, "00280100", 8) == 1:
        shown: Shown = pixels * np.uint8(255)
    elif window is None:
        shown = pixels.astype(np.uint8)
    else:
        slope, intercept = rescale(ds)
        shown = apply_window(pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept), window)
    return 255 - shown if photometric == "MONOCHROME1" else shown


def needs_window(pixels: Pixels) -> bool:
    """Whether values go beyond what 8 bits show."""
    return pixels.dtype != np.uint8


def read_palette(ds: Dataset, data: tuple[bytes, ...]) -> Palette | None:
    """Return the palette of a data set; ``data`` holds the values of its three lookup tables, little endian.

    Descriptors are wrong in many files, so the number of entries is taken from the data (PS3.3 C.7.6.3.1.5).
    """
    descriptor = numbers(ds, _PALETTE_DESCRIPTORS[0])
    if len(descriptor) != 3 or len(data) != 3 or not all(data):
        return None
    entries = int(descriptor[0]) or 65536
    channels = []
    for table in data:
        if descriptor[2] > 8 and len(table) >= 2 * entries:
            channels.append((np.frombuffer(table, "<u2", entries) >> 8).astype(np.uint8))
        elif len(table) >= entries:
            channels.append(np.frombuffer(table, np.uint8, entries))
        else:
            return None
    return Palette(int(descriptor[1]), np.stack(channels, axis=1))
