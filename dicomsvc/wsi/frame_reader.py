"""Frames of one stored instance, read by their index without parsing the file."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from dicomsvc.dicom.frames import FrameIndex
from dicomsvc.dicom.uids import TRANSFER_SYNTAXES
from dicomsvc.errors import DamagedFile, NotFound
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.store.blocks import Blocks
from dicomsvc.wsi.codecs import Pixels, decode_frame


class FrameFile(Protocol):
    """What is known of the file: a stored instance, or a copy of one. ``size`` in bytes."""

    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def size(self) -> int: ...
    def readable_path(self) -> Path: ...


class FrameReader:
    """An open instance; safe to use from several threads.

    The file stays open until the last user lets go of the reader: a descriptor closed under a running read could be
    another patient's file by the time it reads.

    Parameters
    ----------
    blocks
        Checks of the file's blocks: what is read is compared with them.
    tell_damage
        Called with the file's descriptor when it turns out to be damaged.
    """

    __slots__ = ("_is_damaged", "_tell_damage", "blocks", "fd", "index", "is_packed", "record", "syntax")

    def __init__(
        self,
        record: FrameFile,
        index: FrameIndex,
        blocks: Blocks | None = None,
        tell_damage: Callable[[int], None] = lambda descriptor: None,
    ) -> None:
        self.fd = -1
        self.blocks = blocks
        self._tell_damage = tell_damage
        self._is_damaged = False
        try:
            self.fd = os.open(record.readable_path(), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"instance {record.sop_instance_uid} was deleted") from None
        self.record = record
        self.index = index
        self.syntax = TRANSFER_SYNTAXES[index.transfer_syntax_uid]
        self.is_packed = not self.syntax.encapsulated and bool(index.frame_bits % 8)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def require_intact(self) -> None:
        """Look at the file itself.

        Raises
        ------
        NotFound
            When it has been deleted.
        DamagedFile
            When it no longer has the size it came with, or was found to be damaged.
        """
        status = os.fstat(self.fd)
        if status.st_nlink == 0:
            raise NotFound(f"instance {self.record.sop_instance_uid} was deleted")
        if self._is_damaged:
            raise self._damage()
        if status.st_size != self.record.size:
            raise DamagedFile(f"the file of instance {self.record.sop_instance_uid} has another size than it came with")

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the file.

        Raises
        ------
        DamagedFile
            When they are not what they were, there are fewer, or the disk fails.
        """
        begin, end = self.around(offset, length)
        try:
            data = os.pread(self.fd, end - begin, begin)
            while len(data) < end - begin:
                more = os.pread(self.fd, end - begin - len(data), begin + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise DamagedFile(f"instance {self.record.sop_instance_uid} cannot be read: {error.strerror}") from None
        if len(data) != end - begin:
            raise DamagedFile(f"the file of instance {self.record.sop_instance_uid} is cut short")
        if not self.holds(begin, data):
            self._is_damaged = True
            self._tell_damage(self.fd)
            raise self._damage()
        return data[offset - begin : offset - begin + length]

    def around(self, offset: int, length: int) -> tuple[int, int]:
        """Return begin and end of what is to be read for these bytes to be compared with what they were."""
        return (offset, offset + length) if self.blocks is None else self.blocks.around(offset, length)

    def holds(self, begin: int, data: bytes | memoryview) -> bool:
        """Whether data read from ``begin`` to the end that `around` gave is what it was, as far as that is known."""
        return self.blocks is None or self.blocks.hold(begin, data)

    def _damage(self) -> DamagedFile:
        return DamagedFile(f"the file of instance {self.record.sop_instance_uid} is damaged; restore it from a backup")

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes."""
        return self.index.nbytes + (0 if self.blocks is None else self.blocks.nbytes)

    def encoded(self, frame_number: int) -> bytes:
        """Return a frame as it is stored; one bit a pixel begins at a byte border.

        Raises
        ------
        NotFound, DamagedFile
        """
        ranges = self.index.ranges(frame_number)
        data = b"".join([self.read(offset, length) for offset, length in ranges])
        if not self.is_packed:
            return data
        return cut_bits(data, self.index.bit_offset(frame_number), self.index.frame_bits)

    def decoded(self, frame_number: int) -> Pixels:
        """Return a frame as an array ``(rows, columns, samples)``; see `decode_frame`."""
        return decode_frame(self.encoded(frame_number), self.index)

    def native(self, frame_number: int) -> bytes:
        """Return a frame as Explicit VR Little Endian has it, samples interleaved, colour as RGB."""
        if self.index.bits_allocated == 1 or not (self.syntax.encapsulated or self.syntax.big_endian):
            return self.encoded(frame_number)
        return self.decoded(frame_number).tobytes()

    @property
    def native_bytes(self) -> int:
        """Length in bytes of what `native` returns."""
        index = self.index
        if self.syntax.encapsulated or self.syntax.big_endian:
            return (index.rows * index.columns * index.samples_per_pixel * index.bits_allocated + 7) // 8
        return (index.frame_bits + 7) // 8


def cut_bits(data: bytes, bit_offset: int, bits: int) -> bytes:
    """Return ``bits`` bits from ``bit_offset`` on, least significant first, the last byte filled with zeros."""
    value = int.from_bytes(data, "little") >> bit_offset & (1 << bits) - 1
    return value.to_bytes((bits + 7) // 8, "little")


def open_frames(store: Store, record: InstanceRecord) -> FrameReader:
    """Open the frames of a stored instance.

    Raises
    ------
    NotFound
        When it has no pixel data, or was deleted meanwhile.
    DamagedFile
        When its file is known to be damaged.
    """
    index, blocks = store.instances.frame_index(record), store.instances.blocks(record)
    reader = FrameReader(record, index, blocks, partial(store.mark_open_damaged, record))
    reader.require_intact()
    return reader
