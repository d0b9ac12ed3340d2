"""The work item ``convert``: one vendor slide, all of its instances into the store or none."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom.uid import generate_uid
from sqlalchemy import select

from dicomsvc.errors import ConversionError
from dicomsvc.ingest.convert import ConversionOptions, convert_slide
from dicomsvc.ingest.convert import Progress as Converted
from dicomsvc.ingest.requests import read_options
from dicomsvc.jobs import Progress, Work
from dicomsvc.store import Source, SpoolFile, Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import instance, series, study

_STORING = "storing"


class SpoolSink:
    """Takes a conversion's instances into the spool; leaving the context removes what the store has not taken."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stack = ExitStack()
        self.files: list[SpoolFile] = []

    def open(self, name: str, /) -> SpoolFile:
        file = self._stack.enter_context(self._store.spool())
        self.files.append(file)
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def convert(work: Work) -> Mapping[str, Any]:
    """Convert ``inputs.path`` with ``inputs.options``; ``inputs.seed`` gives the same UIDs to every attempt.

    All of a slide enters the store in one transaction, in a series whose UID is known beforehand. An attempt that was
    killed after that finds the series and has nothing to do.

    Raises
    ------
    ConversionError
        When the slide cannot be converted; nothing is stored then.
    """
    series_instance_uid = _series_of(work.inputs)
    if series_instance_uid is not None:
        done = _find_series(work.store, series_instance_uid)
        if done:
            work.log("the slide had been stored by an earlier attempt")
            return _outputs(done)
    path = Path(work.inputs["path"])
    if not path.is_file():
        raise ConversionError("the slide's file is gone; upload it again or name one that is there")
    options = _options(work, series_instance_uid)
    with SpoolSink(work.store) as sink:
        convert_slide(path, sink, options, lambda at: _report(work, at))
        last = Progress(len(sink.files), len(sink.files), _STORING)
        work.report(last)
        stored = work.store.add_all(sink.files, Source("conversion", work.requested_by))
    return _outputs([(each.study_instance_uid, each.series_instance_uid, each.sop_instance_uid) for each in stored])


def _series_of(inputs: Mapping[str, Any]) -> str | None:
    metadata = read_options(inputs.get("options", {})).metadata
    given = metadata.get("series")
    if "series_instance_uid" in metadata or (isinstance(given, dict) and "uid" in given):
        return None
    return str(generate_uid(entropy_srcs=["dicomsvc work item", inputs["seed"], "series"]))


def _options(work: Work, series_instance_uid: str | None) -> ConversionOptions:
    asked = read_options(work.inputs.get("options", {}))
    return ConversionOptions(
        **asked.model_dump(),
        series_instance_uid=series_instance_uid,
        seed=work.inputs["seed"],
        scratch=work.store.layout.spool,
    )


def _report(work: Work, at: Converted) -> None:
    work.report(Progress(at.done, at.total, at.stage))


def _find_series(store: Store, series_instance_uid: str) -> list[tuple[str, str, str]]:
    statement = (
        select(study.c.study_instance_uid, series.c.series_instance_uid, instance.c.sop_instance_uid)
        .select_from(study.join(series, series.c.study_key == study.c.id).join(instance))
        .where(series.c.series_instance_uid == series_instance_uid)
    )
    with database_errors(), store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(statement)]


def _outputs(instances: list[tuple[str, str, str]]) -> dict[str, Any]:
    study_instance_uid, series_instance_uid, _ = instances[0]
    return {
        "study_instance_uid": study_instance_uid,
        "series_instance_uid": series_instance_uid,
        "sop_instance_uids": sorted(uid for _, _, uid in instances),
        "summary": f"{len(instances)} instances in series {series_instance_uid}",
    }
