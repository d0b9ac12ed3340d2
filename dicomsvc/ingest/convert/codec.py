"""Pixels to compressed frames and back."""

from dataclasses import dataclass
from typing import Final

import imagecodecs
import numpy as np
from pydicom.uid import JPEG2000, UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from dicomsvc.errors import ConversionError
from dicomsvc.ingest.convert.bitstream import BadStream, jpeg_colour, parse_jpeg, parse_jpeg2000
from dicomsvc.ingest.convert.options import Codec
from dicomsvc.ingest.convert.sources.base import Pixels, StoredTiles

# PS3.3 C.7.6.1.1.5.1
LOSSY_JPEG: Final = "ISO_10918_1"
LOSSY_JPEG2000: Final = "ISO_15444_1"


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """How frames are encoded: what the data set must say about them."""

    transfer_syntax_uid: UID
    photometric_interpretation: str
    lossy_method: str | None

    @property
    def encapsulated(self) -> bool:
        return self.transfer_syntax_uid != ExplicitVRLittleEndian


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encodes frames of one instance.

    Parameters
    ----------
    subsampled
        Halve the resolution of colour in both directions (4:2:0), as the source did.
    """

    format: FrameFormat
    quality: int
    subsampled: bool

    def encode(self, pixels: Pixels) -> bytes:
        """Encode one frame, ``(rows, columns, samples)``."""
        syntax = self.format.transfer_syntax_uid
        image = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        if syntax == JPEGBaseline8Bit:
            return self._jpeg(image)
        if syntax == ExplicitVRLittleEndian:
            return image.astype(image.dtype.newbyteorder("<"), copy=False).tobytes()
        return bytes(
            imagecodecs.jpeg2k_encode(
                np.ascontiguousarray(image),
                level=None if syntax == JPEG2000Lossless else self.quality,
                codecformat="j2k",
                reversible=syntax == JPEG2000Lossless,
                mct=image.ndim == 3,
                numthreads=1,
            )
        )

    def _jpeg(self, image: Pixels) -> bytes:
        if image.ndim == 2:
            return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(image), level=self.quality))
        return bytes(
            imagecodecs.jpeg8_encode(
                np.ascontiguousarray(image),
                level=self.quality,
                colorspace="RGB",
                outcolorspace="YCBCR",
                subsampling="420" if self.subsampled else "444",
            )
        )


def make_encoder(codec: Codec, *, quality: int, samples: int, bits: int, subsampled: bool) -> Encoder:
    """Choose how frames that are made here are encoded.

    Raises
    ------
    ConversionError
        When the codec cannot carry these pixels.
    """
    if codec == "auto":
        codec = "jpeg" if bits == 8 else "jpeg2000-lossless"
    if codec == "jpeg" and bits != 8:
        raise ConversionError("JPEG baseline carries 8 bits a sample; choose codec jpeg2000-lossless or uncompressed")
    monochrome = samples == 1
    formats = {
        "jpeg": FrameFormat(JPEGBaseline8Bit, "MONOCHROME2" if monochrome else "YBR_FULL_422", LOSSY_JPEG),
        "jpeg2000": FrameFormat(JPEG2000, "MONOCHROME2" if monochrome else "YBR_ICT", LOSSY_JPEG2000),
        "jpeg2000-lossless": FrameFormat(JPEG2000Lossless, "MONOCHROME2" if monochrome else "YBR_RCT", None),
        "uncompressed": FrameFormat(ExplicitVRLittleEndian, "MONOCHROME2" if monochrome else "RGB", None),
    }
    # OpenJPEG's quality is a peak signal to noise ratio in decibels; 90 of JPEG is some 45 dB.
    level = quality // 2 if codec == "jpeg2000" else quality
    return Encoder(formats[codec], level, subsampled)


def decode_tile(data: bytes, tiles: StoredTiles) -> Pixels:
    """Decode one stored tile to ``(rows, columns, samples)``.

    Raises
    ------
    ConversionError
        When the tile is damaged, or has another size than its file says.
    """
    try:
        image = _decode(data, tiles)
    except BadStream:
        raise
    except Exception as error:  # noqa: BLE001 (border: codecs on untrusted bytes raise anything)
        raise ConversionError(f"A tile cannot be decoded ({type(error).__name__})") from None
    return image[:, :, np.newaxis] if image.ndim == 2 else image


def _decode(data: bytes, tiles: StoredTiles) -> Pixels:
    if tiles.codec == "jpeg2000":
        # Some writers wrap the codestream in JP2 boxes.
        header2000 = parse_jpeg2000(data[max(0, data.find(b"\xff\x4f\xff\x51")) :])
        check_tile_size(header2000.columns, header2000.rows, tiles)
        decoded: Pixels = imagecodecs.jpeg2k_decode(data, numthreads=1)
        if tiles.colour == "ycbcr" and decoded.ndim == 3 and not header2000.component_transform:
            return ycbcr_to_rgb(decoded)
        return decoded
    complete = with_tables(data, tiles.tables)
    header = parse_jpeg(complete)
    check_tile_size(header.columns, header.rows, tiles)
    if header.bits != 8:
        raise BadStream("A tile's JPEG stream has more than 8 bits")
    colour = jpeg_colour(header, tiles.colour)
    image: Pixels
    if colour == "monochrome":
        image = imagecodecs.jpeg8_decode(complete)
    else:
        stored = "RGB" if colour == "rgb" else "YCBCR"
        image = imagecodecs.jpeg8_decode(complete, colorspace=stored, outcolorspace="RGB")
    return image


def check_tile_size(columns: int, rows: int, tiles: StoredTiles) -> None:
    """Refuse a stream that would decode to something larger than its file's tiles.

    Raises
    ------
    BadStream
        When it would.
    """
    if columns > tiles.tile_columns or rows > tiles.tile_rows or columns < 1 or rows < 1:
        raise BadStream("A tile has another size than its file says")


def with_tables(data: bytes, tables: bytes | None) -> bytes:
    """Put a TIFF's JPEGTables into an abbreviated stream (TIFF Technical Note 2)."""
    if tables is None or len(tables) < 4:
        return data
    return data[:2] + tables[2:-2] + data[2:]


def ycbcr_to_rgb(image: Pixels) -> Pixels:
    """Convert full-range YCbCr of ITU-R BT.601 (PS3.3 C.7.6.3.1.2) to RGB."""
    luma, blue, red = (image[:, :, index].astype(np.float32) for index in range(3))
    blue -= 128
    red -= 128
    rgb = np.stack((luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue), axis=2)
    clipped: Pixels = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return clipped
