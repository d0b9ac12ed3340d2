"""Instances out of a request's body into the store, one by one: a bad part does no harm to the others.

What runs here blocks and belongs into a thread. Parts are spooled one after the other; those that are complete are
stored by a few threads meanwhile, so that waiting for the disk overlaps.
"""

import logging
import mmap
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Final, Protocol

from dicomsvc.dicom.part10 import read_file_meta
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dicomweb.multipart_in import Event, PartData, PartEnd, PartStart
from dicomsvc.errors import DicomsvcError, NotParseable, OutOfResources, TooLarge, UnsupportedInstance
from dicomsvc.store import Source, SpoolFile, Store, Stored

_log = logging.getLogger(__name__)
_AT_ONCE: Final = 8
# What is still read of a body, and thrown away, once the store is full, so that the sender gets to read the answer.
_DRAIN_BYTES: Final = 256 << 20
_PART_TYPES: Final = frozenset({"application/dicom", "application/octet-stream", ""})


@dataclass(frozen=True, slots=True)
class Failure:
    """A part that was not stored; UIDs where its File Meta Information has them."""

    error: DicomsvcError
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


Outcome = Stored | Failure


class BodyReader(Protocol):
    def feed(self, piece: bytes) -> Iterable[Event]: ...

    def close(self) -> Iterable[Event]: ...


class WholeBody:
    """Reads a body that is one Part 10 file as one part."""

    def __init__(self) -> None:
        self._begun = False

    def feed(self, piece: bytes) -> Iterator[Event]:
        if not self._begun:
            self._begun = True
            yield PartStart({})
        yield PartData(memoryview(piece))

    def close(self) -> Iterator[Event]:
        if self._begun:
            yield PartEnd(complete=True)


class Receiver:
    """Takes the pieces of one body.

    Parameters
    ----------
    threads
        Store complete parts.
    study_instance_uid
        The only study whose instances are taken; None: any.
    """

    def __init__(
        self, store: Store, reader: BodyReader, source: Source, study_instance_uid: str | None, threads: Executor
    ) -> None:
        self._store = store
        self._reader = reader
        self._source = source
        self._study_instance_uid = study_instance_uid
        self._threads = threads
        self._outcomes: list[Outcome] = []
        self._storing: deque[Future[Outcome]] = deque()
        self._spooled: SpoolFile | None = None
        self._error: DicomsvcError | None = None
        self._drained = 0

    @property
    def full(self) -> bool:
        """Whether reading on is of no use: the store is full and enough was drained."""
        return self._drained > _DRAIN_BYTES

    def feed(self, piece: bytes) -> None:
        """Take the next piece.

        Raises
        ------
        BadRequest, TooLarge
            When the body cannot be read on; what came before stays stored.
        """
        for event in self._reader.feed(piece):
            self._take(event)

    def finish(self) -> list[Outcome]:
        """Take the end of the body and return what became of each part, in their order."""
        for event in self._reader.close():
            self._take(event)
        return self._results()

    def stop(self) -> list[Outcome]:
        """Drop the part that is being received and return what became of those before."""
        self._discard()
        return self._results()

    def _results(self) -> list[Outcome]:
        while self._storing:
            self._outcomes.append(self._storing.popleft().result())
        return self._outcomes

    def _take(self, event: Event) -> None:
        match event:
            case PartStart(headers):
                self._discard()
                self._error = _unsupported(headers.get("content-type", ""))
            case PartData(data):
                self._write(data)
            case PartEnd(complete):
                self._end(complete)

    def _write(self, data: memoryview) -> None:
        if self._error is not None:
            if isinstance(self._error, OutOfResources | TooLarge):
                self._drained += len(data)
            return
        try:
            if self._spooled is None:
                self._spooled = self._store.spool()
            self._spooled.write(data)
        except DicomsvcError as error:
            self._error = error
            self._drop()

    def _end(self, complete: bool) -> None:
        spooled, error = self._spooled, self._error
        self._spooled = self._error = None
        if error is None and spooled is None:
            error = NotParseable("the part is empty")
        elif error is None and not complete:
            error = NotParseable("the body ends before the part does")
        if error is not None or spooled is None:
            if spooled is not None:
                spooled.discard()
            failed: Future[Outcome] = Future()
            failed.set_result(Failure(error or NotParseable("the part is empty")))
            self._storing.append(failed)
        else:
            self._storing.append(self._threads.submit(self._add, spooled))
        while len(self._storing) > _AT_ONCE:
            self._outcomes.append(self._storing.popleft().result())

    def _add(self, spooled: SpoolFile) -> Outcome:
        with spooled:
            try:
                return self._store.add(spooled, self._source, study_instance_uid=self._study_instance_uid)
            except DicomsvcError as error:
                return Failure(error, *_uids(spooled))
            except Exception as error:  # noqa: BLE001 - one part's surprise must not lose the answers of the others
                _log.error("storing an instance failed unexpectedly (%s)", type(error).__name__)
                return Failure(DicomsvcError("internal error; see the service's log"), *_uids(spooled))

    def _discard(self) -> None:
        self._drop()
        self._error = None

    def _drop(self) -> None:
        if self._spooled is not None:
            self._spooled.discard()
            self._spooled = None


def _unsupported(content_type: str) -> DicomsvcError | None:
    if content_type.partition(";")[0].strip().lower() in _PART_TYPES:
        return None
    return UnsupportedInstance("a part's Content-Type is not application/dicom")


def _uids(spooled: SpoolFile) -> tuple[str, str]:
    """Return the SOP Class and Instance UID by which a client knows the part; empty where they are not to be had."""
    try:
        with mmap.mmap(spooled.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[128:132] != b"DICM":
                return "", ""
            meta = read_file_meta(data)
    except (DicomsvcError, OSError, ValueError):
        return "", ""
    uids = meta.sop_class_uid, meta.sop_instance_uid
    return uids if all(map(is_valid_uid, uids)) else ("", "")
