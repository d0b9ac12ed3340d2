"""Where instances go: the service hands its spool, the command line a folder."""

import os
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from dicomsvc.errors import ConversionError, OutOfResources


class OutputFile(Protocol):
    """One instance being written, front to back. The store's ``SpoolFile`` is one."""

    @property
    def path(self) -> Path: ...

    def write(self, data: bytes, /) -> int:
        """Append all of ``data``, which is never changed afterwards."""
        ...

    def discard(self) -> None:
        """Close and remove the file; called when the conversion fails, for every file that it opened."""
        ...


class Sink(Protocol):
    """Makes output files; they stay open when the conversion has ended, for the sink's owner to publish."""

    def open(self, name: str, /) -> OutputFile:
        """Open a file for one instance; ``name`` (the SOP Instance UID) is a hint that a sink may ignore."""
        ...


class FolderFile:
    """A file with a temporary name in its final folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.dcm"
        self._temporary = folder / f".{name}.part"
        self._descriptor = os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)

    def write(self, data: bytes, /) -> int:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise OutOfResources(f"The output folder cannot be written: {error.strerror}") from None
        return len(data)

    def publish(self) -> None:
        """Make the content durable under the final name, unless that name is taken."""
        os.fsync(self._descriptor)
        # A link, unlike a rename, never replaces what is there.
        os.link(self._temporary, self.path)

    @property
    def kept(self) -> bool:
        return self._descriptor >= 0

    def discard(self) -> None:
        if self.kept:
            os.close(self._descriptor)
            self._descriptor = -1
            self._temporary.unlink(missing_ok=True)


class FolderSink:
    """A folder in which either all instances of a slide appear, or none.

    Use as a context: files have hidden temporary names until it is left without an exception.

    Raises
    ------
    ConversionError
        When the folder cannot be made or written, or holds an instance of that name already.
    OutOfResources
        When its disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[FolderFile] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConversionError(f"Cannot make the output folder: {error.strerror}") from None

    def open(self, name: str, /) -> FolderFile:
        try:
            file = FolderFile(self._folder, name)
        except OSError as error:
            raise ConversionError(f"Cannot write into the output folder: {error.strerror}") from None
        self._files.append(file)
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            for file in self._files:
                file.discard()

    def _publish(self) -> None:
        published: list[Path] = []
        try:
            for file in self._files:
                if file.kept:
                    file.publish()
                    published.append(file.path)
            self._sync()
        except OSError as error:
            for path in published:
                path.unlink(missing_ok=True)
            raise ConversionError(f"Cannot put the instances into place: {error.strerror}") from None

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
