"""Where compressed frames carry text beside pixels, and what is written over it.

Nothing is cut out: comments are overwritten in place, so that lengths and offset tables stay true and every other byte
of a frame is the one that came. Ruled by ITU-T T.81 and T.87 (JPEG, JPEG-LS markers), T.800 (JPEG 2000 markers and
boxes), ISO 18181-2 (JPEG XL boxes).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from dicomsvc.dicom.uids import TRANSFER_SYNTAXES

Buffer = bytes | mmap
# A marker: not a stuffed zero (T.87: not a stuffed bit), no restart, no fill byte.
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]", re.DOTALL)
_JPEG_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]", re.DOTALL)
_SOI, _EOI, _TEM = 0xD8, 0xD9, 0x01
_APP0, _APP8, _APP14, _APP15, _COM = 0xE0, 0xE8, 0xEE, 0xEF, 0xFE
_JFIF_BYTES = 14
_ADOBE_BYTES = 12
_SPIFF_BYTES = 30
_SPIFF_END: Final = b"\0\0\0\1"
_SOT, _SOD, _EOC, _J2K_COM = 0xFF90, 0xFF93, 0xFFD9, 0xFF64
_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_JPEG_XL_CODESTREAM: Final = b"\xff\x0a"
_PIXEL_BOXES: Final = frozenset((b"jP  ", b"JXL ", b"ftyp", b"jp2h", b"jp2c", b"jxlc", b"jxlp", b"jxll", b"jxli"))
_HEADER_BOXES: Final = frozenset((b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef", b"res "))


@dataclass(frozen=True, slots=True)
class Patch:
    """Bytes that are written over: from ``start`` up to ``end``, with ``fill`` as often as it takes."""

    start: int
    end: int
    fill: bytes = b"\0"

    def bytes_between(self, start: int, end: int) -> bytes:
        """Return the new bytes of a part."""
        if len(self.fill) == 1:
            return self.fill * (end - start)
        return self.fill[start - self.start : end - self.start]


def frame_patches(transfer_syntax_uid: str, data: Buffer, start: int, end: int) -> list[Patch]:
    """Return what is to be overwritten in a frame, in ascending order."""
    media_type = TRANSFER_SYNTAXES[transfer_syntax_uid].media_type
    if media_type in ("image/jpeg", "image/jls"):
        return list(_jpeg(data, start, end, _JPEG_MARKER if media_type == "image/jpeg" else _JPEG_LS_MARKER))
    if media_type in ("image/jp2", "image/jpx", "image/jphc"):
        if data[start : start + 4] == _CODESTREAM:
            return list(_codestream(data, start, end))
        return list(_boxes(data, start, end))
    if media_type == "image/jxl" and data[start : start + 2] != _JPEG_XL_CODESTREAM:
        return list(_boxes(data, start, end))
    if media_type == "image/dicom-rle":
        return list(_rle(data, start, end))
    return []


def _jpeg(data: Buffer, start: int, end: int, marker: "re.Pattern[bytes]") -> Iterator[Patch]:
    position = start
    while (match := marker.search(data, position, end)) is not None:
        position = match.end()
        code = data[match.start() + 1]
        if code in (_SOI, _TEM):
            continue
        if code == _EOI:
            if end - position > 1 or any(data[position:end]):
                yield Patch(position, end)
            return
        size = int.from_bytes(data[position : min(end, position + 2)], "big")
        if size < 2:
            continue
        stop = min(end, position + size)
        yield from _segment(data, code, position + 2, stop)
        position = stop


def _segment(data: Buffer, code: int, start: int, end: int) -> Iterator[Patch]:
    """Overwrite comments and application segments, but for what decoders go by."""
    if start >= end:
        return
    if code == _COM:
        yield Patch(start, end, b" ")
    elif _APP0 <= code <= _APP15:
        head = data[start : start + 5]
        if code == _APP0 and head == b"JFIF\0":
            # Without the thumbnail: its size is in the last two bytes.
            if end - start > _JFIF_BYTES:
                yield Patch(start + _JFIF_BYTES - 2, end)
        elif code == _APP14 and head == b"Adobe":
            if end - start > _ADOBE_BYTES:
                yield Patch(start + _ADOBE_BYTES, end)
        elif code == _APP8 and _is_colour_of_jpeg_ls(data, start, end):
            return
        else:
            yield Patch(start, end)


def _is_colour_of_jpeg_ls(data: Buffer, start: int, end: int) -> bool:
    """Whether a segment is the SPIFF header, the end of SPIFF's directory, or the colour transform of JPEG-LS."""
    body = data[start : min(end, start + 32)]
    if body.startswith(b"SPIFF\0"):
        return end - start == _SPIFF_BYTES
    return end - start <= _JFIF_BYTES and body.startswith((b"mrfx", _SPIFF_END))


def _codestream(data: Buffer, start: int, end: int) -> Iterator[Patch]:
    """Overwrite comments in the main header and in those of the tile-parts, and what follows the end."""
    position = start + 2
    while position + 4 <= end:
        code = int.from_bytes(data[position : position + 2], "big")
        if code == _EOC:
            if end - position > 3 or any(data[position + 2 : end]):
                yield Patch(position + 2, end)
            return
        size = int.from_bytes(data[position + 2 : position + 4], "big")
        if code < 0xFF00 or size < 2 or position + 2 + size > end:
            yield Patch(position, end)
            return
        if code != _SOT:
            yield from _marker_segment(code, position, size)
            position += 2 + size
            continue
        part = int.from_bytes(data[position + 6 : position + 10], "big")
        stop = position + part if part else end
        yield from _tile_part_header(data, position + 2 + size, min(stop, end))
        if not position < stop < end:
            return
        position = stop


def _tile_part_header(data: Buffer, position: int, end: int) -> Iterator[Patch]:
    while position + 4 <= end:
        code = int.from_bytes(data[position : position + 2], "big")
        size = int.from_bytes(data[position + 2 : position + 4], "big")
        if code == _SOD or code < 0xFF00 or size < 2 or position + 2 + size > end:
            return
        yield from _marker_segment(code, position, size)
        position += 2 + size


def _marker_segment(code: int, position: int, size: int) -> Iterator[Patch]:
    if code == _J2K_COM and size > 4:
        yield Patch(position + 6, position + 2 + size, b" ")


def _boxes(data: Buffer, start: int, end: int, depth: int = 0) -> Iterator[Patch]:
    """Make boxes of metadata free space; look into those of pixels."""
    position = start
    while position + 8 <= end:
        size, kind = int.from_bytes(data[position : position + 4], "big"), bytes(data[position + 4 : position + 8])
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        stop = position + size if size else end
        if (size and size < head) or stop > end:
            break
        body = position + head
        if kind == b"jp2h" and depth == 0:
            yield from _boxes(data, body, stop, 1)
        elif kind == b"jp2c":
            yield from _codestream(data, body, stop)
        elif kind not in (_PIXEL_BOXES if depth == 0 else _HEADER_BOXES):
            yield Patch(position + 4, position + 8, b"free")
            if body < stop:
                yield Patch(body, stop)
        position = stop
    if end - position > 1 or any(data[position:end]):
        yield Patch(position, end)


def _rle(data: Buffer, start: int, end: int) -> Iterator[Patch]:
    """Overwrite the unused offsets of an RLE header (PS3.5 G.5)."""
    count = int.from_bytes(data[start : start + 4], "little")
    if count < 15 and end - start >= 64:
        unused = start + 4 + 4 * count
        if any(data[unused : start + 64]):
            yield Patch(unused, start + 64)
