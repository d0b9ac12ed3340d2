"""The headers of JPEG (ISO/IEC 10918-1) and JPEG 2000 (ISO/IEC 15444-1) streams, as far as frames need them."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from dicomsvc.errors import ConversionError

SOI: Final = b"\xff\xd8"
EOI: Final = b"\xff\xd9"
SOS: Final = b"\xff\xda"
# Adobe's application segment with transform 0: the three components are red, green and blue.
ADOBE_RGB: Final = bytes.fromhex("ffee000e41646f626500648000000000")
_STARTS_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_COMMENT = 0xFE
_ADOBE = 0xEE
_J2K_START = b"\xff\x4f\xff\x51"
_J2K_COMMENT = 0x64
_J2K_FIRST_TILE = 0x90


class BadStream(ConversionError):
    """A compressed tile is not what its file says it is."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What the header of one JPEG stream says; ``sampling`` is (horizontal, vertical) of each component."""

    baseline: bool
    bits: int
    columns: int
    rows: int
    components: tuple[int, ...]
    sampling: tuple[tuple[int, int], ...]
    jfif: bool
    adobe_transform: int | None

    @property
    def subsampled(self) -> bool:
        return len(set(self.sampling)) > 1


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Walk the marker segments up to and with start of scan: marker, start and end offset in ``data``.

    Raises
    ------
    BadStream
        When ``data`` ends before the first scan, or is no JPEG stream.
    """
    if data[:2] != SOI:
        raise BadStream("A tile is no JPEG stream")
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise BadStream("A tile's JPEG header is damaged")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(data):
            break
        yield marker, at, end
        if marker == SOS[1]:
            return
        at = end
    raise BadStream("A tile's JPEG header is cut short")


def parse_jpeg(header: bytes) -> JpegHeader:
    """Read a JPEG header (up to the first scan).

    Raises
    ------
    BadStream
        When it is damaged or has no frame header.
    """
    frame: tuple[int, bytes] | None = None
    jfif = False
    adobe: int | None = None
    for marker, start, end in segments(header):
        body = header[start + 4 : end]
        if marker in _STARTS_OF_FRAME:
            frame = marker, body
        elif marker == 0xE0 and body[:4] == b"JFIF":
            jfif = True
        elif marker == _ADOBE and body[:5] == b"Adobe" and len(body) >= 12:
            adobe = body[11]
    if frame is None or len(frame[1]) < 6 or len(frame[1]) < 6 + 3 * frame[1][5]:
        raise BadStream("A tile's JPEG stream has no frame header")
    marker, body = frame
    bits, rows, columns, count = struct.unpack(">BHHB", body[:6])
    parts = [body[6 + 3 * index : 9 + 3 * index] for index in range(count)]
    return JpegHeader(
        baseline=marker == 0xC0,
        bits=bits,
        columns=columns,
        rows=rows,
        components=tuple(part[0] for part in parts),
        sampling=tuple((part[1] >> 4, part[1] & 15) for part in parts),
        jfif=jfif,
        adobe_transform=adobe,
    )


def jpeg_colour(
    header: JpegHeader, declared: Literal["monochrome", "rgb", "ycbcr"]
) -> Literal["monochrome", "rgb", "ycbcr"]:
    """Tell what the components are: markers in the stream go before what the file around it declares.

    A TIFF's RGB without any marker is RGB even though decoders assume YCbCr (ISO/IEC 10918-6 6.1 has the marker).
    """
    if len(header.components) == 1:
        return "monochrome"
    if header.adobe_transform is not None:
        return "rgb" if header.adobe_transform == 0 else "ycbcr"
    if header.jfif or header.subsampled:
        return "ycbcr"
    if bytes(header.components) in (b"RGB", b"rgb"):
        return "rgb"
    return declared


def without_text(header: bytes) -> bytes:
    """Drop comments and application segments that may hold text from a JPEG header; colour markers stay."""
    kept = [SOI]
    for marker, start, end in segments(header):
        application = 0xE0 <= marker <= 0xEF
        plain_jfif = marker == 0xE0 and header[start + 4 : start + 8] == b"JFIF"
        if marker == _COMMENT or (application and marker != _ADOBE and not plain_jfif):
            continue
        kept.append(header[start:end])
    return b"".join(kept)


@dataclass(frozen=True, slots=True)
class Jpeg2000Header:
    """What the main header of one JPEG 2000 codestream says."""

    columns: int
    rows: int
    bits: tuple[int, ...]
    signed: bool
    subsampled: bool
    component_transform: bool
    reversible: bool
    layers: int


def codestream_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Walk the marker segments of a main header up to the first tile-part: marker, start and end offset.

    Raises
    ------
    BadStream
        When ``data`` ends before the first tile-part, or is no bare codestream.
    """
    if data[:4] != _J2K_START:
        raise BadStream("A tile is no JPEG 2000 codestream")
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _J2K_FIRST_TILE:
            yield marker, at, at
            return
        if length < 2 or at + 2 + length > len(data):
            break
        yield marker, at, at + 2 + length
        at += 2 + length
    raise BadStream("A tile's JPEG 2000 header is cut short or damaged")


def parse_jpeg2000(header: bytes) -> Jpeg2000Header:
    """Read the main header of a codestream (A.5 and A.6 of ISO/IEC 15444-1).

    Raises
    ------
    BadStream
        When it is damaged, or lacks image size or coding style.
    """
    size = style = None
    for marker, start, end in codestream_segments(header):
        if marker == 0x51:
            size = header[start + 4 : end]
        elif marker == 0x52:
            style = header[start + 4 : end]
    if size is None or style is None or len(size) < 36 or len(style) < 10:
        raise BadStream("A tile's JPEG 2000 header is incomplete")
    right, bottom, left, top = struct.unpack(">4I", size[2:18])
    count = int.from_bytes(size[34:36], "big")
    parts = [size[36 + 3 * index : 39 + 3 * index] for index in range(count)]
    if any(len(part) < 3 for part in parts) or not parts:
        raise BadStream("A tile's JPEG 2000 header is incomplete")
    return Jpeg2000Header(
        columns=right - left,
        rows=bottom - top,
        bits=tuple((part[0] & 0x7F) + 1 for part in parts),
        signed=any(part[0] & 0x80 for part in parts),
        subsampled=any(part[1] != 1 or part[2] != 1 for part in parts),
        component_transform=style[4] == 1,
        reversible=style[9] == 1,
        layers=int.from_bytes(style[2:4], "big"),
    )


def codestream_without_text(header: bytes) -> bytes:
    """Drop comment segments from the main header of a codestream."""
    kept = [header[:2]]
    for marker, start, end in codestream_segments(header):
        if marker != _J2K_COMMENT:
            kept.append(header[start:end])
    return b"".join(kept)
