"""The items of encapsulated pixel data (PS3.5 A.4), found by their headers alone."""

import os
import struct
from array import array
from dataclasses import dataclass
from typing import Final

from dicomsvc.errors import NotParseable

_WINDOW = 512
MAX_FRAGMENTS: Final = 1 << 23
MAX_TABLE_BYTES: Final = 1 << 26
_ITEM = 0xE000FFFE
_DELIMITER = 0xE0DDFFFE


@dataclass(frozen=True, slots=True)
class Fragments:
    """Where each fragment's bytes lie in the file, without the item headers."""

    offsets: "array[int]"
    lengths: "array[int]"
    table: bytes
    """The Basic Offset Table's value, as it stands in the first item."""
    end: int
    """Offset behind the Sequence Delimitation Item."""


def walk_fragments(fd: int, offset: int, size: int) -> Fragments:
    """Walk the items from `offset`, the Basic Offset Table's item, to the Sequence Delimitation Item.

    Reads little more than the item headers, however large the fragments are.

    Raises
    ------
    NotParseable
        When the items do not lead to a delimiter within `size` bytes, or are too many to be frames.
    """
    offsets, lengths = array("Q"), array("I")
    header = struct.Struct("<II").unpack_from
    pread = os.pread
    window, start, stop = b"", 0, 0
    position = offset
    while True:
        if position + 8 > stop:
            window = pread(fd, _WINDOW, position)
            start, stop = position, position + len(window)
            if len(window) < 8:
                raise NotParseable("pixel data is cut short: it has no Sequence Delimitation Item")
        tag, length = header(window, position - start)
        position += 8
        if tag != _ITEM:
            break
        if length > size - position:
            raise NotParseable("pixel data is cut short: a fragment reaches beyond the end of the file")
        offsets.append(position)
        lengths.append(length)
        if len(offsets) > MAX_FRAGMENTS:
            raise NotParseable(f"pixel data has more than {MAX_FRAGMENTS} fragments")
        position += length
    if tag != _DELIMITER:
        raise NotParseable("pixel data is broken: something else stands where an item should")
    if not offsets:
        return Fragments(offsets, lengths, b"", position)
    table = os.pread(fd, lengths[0], offsets[0]) if lengths[0] <= MAX_TABLE_BYTES else b""
    return Fragments(offsets[1:], lengths[1:], table, position)
