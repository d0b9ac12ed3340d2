"""Which fragments make which frame (PS3.5 A.4): offset tables where they agree with the items, else the items alone."""

import os
import struct
from array import array
from collections.abc import Callable, Iterable

from dicomsvc.dicom.fragments import Fragments
from dicomsvc.dicom.uids import TransferSyntax
from dicomsvc.errors import InvalidInstance

Warn = Callable[[str], None]
_SIGNATURE_BYTES = 12


def frame_starts(
    fd: int, fragments: Fragments, frames: int, extended: bytes, syntax: TransferSyntax, warn: Warn
) -> "array[int] | None":
    """Return the number of each frame's first fragment, and of all fragments; None where each frame has one.

    `extended` is the value of the Extended Offset Table, empty where there is none.

    Raises
    ------
    InvalidInstance
        When neither the tables nor the items yield as many frames as NumberOfFrames says.
    """
    count = len(fragments.offsets)
    if count < frames:
        raise InvalidInstance(f"pixel data has {count} fragments, too few for NumberOfFrames {frames}")
    tables = (
        ("Extended Offset Table", extended, "Q"),
        ("Basic Offset Table", fragments.table, "I"),
    )
    starts = None
    for name, value, code in tables:
        if value and starts is None:
            starts = _from_table(fragments, frames, value, code)
            if starts is None:
                warn(f"the {name} contradicts the items and is ignored")
    if count == frames:
        return None
    if starts is None:
        starts = array("I", [0, count]) if frames == 1 else _from_signatures(fd, fragments, frames, syntax)
    return starts


def _from_table(fragments: Fragments, frames: int, value: bytes, code: str) -> "array[int] | None":
    size = struct.calcsize(f"<{code}")
    if len(value) != frames * size:
        return None
    return _match(fragments, (offset for (offset,) in struct.iter_unpack(f"<{code}", value)))


def _match(fragments: Fragments, table: Iterable[int]) -> "array[int] | None":
    """Find each offset of a table, counted from the first fragment's item, among the items."""
    offsets = fragments.offsets
    base, count = offsets[0], len(offsets)
    starts, at = array("I"), 0
    for offset in table:
        wanted = base + offset
        while at < count and offsets[at] < wanted:
            at += 1
        if at == count or offsets[at] != wanted or (starts and starts[-1] == at):
            return None
        starts.append(at)
    if starts[0] != 0:
        return None
    starts.append(count)
    return starts


def _from_signatures(fd: int, fragments: Fragments, frames: int, syntax: TransferSyntax) -> "array[int]":
    starts = array("I")
    if syntax.frame_starts:
        for number, offset in enumerate(fragments.offsets):
            if os.pread(fd, _SIGNATURE_BYTES, offset).startswith(syntax.frame_starts):
                starts.append(number)
    if len(starts) != frames or starts[0] != 0:
        raise InvalidInstance(
            f"pixel data has {len(fragments.offsets)} fragments and no offset table that tells which of them make the "
            f"{frames} frames"
        )
    starts.append(len(fragments.offsets))
    return starts
