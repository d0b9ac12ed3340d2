"""Pixel data on its way out: copied with comments written over, or, for a label in an overview, blanked (PS3.5 A.4)."""

import io
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from mmap import ALLOCATIONGRANULARITY, MADV_DONTNEED, mmap
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid as known

from dicomsvc.deidentify.bitstreams import Buffer, Patch, frame_patches
from dicomsvc.deidentify.layout import Layout
from dicomsvc.deidentify.output import CHUNK, Write
from dicomsvc.deidentify.profile import Profile
from dicomsvc.dicom.encoding import ITEM, OFFSET_TABLES, SEQUENCE_DELIMITER, UNDEFINED, Head
from dicomsvc.dicom.frames import ITEM_HEADER, FrameIndex
from dicomsvc.errors import InvalidInstance, UnsupportedInstance

_MAX_JOINED: Final = 1 << 28
_MAX_BLANKED: Final = 1 << 28
_EXTENDED_OFFSETS, _EXTENDED_LENGTHS = sorted(OFFSET_TABLES)
_GREY: Final = 128
"""Middle grey: as luminance and colour differences, and as red, green and blue."""
_QUALITY: Final = 95


@dataclass(frozen=True, slots=True)
class Area:
    """Columns and rows of the total pixel matrix, from the first up to the last one, not included."""

    left: int
    top: int
    right: int
    bottom: int


class FramesOut:
    """Writes the pixel data element of one instance."""

    def __init__(self, data: mmap, frames: FrameIndex, write: Write, layout: Layout) -> None:
        self._data = data
        self._frames = frames
        self._write = write
        self._layout = layout

    def copy(self, head: Head, vr: str) -> int:
        """Write the pixel data as it came, but for text beside the pixels; return where it ends in the file."""
        frames = self._frames
        if frames.offsets is None or frames.lengths is None:
            return self._copy_native(head, vr)
        self._write(self._layout.head(head.tag, vr, UNDEFINED))
        start = frames.offsets[0] - ITEM_HEADER
        end = start + frames.length + ITEM_HEADER
        self._write(self._offset_table())
        position = start
        for number in range(1, frames.number_of_frames + 1):
            ranges = frames.ranges(number)
            stop = ranges[-1][0] + ranges[-1][1]
            patches = self._patches(ranges)
            if patches or stop - position > CHUNK:
                self._copy_range(position, stop, patches)
                position = stop
        self._copy_range(position, end, [])
        return end

    def _offset_table(self) -> bytes:
        """Return the Basic Offset Table's item: the one that came when it is true, else an empty one."""
        frames = self._frames
        assert frames.offsets is not None
        true = self._starts()
        first = frames.offsets[0] - ITEM_HEADER
        size = 4 * len(true)
        if true[-1] <= 0xFFFFFFFF and self._data[first - size - ITEM_HEADER : first - size] == self._layout.head(
            ITEM, "", size, bare=True
        ):
            table = array("I", true)
            value = self._data[first - size : first]
            if value == _little_endian(table):
                return self._layout.head(ITEM, "", size, bare=True) + value
        return self._layout.head(ITEM, "", 0, bare=True)

    def _starts(self) -> "array[int]":
        """Return the offset of each frame's first item from the first frame's one."""
        offsets, starts = self._frames.offsets, self._frames.starts
        assert offsets is not None
        first = offsets[0]
        if starts is None:
            return array("Q", (offset - first for offset in offsets))
        return array("Q", (offsets[starts[number]] - first for number in range(self._frames.number_of_frames)))

    def true_tables(self, offsets: bytes, lengths: bytes) -> frozenset[int]:
        """Return the tags of the Extended Offset Table and its lengths when both are as the items are."""
        frames = self._frames
        if frames.lengths is None or frames.starts is not None or len(lengths) != 8 * len(frames.lengths):
            return frozenset()
        if offsets != _little_endian(self._starts()):
            return frozenset()
        padding = np.frombuffer(frames.lengths, np.uint32).astype(np.int64) - np.frombuffer(lengths, "<u8").astype(
            np.int64
        )
        return OFFSET_TABLES if bool(np.all((padding == 0) | (padding == 1))) else frozenset()

    def _patches(self, ranges: Sequence[tuple[int, int]]) -> list[Patch]:
        syntax = self._frames.transfer_syntax_uid
        if len(ranges) == 1:
            offset, length = ranges[0]
            return frame_patches(syntax, self._data, offset, offset + length)
        if sum(length for _, length in ranges) > _MAX_JOINED:
            raise UnsupportedInstance("a frame of several fragments is too large to be looked through")
        joined: Buffer = b"".join(self._data[offset : offset + length] for offset, length in ranges)
        return list(_spread(frame_patches(syntax, joined, 0, len(joined)), ranges))

    def _copy_range(self, position: int, end: int, patches: list[Patch]) -> None:
        waiting = iter(patches)
        patch = next(waiting, None)
        for start in range(position, end, CHUNK):
            stop = min(end, start + CHUNK)
            piece = self._data[start:stop]
            if patch is not None and patch.start < stop:
                patched = bytearray(piece)
                while patch is not None and patch.start < stop:
                    first, last = max(patch.start, start), min(patch.end, stop)
                    patched[first - start : last - start] = patch.bytes_between(first, last)
                    if patch.end > stop:
                        break
                    patch = next(waiting, None)
                piece = bytes(patched)
            self._write(piece)
            self._let_go(start, stop)

    def _let_go(self, position: int, end: int) -> None:
        """Give back the memory of what has been copied: a mapped file counts as its reader's."""
        page = position // ALLOCATIONGRANULARITY * ALLOCATIONGRANULARITY
        self._data.madvise(MADV_DONTNEED, page, end - page)

    def _copy_native(self, head: Head, vr: str) -> int:
        frames = self._frames
        end = frames.offset + frames.length
        used = frames.offset + (frames.frame_bits * frames.number_of_frames + 7) // 8
        self._write(self._layout.head(head.tag, vr, frames.length + frames.length % 2))
        self._copy_range(frames.offset, end, [Patch(used, end)] if used < end else [])
        if frames.length % 2:
            self._write(b"\0")
        return end

    def blank(self, head: Head, vr: str, area: Area, columns: int) -> int:
        """Write the pixel data with an area in grey; return where it ends in the file.

        Frames lie in rows of a total pixel matrix that is ``columns`` wide (TILED_FULL with one path and plane).
        """
        frames = self._frames
        across = -(-columns // frames.columns)
        encapsulated = frames.offsets is not None
        self._write(self._layout.head(head.tag, vr, UNDEFINED if encapsulated else frames.length + frames.length % 2))
        if encapsulated:
            self._write(self._layout.head(ITEM, "", 0, bare=True))
        for number in range(1, frames.number_of_frames + 1):
            row, column = divmod(number - 1, across)
            left, top = column * frames.columns, row * frames.rows
            part = Area(
                max(0, area.left - left), max(0, area.top - top), max(0, area.right - left), max(0, area.bottom - top)
            )
            frame = self._blanked(b"".join(self._data[a : a + size] for a, size in frames.ranges(number)), part)
            if encapsulated:
                frame += b"\0" * (len(frame) % 2)
                self._write(self._layout.head(ITEM, "", len(frame), bare=True))
            self._write(frame)
        if encapsulated:
            self._write(self._layout.head(SEQUENCE_DELIMITER, "", 0, bare=True))
        elif frames.length % 2:
            self._write(b"\0")
        return frames.offset + frames.length

    def _blanked(self, frame: bytes, part: Area) -> bytes:
        frames = self._frames
        if frames.offsets is None:
            pixels = (
                np.frombuffer(frame, np.uint8).reshape(frames.rows, frames.columns, frames.samples_per_pixel).copy()
            )
            pixels[part.top : part.bottom, part.left : part.right] = _GREY
            return pixels.tobytes()
        return _encoded(_blank(_decoded(frame), part), frames.photometric_interpretation)


def can_be_blanked(frames: FrameIndex, columns: int, rows: int, organisation: str) -> bool:
    """Whether `FramesOut.blank` can be used: 8 bits, JPEG baseline or native, and the frames' places are known."""
    tiles = -(-columns // max(1, frames.columns)) * -(-rows // max(1, frames.rows))
    if frames.number_of_frames != tiles or (tiles > 1 and organisation != "TILED_FULL"):
        return False
    frame_bytes = frames.rows * frames.columns * frames.samples_per_pixel
    if frames.bits_allocated != 8 or not 0 < frame_bytes * tiles <= _MAX_BLANKED:
        return False
    if frames.offsets is None:
        return frames.frame_bits == 8 * frame_bytes and frames.planar_configuration == 0
    return frames.transfer_syntax_uid == known.JPEGBaseline8Bit


def label_area(profile: Profile, columns: int, rows: int) -> Area:
    """Return where the profile says that the label is."""
    share = profile.overview_label_share
    wide, high = int(np.ceil(columns * share)), int(np.ceil(rows * share))
    return {
        "left": Area(0, 0, wide, rows),
        "right": Area(columns - wide, 0, columns, rows),
        "top": Area(0, 0, columns, high),
        "bottom": Area(0, rows - high, columns, rows),
    }[profile.overview_label]


def _spread(patches: list[Patch], ranges: Sequence[tuple[int, int]]) -> Iterator[Patch]:
    """Translate patches of joined fragments into patches of the file."""
    begin = 0
    for offset, length in ranges:
        for patch in patches:
            first, last = max(patch.start, begin), min(patch.end, begin + length)
            if first < last:
                yield Patch(offset + first - begin, offset + last - begin, patch.bytes_between(first, last))
        begin += length


def _little_endian(values: "array[int]") -> bytes:
    return np.frombuffer(values, f"=u{values.itemsize}").astype(f"<u{values.itemsize}").tobytes()


def _decoded(frame: bytes) -> Image.Image:
    """Decode a JPEG frame without a colour transform."""
    try:
        image = Image.open(io.BytesIO(frame), formats=("JPEG",))
        if image.mode == "RGB" and not _is_rgb(image):
            image.draft("YCbCr", None)
        image.load()
    except Exception as error:  # noqa: BLE001 - the border of a foreign decoder
        raise InvalidInstance(f"an overview image's frame cannot be decoded ({type(error).__name__})") from None
    return image


def _is_rgb(image: Image.Image) -> bool:
    return image.info.get("adobe_transform") == 0


def _blank(image: Image.Image, part: Area) -> npt.NDArray[np.uint8]:
    pixels = np.array(image)
    pixels[part.top : part.bottom, part.left : part.right] = _GREY
    return pixels


def _encoded(pixels: npt.NDArray[np.uint8], photometric: str) -> bytes:
    stream = io.BytesIO()
    if pixels.ndim == 2:
        Image.fromarray(pixels).save(stream, "JPEG", quality=_QUALITY)
    elif photometric == "RGB":
        Image.fromarray(pixels, "RGB").save(stream, "JPEG", quality=_QUALITY, subsampling=0, keep_rgb=True)
    else:
        Image.fromarray(pixels, "YCbCr").save(stream, "JPEG", quality=_QUALITY, subsampling=1)
    return stream.getvalue()
