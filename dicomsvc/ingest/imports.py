"""The work item ``import``: DICOM files through the one door; and how files become work items."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicomsvc.dicom.uids import new_uid
from dicomsvc.errors import BadRequest, DicomsvcError, NotFound, NotParseable, OutOfResources
from dicomsvc.ingest.dicomdir import referenced_files
from dicomsvc.ingest.recognise import Found, Kind, recognise, search
from dicomsvc.ingest.requests import ImportOptions, read_options
from dicomsvc.jobs import Handler, Jobs, Progress, Work, WorkItem
from dicomsvc.jobs.standin import work_off
from dicomsvc.store import Source, Store

_PIECE = 4 << 20
_THREADS = 4
_IN_FLIGHT = 4 * _THREADS
_LISTED = 1000


@dataclass(slots=True)
class _Result:
    """Counts, and the first files that failed or were passed over, by their names."""

    stored: int = 0
    duplicates: int = 0
    failures: int = 0
    skipped: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    work_items: list[str] = field(default_factory=list)
    studies: set[str] = field(default_factory=set)

    @property
    def files(self) -> int:
        return self.stored + self.duplicates + self.failures + self.skipped + len(self.work_items)

    def fail(self, name: str, error: DicomsvcError) -> None:
        self.failures += 1
        if len(self.failed) < _LISTED:
            self.failed.append({"file": name, "error_kind": type(error).__name__, "error": str(error)})

    def skip(self, name: str) -> None:
        self.skipped += 1
        if len(self.passed_over) < _LISTED:
            self.passed_over.append(name)

    def outputs(self) -> dict[str, Any]:
        counts = [f"{self.stored} stored", f"{self.duplicates} stored before", f"{self.failures} failed"]
        counts += [f"{self.skipped} passed over"] if self.skipped else []
        counts += [f"{len(self.work_items)} slides to convert"] if self.work_items else []
        return {
            "stored": self.stored,
            "duplicates": self.duplicates,
            "failures": self.failures,
            "skipped": self.skipped,
            "failed": self.failed,
            "passed_over": self.passed_over,
            "work_items": self.work_items,
            "study_instance_uids": sorted(self.studies)[:_LISTED],
            "summary": ", ".join(counts),
        }


def import_files(work: Work) -> Mapping[str, Any]:
    """Import ``inputs.path``: a DICOM file, a DICOMDIR with what it names, or a folder.

    Slides in a folder become work items of their own (``outputs.work_items``). A second attempt finds what the first
    one stored and makes no second work item.

    Raises
    ------
    NotParseable
        When there was one file only, and it is not to be kept: that file's error.
    """
    path = Path(work.inputs["path"])
    options = read_options(work.inputs.get("options", {}))
    result = _Result()
    single = not path.is_dir() and recognise(path) is not Kind.DICOMDIR
    dicom = _dicom_files(work, path, options, result)
    for found, outcome in _through_the_door(work, dicom):
        if isinstance(outcome, DicomsvcError):
            if single or isinstance(outcome, OutOfResources):
                raise outcome
            result.fail(found.name, outcome)
        elif outcome.duplicate:
            result.duplicates += 1
            result.studies.add(outcome.study_instance_uid)
        else:
            result.stored += 1
            result.studies.add(outcome.study_instance_uid)
        work.report(Progress(result.files, 0, "importing"))
    if not result.files:
        raise NotParseable("nothing to import was found there")
    if not (result.stored or result.duplicates or result.work_items or result.failures):
        raise NotParseable("there is neither a DICOM file nor a slide")
    work.report(Progress(result.files, result.files, "imported"))
    return result.outputs()


def _dicom_files(work: Work, path: Path, options: ImportOptions, result: _Result) -> Iterator[Found]:
    """Yield the DICOM files below ``path``; on the way make work items of slides."""
    jobs = Jobs(work.store.engine)
    for found in _files(path, result):
        if found.kind is Kind.SLIDE:
            seed = f"{work.uid}/{found.name}"
            item = jobs.create("convert", _convert_inputs(found.path, options, seed), work.requested_by, key=seed)
            result.work_items.append(item.uid)
        elif found.kind is Kind.DICOM:
            yield found
        elif found.kind is Kind.OTHER:
            result.skip(found.name)


def _files(path: Path, result: _Result) -> Iterator[Found]:
    if path.is_dir():
        yield from search(path)
        return
    kind = recognise(path)
    if kind is Kind.DICOMDIR:
        for file in referenced_files(path):
            if file.is_file():
                yield Found(file, Kind.DICOM, str(file.relative_to(path.parent)))
            else:
                result.fail(str(file.relative_to(path.parent)), NotFound("the DICOMDIR names it, but it is not there"))
    else:
        yield Found(path, Kind.DICOM, path.name)


def _through_the_door(work: Work, files: Iterator[Found]) -> Iterator[tuple[Found, Any]]:
    """Store files in parallel; yield each with what was stored, or its error."""
    source = Source("import", work.requested_by)
    stopped = threading.Event()

    def one(found: Found) -> Any:
        if stopped.is_set():
            return NotFound("stopped")
        try:
            return _store_file(work.store, found.path, source)
        except DicomsvcError as error:
            return error

    running: dict[Future[Any], Found] = {}
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="import") as pool:
        try:
            for found in files:
                running[pool.submit(one, found)] = found
                if len(running) >= _IN_FLIGHT:
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield running.pop(future), future.result()
            for future, found in running.items():
                yield found, future.result()
        finally:
            stopped.set()


def _store_file(store: Store, path: Path, source: Source) -> Any:
    with store.spool() as spooled:
        try:
            with path.open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
                while piece := file.read(_PIECE):
                    spooled.write(piece)
        except OSError as error:
            raise NotFound(f"the file cannot be read: {os.strerror(error.errno or 0)}") from error
        return store.add(spooled, source)


def _convert_inputs(path: Path, options: ImportOptions, seed: str) -> dict[str, Any]:
    return {"path": str(path), "options": options.model_dump(exclude_defaults=True), "seed": seed}


def plan(path: Path, options: ImportOptions) -> tuple[str, dict[str, Any]]:
    """Return kind and inputs of the work item for a file or folder.

    Raises
    ------
    NotFound
        When nothing is there.
    BadRequest
        When it is neither file nor folder.
    """
    path = path.absolute()
    if not path.exists():
        raise NotFound("there is no such file or folder")
    if path.is_file():
        if recognise(path) in (Kind.DICOM, Kind.DICOMDIR):
            return "import", {"path": str(path), "options": options.model_dump(exclude_defaults=True)}
        return "convert", _convert_inputs(path, options, new_uid())
    if not path.is_dir():
        raise BadRequest("only files and folders can be imported")
    slides = [found for found in search(path) if found.kind is not Kind.OTHER][:2]
    if len(slides) == 1 and slides[0].kind is Kind.SLIDE:
        return "convert", _convert_inputs(slides[0].path, options, new_uid())
    return "import", {"path": str(path), "options": options.model_dump(exclude_defaults=True)}


def submit_import(
    jobs: Jobs, paths: Sequence[Path], options: Mapping[str, Any] | ImportOptions, requested_by: str
) -> list[WorkItem]:
    """Make a work item for each of the paths, which the workers must be able to read.

    Raises
    ------
    NotFound, BadRequest
        When a path or an option is wrong; no work item is made then.
    """
    checked = options if isinstance(options, ImportOptions) else read_options(options)
    planned = [plan(path, checked) for path in paths]
    return [jobs.create(kind, inputs, requested_by) for kind, inputs in planned]


def import_and_wait(
    store: Store,
    paths: Sequence[Path],
    options: Mapping[str, Any],
    *,
    requested_by: str,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
    handlers: Mapping[str, Handler] | None = None,
) -> list[WorkItem]:
    """Import and return the final work items; where no worker lives, this process is one for that long."""
    from dicomsvc.ingest.handlers import HANDLERS

    items = submit_import(Jobs(store.engine), paths, options, requested_by)
    return work_off(store, [item.uid for item in items], handlers or HANDLERS, progress)
