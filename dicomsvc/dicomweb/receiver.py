"""Instances out of a request's body into the store, one by one: a bad part does no harm to the others.

What runs here blocks and belongs into a thread. Parts are spooled one after the other; those that are complete are
stored by other threads meanwhile, small ones some at a time in one transaction, which halves what each costs. When one
of these cannot be stored, each is tried alone.
"""

import logging
import mmap
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Protocol

from dicomsvc.dicom.part10 import read_file_meta
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dicomweb.multipart_in import Event, PartData, PartEnd, PartStart
from dicomsvc.errors import DicomsvcError, NotParseable, OutOfResources, TooLarge, UnsupportedInstance
from dicomsvc.store import Source, SpoolFile, Store, Stored

_log = logging.getLogger(__name__)
_GROUP_PARTS: Final = 24
_GROUP_BYTES: Final = 8 << 20
_GROUPS_AT_ONCE: Final = 2
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
        self._storing: deque[Future[list[Outcome]]] = deque()
        self._group: list[SpoolFile | Failure] = []
        self._group_bytes = 0
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
        self._await(0)
        self._outcomes.extend(self._add_group(self._group))
        self._group = []
        return self._outcomes

    def _await(self, at_most: int) -> None:
        while len(self._storing) > at_most:
            self._outcomes.extend(self._storing.popleft().result())

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
            self._group.append(Failure(error or NotParseable("the part is empty")))
        else:
            self._group.append(spooled)
            self._group_bytes += spooled.size
        if len(self._group) >= _GROUP_PARTS or self._group_bytes >= _GROUP_BYTES:
            self._store_group()

    def _store_group(self) -> None:
        if not self._group:
            return
        self._await(_GROUPS_AT_ONCE - 1)
        self._storing.append(self._threads.submit(self._add_group, self._group))
        self._group, self._group_bytes = [], 0

    def _add_group(self, group: list[SpoolFile | Failure]) -> list[Outcome]:
        files = [part for part in group if isinstance(part, SpoolFile)]
        with ExitStack() as stack:
            for file in files:
                stack.enter_context(file)
            stored = iter(self._add_together(files) or self._add_each(files))
            return [part if isinstance(part, Failure) else next(stored) for part in group]

    def _add_together(self, files: list[SpoolFile]) -> list[Stored] | None:
        if len(files) < 2:
            return None
        try:
            return self._store.add_all(files, self._source, study_instance_uid=self._study_instance_uid)
        except Exception as error:  # noqa: BLE001 - each is tried alone then, and answered for itself
            if not isinstance(error, DicomsvcError):
                _log.error("storing instances together failed unexpectedly (%s)", type(error).__name__)
            return None

    def _add_each(self, files: list[SpoolFile]) -> Iterator[Outcome]:
        failed: OutOfResources | None = None
        for file in files:
            outcome = self._add(file) if failed is None else Failure(failed, *_uids(file))
            if isinstance(outcome, Failure) and isinstance(outcome.error, OutOfResources):
                # Nothing else would have more luck, and each would wait as long.
                failed = outcome.error
            yield outcome

    def _add(self, file: SpoolFile) -> Outcome:
        try:
            return self._store.add(file, self._source, study_instance_uid=self._study_instance_uid)
        except DicomsvcError as error:
            return Failure(error, *_uids(file))
        except Exception as error:  # noqa: BLE001 - one part's surprise must not lose the answers of the others
            _log.error("storing an instance failed unexpectedly (%s)", type(error).__name__)
            return Failure(DicomsvcError("internal error; see the service's log"), *_uids(file))

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
