"""Pictures without a pyramid: PNG and JPEG."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dicomsvc.errors import ConversionError, TruncatedSlide, UnknownSlideFormat
from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources.base import Channel, Pixels, Properties, SlideDescription
from dicomsvc.ingest.convert.sources.raster import ArrayLevel

_MONOCHROME_MODES = frozenset({"1", "L", "LA"})
_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16B", "I"})


class PlainSource(SlideDescription):
    """A decoded picture."""

    __slots__ = ()

    def close(self) -> None:
        self.levels = []


def open_slide(path: Path, options: ConversionOptions) -> PlainSource:
    """Decode a picture.

    Raises
    ------
    UnknownSlideFormat, TruncatedSlide, ConversionError
        When it is none, cut short, or larger than the options allow.
    """
    limit = options.max_plain_megapixels * 1_000_000
    try:
        with warnings.catch_warnings(), Image.open(path, formats=("PNG", "JPEG")) as image:
            # The size is checked here, against the limit of this conversion.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if image.width * image.height > limit:
                raise ConversionError(
                    f"A picture of {image.width} x {image.height} pixels is too large to decode in memory; "
                    "save it as a tiled TIFF"
                )
            profile, lossless = image.info.get("icc_profile"), image.format == "PNG"
            name = str(image.format).lower()
            pixels = _pixels(image)
    except UnidentifiedImageError:
        raise UnknownSlideFormat("The file is no picture that can be read") from None
    except Image.DecompressionBombError:
        raise ConversionError("The picture is too large to decode in memory; save it as a tiled TIFF") from None
    except OSError as error:
        raise TruncatedSlide(f"The picture is cut short or damaged ({type(error).__name__})") from None
    return PlainSource(
        format=name,
        levels=[ArrayLevel(pixels, options.tile_size)],
        channels=[Channel()],
        samples_per_pixel=pixels.shape[2],
        bits=pixels.dtype.itemsize * 8,
        fluorescence=pixels.shape[2] == 1,
        lossless=lossless,
        subsampled=not lossless,
        spacing_um=None,
        properties=Properties(),
        icc_profile=profile if isinstance(profile, bytes) and profile[36:40] == b"acsp" else None,
        associated={},
    )


def _pixels(image: Image.Image) -> Pixels:
    if image.mode in _SIXTEEN_BIT_MODES:
        return np.asarray(image).astype(np.uint16)[:, :, np.newaxis]
    if image.mode in _MONOCHROME_MODES:
        return np.asarray(image.convert("L"))[:, :, np.newaxis]
    if image.mode in ("RGBA", "PA", "P") and ("transparency" in image.info or image.mode != "P"):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))
