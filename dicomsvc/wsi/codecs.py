"""Decoding of single frames to arrays.

The bytes come from other people's files: what a codestream says of its own size is compared with what the data set says
before any decoder allocates memory for it.
"""

import struct
from collections.abc import Callable
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from dicomsvc.dicom.frames import PixelDescription
from dicomsvc.dicom.uids import TRANSFER_SYNTAXES
from dicomsvc.errors import DamagedFile, NotAcceptable

Pixels = npt.NDArray[Any]
MAX_FRAME_BYTES: Final = 1 << 29
_YBR = ("YBR_FULL", "YBR_FULL_422")
_SUBSAMPLED = ("YBR_FULL_422", "YBR_PARTIAL_422")
_FLOAT_ELEMENTS: Final = {"7FE00008": "<f4", "7FE00009": "<f8"}
_END_OF_IMAGE: Final = b"\xff\xd9"
_RLE_HEADER = struct.Struct("<16I")


def can_decode(transfer_syntax_uid: str) -> bool:
    syntax = TRANSFER_SYNTAXES.get(transfer_syntax_uid)
    return syntax is not None and (not syntax.encapsulated or syntax.media_type in _DECODERS)


def decode_frame(data: bytes | memoryview, description: PixelDescription, *, bit_offset: int = 0) -> Pixels:
    """Decode one frame to an array ``(rows, columns, samples)`` of the data set's own sample type.

    Colour comes out as RGB whatever it was stored as; PALETTE COLOR and monochrome stay as they are. One bit a pixel
    becomes a byte of 0 or 1. ``bit_offset`` is where in the first byte such a frame begins.

    Raises
    ------
    DamagedFile
        When the bytes are no such frame.
    NotAcceptable
        When there is no decoder, or the frame is too large to be decoded in memory.
    """
    syntax = TRANSFER_SYNTAXES.get(description.transfer_syntax_uid)
    if syntax is None or not can_decode(syntax.uid):
        raise NotAcceptable("frames of this transfer syntax cannot be decoded here; ask for them as they are stored")
    if description.frame_bits // 8 > MAX_FRAME_BYTES:
        raise NotAcceptable("a frame is too large to be decoded; ask for it as it is stored")
    if not syntax.encapsulated:
        return _decode_native(data, description, bit_offset, big_endian=syntax.big_endian)
    _check_size(bytes(data[:65536]), description, syntax.media_type)
    try:
        pixels = _DECODERS[syntax.media_type](bytes(data), description)
    except Exception as error:  # noqa: BLE001 - border: decoders raise whatever they like about untrusted bytes
        raise DamagedFile(f"a frame cannot be decoded ({type(error).__name__})") from None
    return _shaped(pixels, description)


def sample_type(description: PixelDescription) -> np.dtype[Any]:
    """Return the type of one sample, little endian."""
    if description.element in _FLOAT_ELEMENTS:
        return np.dtype(_FLOAT_ELEMENTS[description.element])
    kind = "i" if description.pixel_representation else "u"
    return np.dtype(f"<{kind}{max(1, description.bits_allocated // 8)}")


def _shaped(pixels: Pixels, description: PixelDescription) -> Pixels:
    expected = (description.rows, description.columns, description.samples_per_pixel)
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if pixels.shape != expected:
        raise DamagedFile("a frame has another size than the data set says")
    wanted = sample_type(description)
    if pixels.dtype == wanted:
        return pixels
    if pixels.dtype.kind in "iu" and pixels.dtype.itemsize == wanted.itemsize:
        return pixels.view(wanted)
    return pixels.astype(wanted)


def _decode_native(
    data: bytes | memoryview, description: PixelDescription, bit_offset: int, *, big_endian: bool
) -> Pixels:
    rows, columns, samples = description.rows, description.columns, description.samples_per_pixel
    if len(data) * 8 < bit_offset + description.frame_bits:
        raise DamagedFile("a frame is shorter than the data set says")
    if description.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return bits[bit_offset : bit_offset + rows * columns * samples].reshape(rows, columns, samples)
    dtype = sample_type(description)
    if description.bits_allocated not in (8, 16, 32, 64):
        raise NotAcceptable("frames with this BitsAllocated cannot be decoded here; ask for them as they are stored")
    values = np.frombuffer(
        data, dtype.newbyteorder(">") if big_endian else dtype, description.frame_bits // 8 // dtype.itemsize
    )
    values = values.astype(dtype, copy=False)
    if description.photometric_interpretation in _SUBSAMPLED and samples == 3:
        # PS3.3 C.7.6.3.1.2: Y Y Cb Cr for each two neighbours.
        pairs = values.reshape(rows, columns // 2, 4)
        colour = np.repeat(pairs[:, :, 2:], 2, axis=1)
        values = np.concatenate((pairs[:, :, :2].reshape(rows, columns, 1), colour), axis=2)
    elif description.planar_configuration == 1 and samples > 1:
        values = values.reshape(samples, rows, columns).transpose(1, 2, 0)
    pixels = values.reshape(rows, columns, samples)
    return ybr_to_rgb(pixels) if _is_ybr(description) else pixels


def _is_ybr(description: PixelDescription) -> bool:
    return description.photometric_interpretation in _YBR and description.samples_per_pixel == 3


def ybr_to_rgb(pixels: Pixels) -> Pixels:
    """Convert 8-bit YBR_FULL to RGB (PS3.3 C.7.6.3.1.2)."""
    if pixels.dtype != np.uint8:
        return pixels
    y, cb, cr = (pixels[:, :, i].astype(np.float32) for i in range(3))
    cb -= 128
    cr -= 128
    rgb = np.stack((y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb), axis=2)
    converted: Pixels = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return converted


def _jpeg(data: bytes, description: PixelDescription) -> Pixels:
    # The data set's word on colour counts where the JPEG itself is silent (neither JFIF nor Adobe marker).
    silent = b"JFIF" not in data[:64] and b"Adobe" not in data[:1024]
    colorspace = "RGB" if silent and description.photometric_interpretation == "RGB" else None
    if description.bits_allocated > 8 or description.transfer_syntax_uid.endswith((".57", ".70")):
        return np.asarray(imagecodecs.ljpeg_decode(data) if _is_lossless(data) else imagecodecs.jpeg_decode(data))
    return np.asarray(imagecodecs.jpeg_decode(data, colorspace=colorspace))


def _is_lossless(data: bytes) -> bool:
    return _start_of_frame(data)[0] == 0xC3


def _jpeg_2000(data: bytes, description: PixelDescription) -> Pixels:
    pixels = np.asarray(imagecodecs.jpeg2k_decode(data))
    # YBR_ICT and YBR_RCT are undone by the codec itself (PS3.5 8.2.4); YBR_FULL is not known to it.
    return ybr_to_rgb(pixels) if _is_ybr(description) and pixels.ndim == 3 else pixels


def _htj2k(data: bytes, description: PixelDescription) -> Pixels:
    pixels = np.asarray(imagecodecs.htj2k_decode(data))
    return ybr_to_rgb(pixels) if _is_ybr(description) and pixels.ndim == 3 else pixels


def _jpeg_ls(data: bytes, description: PixelDescription) -> Pixels:
    # Without an end marker CharLS looks for one for seconds, however small the frame is.
    if not data.rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise ValueError("cut short")
    return np.asarray(imagecodecs.jpegls_decode(data))


def _jpeg_xl(data: bytes, description: PixelDescription) -> Pixels:
    return np.asarray(imagecodecs.jpegxl_decode(data))


def _rle(data: bytes, description: PixelDescription) -> Pixels:
    """Decode RLE (PS3.5 G): one segment for each byte of each sample, the most significant first."""
    count, *offsets = _RLE_HEADER.unpack_from(data)
    width = description.bits_allocated // 8
    samples, size = description.samples_per_pixel, description.rows * description.columns
    if count != samples * width:
        raise ValueError("segments")
    ends = [*offsets[1:count], len(data)]
    planes = np.empty((samples, width, size), np.uint8)
    for number, (start, end) in enumerate(zip(offsets, ends, strict=False)):
        segment = unpack_bits(data[start:end], size)
        # Little endian: the most significant byte, which comes first, goes last.
        planes[number // width, width - 1 - number % width] = segment
    values = np.ascontiguousarray(planes.transpose(2, 0, 1)).view(f"<u{width}")
    pixels = values.reshape(description.rows, description.columns, samples)
    return ybr_to_rgb(pixels) if _is_ybr(description) else pixels


def unpack_bits(data: bytes, size: int) -> npt.NDArray[np.uint8]:
    """Decode one RLE segment to exactly ``size`` bytes.

    Raises
    ------
    ValueError
        When it holds fewer.
    """
    out = bytearray()
    position, end = 0, len(data)
    while len(out) < size and position < end:
        control = data[position]
        position += 1
        if control < 128:
            out += data[position : position + control + 1]
            position += control + 1
        elif control > 128:
            out += data[position : position + 1] * (257 - control)
            position += 1
    if len(out) < size:
        raise ValueError("short")
    return np.frombuffer(out, np.uint8, size)


_DECODERS: Final[dict[str, Callable[[bytes, PixelDescription], Pixels]]] = {
    "image/jpeg": _jpeg,
    "image/jls": _jpeg_ls,
    "image/jp2": _jpeg_2000,
    "image/jphc": _htj2k,
    "image/jxl": _jpeg_xl,
    "image/dicom-rle": _rle,
}


def _check_size(head: bytes, description: PixelDescription, media_type: str) -> None:
    if media_type in ("image/jpeg", "image/jls"):
        size: tuple[int, int] | None = _start_of_frame(head)[1:]
    elif media_type in ("image/jp2", "image/jphc"):
        size = _jpeg_2000_size(head)
    else:
        size = None
    if size is not None and size != (description.rows, description.columns):
        raise DamagedFile("a frame has another size than the data set says")


def _start_of_frame(data: bytes) -> tuple[int, int, int]:
    """Return a JPEG's or JPEG-LS's kind of frame, its rows and columns (ISO/IEC 10918-1 B.2)."""
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, columns = struct.unpack_from(">HH", data, position + 5)
            return marker, rows, columns
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise DamagedFile("a frame is no JPEG")


def _jpeg_2000_size(data: bytes) -> tuple[int, int]:
    """Return a JPEG 2000 codestream's rows and columns (ISO/IEC 15444-1 A.5.1)."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 24:
        raise DamagedFile("a frame is no JPEG 2000")
    x, y, x0, y0 = struct.unpack_from(">4I", data, start + 8)
    return y - y0, x - x0
