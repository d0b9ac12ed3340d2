"""Where each frame of an instance lies in its file (PS3.3 C.7.6.6, PS3.5 8 and A.4)."""

import json
import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from typing import Final, Self

from dicomsvc.dicom.fragments import Fragments
from dicomsvc.dicom.uids import TRANSFER_SYNTAXES
from dicomsvc.errors import DamagedFile, InvalidInstance, NotFound

_MAGIC = b"FI1\n"
_PREFIX = struct.Struct("<4sIII")
ITEM_HEADER: Final = 8
_OBJECT_BYTES = 600
_SUBSAMPLED = ("YBR_FULL_422", "YBR_PARTIAL_422")


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The Image Pixel Module's words (PS3.3 C.7.6.3) that say what the bytes of a frame mean."""

    number_of_frames: int
    transfer_syntax_uid: str
    element: str
    """``7FE00010``, ``7FE00008`` (float) or ``7FE00009`` (double)."""
    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    pixel_representation: int
    planar_configuration: int
    photometric_interpretation: str

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame; frames follow each other without padding (PS3.5 8.1.1)."""
        samples = self.samples_per_pixel
        if self.photometric_interpretation in _SUBSAMPLED and samples == 3:
            samples = 2  # PS3.3 C.7.6.3.1.2: two luminance samples share their colour
        return self.rows * self.columns * samples * self.bits_allocated


_STORED = (*(field.name for field in fields(PixelDescription)), "offset", "length")


@dataclass(frozen=True, slots=True)
class FrameIndex(PixelDescription):
    """Offsets of all frames.

    `ranges` is the way in. Native frames need no arrays: `offset` is the first one's. Of encapsulated ones `offsets`
    and `lengths` list the fragments, and `starts`, where frames have several, the number of each frame's first fragment
    and, last, the number of fragments.
    """

    offset: int
    length: int
    offsets: "array[int] | None" = None
    lengths: "array[int] | None" = None
    starts: "array[int] | None" = None

    def ranges(self, frame_number: int) -> Sequence[tuple[int, int]]:
        """Return offset and length in the file of each fragment of a frame.

        A padding byte that makes a fragment's length even is included. A native frame that does not begin and end on
        byte borders is given with its outermost bytes in full; see `bit_offset`.

        Raises
        ------
        NotFound
            When there is no frame of this number; the first is 1.
        """
        index = frame_number - 1
        if not 0 <= index < self.number_of_frames:
            raise NotFound(f"there is no frame {frame_number}; the instance has {self.number_of_frames}")
        offsets, lengths, starts = self.offsets, self.lengths, self.starts
        if offsets is None or lengths is None:
            first = index * self.frame_bits
            begin, end = first // 8, (first + self.frame_bits + 7) // 8
            return ((self.offset + begin, end - begin),)
        if starts is None:
            return ((offsets[index], lengths[index]),)
        return tuple((offsets[i], lengths[i]) for i in range(starts[index], starts[index + 1]))

    def bit_offset(self, frame_number: int) -> int:
        """Return which bit of the range's first byte, counted from the least significant, begins the frame."""
        if self.offsets is not None:
            return 0
        return (frame_number - 1) * self.frame_bits % 8

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes."""
        arrays = (self.offsets, self.lengths, self.starts)
        return _OBJECT_BYTES + sum(len(each) * each.itemsize for each in arrays if each is not None)

    def to_bytes(self) -> bytes:
        """Return the stored form; fragments follow each other, so their lengths tell their offsets."""
        head = json.dumps([getattr(self, name) for name in _STORED], separators=(",", ":")).encode()
        counts = [0 if each is None else len(each) for each in (self.lengths, self.starts)]
        arrays = [_little_endian(each).tobytes() for each in (self.lengths, self.starts) if each is not None]
        return b"".join((_PREFIX.pack(_MAGIC, len(head), *counts), head, *arrays))

    @classmethod
    def from_bytes(cls, blob: bytes | memoryview) -> Self:
        """Read what `to_bytes` wrote.

        Raises
        ------
        DamagedFile
            When the bytes are something else.
        """
        view = memoryview(blob)
        try:
            magic, head_size, fragment_count, start_count = _PREFIX.unpack_from(view)
            at = _PREFIX.size + head_size
            if magic != _MAGIC or len(view) != at + 4 * (fragment_count + start_count):
                raise DamagedFile("stored frame index has another form or size than it was written with")
            values = json.loads(bytes(view[_PREFIX.size : at]))
            offset, syntax = values[-2], TRANSFER_SYNTAXES[values[1]]
            if len(values) != len(_STORED):
                raise DamagedFile("stored frame index has another form than it was written with")
            known = dict(zip(_STORED, values, strict=True))
            if not syntax.encapsulated:
                return cls(**known)
            lengths = _read(view[at : at + 4 * fragment_count])
            starts = _read(view[at + 4 * fragment_count :]) if start_count else None
        except (struct.error, ValueError, KeyError, IndexError, TypeError):
            raise DamagedFile("stored frame index cannot be read") from None
        steps = accumulate(lengths, lambda sum_, length: sum_ + length + ITEM_HEADER, initial=offset)
        offsets = array("Q", steps)
        offsets.pop()
        return cls(**known, offsets=offsets, lengths=lengths, starts=starts)


def _little_endian(values: "array[int]") -> "array[int]":
    if sys.byteorder == "little":
        return values
    swapped = values[:]
    swapped.byteswap()
    return swapped


def _read(view: memoryview) -> "array[int]":
    values = array("I")
    values.frombytes(view)
    return _little_endian(values)


def index_native(description: PixelDescription, offset: int, length: int, warn: Callable[[str], None]) -> FrameIndex:
    """Index frames that lie one behind the other.

    Raises
    ------
    InvalidInstance
        When there are fewer bytes than the description asks for.
    """
    expected = (description.frame_bits * description.number_of_frames + 7) // 8
    if length < expected:
        raise InvalidInstance(
            f"pixel data has {length} bytes, but Rows, Columns, SamplesPerPixel, BitsAllocated and NumberOfFrames "
            f"ask for {expected}"
        )
    if length > expected + 1:
        warn("pixel data is longer than its description asks for")
    return FrameIndex(**asdict(description), offset=offset, length=length)


def index_encapsulated(description: PixelDescription, fragments: Fragments, starts: "array[int] | None") -> FrameIndex:
    """Index frames of which each has one fragment or, where `starts` is given, several."""
    offset = fragments.offsets[0]
    return FrameIndex(
        **asdict(description),
        offset=offset,
        length=fragments.end - offset,
        offsets=fragments.offsets,
        lengths=fragments.lengths,
        starts=starts,
    )
