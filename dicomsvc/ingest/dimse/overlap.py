"""Writes a large object to the spool on a second thread while more of it arrives."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from dicomsvc.store import SpoolFile

BLOCK_BYTES: Final = 1 << 20
_BLOCKS: Final = 3


class OverlappedWriter:
    """Gathers pieces into blocks and hands full ones to a second thread; an object of one block needs none.

    Three blocks go round: one is filled, one is written, and one may still be hashed by the spool file, which waits for
    that before it takes the block after the next. To be used as a context manager, within the spool file's own: at its
    end nothing is being written any more.
    """

    def __init__(self, spooled: SpoolFile) -> None:
        self._spooled = spooled
        self._blocks: list[bytearray] = []
        self._block = bytearray(BLOCK_BYTES)
        self._filled = 0
        self._thread: ThreadPoolExecutor | None = None
        self._writing: Future[int] | None = None

    def write(self, piece: memoryview) -> None:
        """Take a piece, which may change afterwards.

        Raises
        ------
        OutOfResources, TooLarge
            As `SpoolFile.write`, for this piece or an earlier one.
        """
        while piece:
            taken = min(len(piece), BLOCK_BYTES - self._filled)
            self._block[self._filled : self._filled + taken] = piece[:taken]
            self._filled += taken
            piece = piece[taken:]
            if self._filled == BLOCK_BYTES:
                self._hand_over()

    def finish(self) -> None:
        """Write what is left; raises as `write`."""
        self._await()
        if self._filled:
            self._spooled.write(memoryview(self._block)[: self._filled])
            self._filled = 0

    def _hand_over(self) -> None:
        self._await()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="dimse-write")
        self._writing = self._thread.submit(self._spooled.write, memoryview(self._block))
        self._blocks.append(self._block)
        self._block = self._blocks.pop(0) if len(self._blocks) == _BLOCKS else bytearray(BLOCK_BYTES)
        self._filled = 0

    def _await(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown()
