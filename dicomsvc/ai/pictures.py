"""Reads plain pictures (PNG, JPEG, TIFF, …) as 8-bit RGB, whatever they hold; nothing in them is trusted."""

import stat
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from dicomsvc.errors import NotFound, NotParseable, TooLarge

Picture = npt.NDArray[np.uint8]
MAX_PIXELS: Final = 150_000_000
_MAX_BYTES: Final = 1 << 31
_WIDE_GREY: Final = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_picture(path: Path) -> Picture:
    """Return a picture as ``(rows, columns, 3)``.

    16 bits a sample are cut to 8, grey becomes colour, transparent pixels white. Of several pages the first is read;
    a rotation that EXIF asks for is not done, so that places in the result are those of the stored pixels.

    Raises
    ------
    NotFound
        When there is no such file.
    TooLarge
        When it has more than `MAX_PIXELS`: a slide belongs into the store.
    NotParseable
        When it is no picture, or a damaged one.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise NotFound("is no plain file")
        if status.st_size > _MAX_BYTES:
            raise TooLarge(f"is larger than {_MAX_BYTES >> 30} GB")
        with path.open("rb") as file:
            is_tiff = file.read(4) in _TIFF
    except OSError as error:
        raise NotFound(error.strerror or "cannot be read") from error
    try:
        if is_tiff:
            return _from_tiff(path)
        return _from_pillow(path)
    except (TooLarge, NotParseable):
        raise
    except Image.DecompressionBombError as error:
        raise _too_large() from error
    except Exception as error:
        raise NotParseable(f"cannot be read as a picture ({type(error).__name__})") from error


def _from_pillow(path: Path) -> Picture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large()
            return _eight_bits(image)


def _eight_bits(image: Image.Image) -> Picture:
    if image.mode in _WIDE_GREY:
        return _rgb(np.asarray(image).astype(np.int64).clip(0, 65535).astype(np.uint16))
    if image.mode == "F":
        return _rgb(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _from_tiff(path: Path) -> Picture:
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        if page.imagewidth * page.imagelength > MAX_PIXELS:
            raise _too_large()
        plain = page.photometric in (1, 2) and page.bitspersample in (8, 16, 32)
        if not plain or page.imagedepth > 1:
            return _from_pillow(path)
        values = page.asarray()
        if page.planarconfig == 2 and values.ndim == 3:
            values = values.transpose(1, 2, 0)
        return _rgb(values, has_alpha=any(int(extra) in (1, 2) for extra in page.extrasamples))


def _rgb(values: npt.NDArray[Any], *, has_alpha: bool = False) -> Picture:
    """Return samples of any type, ``(rows, columns)`` or ``(rows, columns, samples)``, as RGB."""
    if values.ndim == 2:
        values = values[:, :, np.newaxis]
    if values.ndim != 3 or 0 in values.shape:
        raise NotParseable(f"a picture of shape {values.shape} is not understood")
    shown = _to_bytes(values)
    colour = shown[:, :, :3] if shown.shape[2] >= 3 else np.repeat(shown[:, :, :1], 3, axis=2)
    if has_alpha and shown.shape[2] in (2, 4):
        alpha = shown[:, :, -1:].astype(np.uint16)
        colour = ((colour * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
    return np.ascontiguousarray(colour)


def _to_bytes(values: npt.NDArray[Any]) -> Picture:
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    if values.dtype.kind == "f":
        finite = np.nan_to_num(values.astype(np.float32), nan=0, posinf=0, neginf=0)
        top = 1.0 if finite.max() <= 1 else 255.0 if finite.max() <= 255 else 65535.0
        return np.asarray(np.rint(np.clip(finite / np.float32(top), 0, 1) * 255), np.uint8)
    return np.asarray(np.clip(values, 0, 65535) >> 8, np.uint8)


def _too_large() -> TooLarge:
    return TooLarge(f"has more than {MAX_PIXELS // 1_000_000} megapixels; import it as a slide instead")
