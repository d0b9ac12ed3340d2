"""What a walk has written so far: a buffer that can be rolled back until it is handed on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

CHUNK: Final = 1 << 20
Write = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in what is written."""

    length: int
    elements: int
    handed_on: int
    muted: int


class Output:
    """Collects small pieces and hands them on as large ones."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._buffer = bytearray()
        self._elements = 0
        self._handed_on = 0
        self.muted = 0
        """While this is not zero nothing is written."""

    def frame(self, data: bytes) -> None:
        """Write what stands around elements: heads of sequences and items, delimiters."""
        if not self.muted:
            self._buffer += data

    def element(self, data: bytes) -> None:
        """Write an element; empty: nothing."""
        if self.muted or not data:
            return
        if len(self._buffer) > CHUNK:
            self.hand_on()
        self._buffer += data
        self._elements += 1

    def hand_on(self) -> None:
        """Pass on all that was collected."""
        if self._buffer:
            self._write(bytes(self._buffer))
            self._buffer.clear()
            self._handed_on += 1

    def large(self, pieces: Iterable[bytes]) -> None:
        """Pass on pieces of one value without collecting them."""
        if self.muted:
            return
        self.hand_on()
        for piece in pieces:
            self._write(piece)

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(len(self._buffer), self._elements, self._handed_on, self.muted)

    def has_elements_since(self, checkpoint: Checkpoint) -> bool:
        return self._elements != checkpoint.elements or self._handed_on != checkpoint.handed_on

    def roll_back(self, checkpoint: Checkpoint) -> bool:
        """Forget what was written since; False when some of that was handed on."""
        if self._handed_on != checkpoint.handed_on:
            return False
        del self._buffer[checkpoint.length :]
        self._elements, self.muted = checkpoint.elements, checkpoint.muted
        return True
