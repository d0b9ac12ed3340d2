"""DICOM objects and reports: a report written into its study, and the report that a stored object holds."""

import threading
from datetime import UTC, datetime

from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

import dicomsvc
from dicomsvc.errors import Conflict, NotFound
from dicomsvc.objects.common import derived_uid
from dicomsvc.objects.provenance import Equipment, Identity
from dicomsvc.objects.report import report_file
from dicomsvc.objects.report_content import ResultReference
from dicomsvc.reports.exports import case_of
from dicomsvc.reports.intake.received import ReceivedReport
from dicomsvc.reports.repository.records import ObjectRecord
from dicomsvc.reports.repository.tables import report, report_object
from dicomsvc.reports.repository.whole import HeldReport, held_reports
from dicomsvc.store import InstanceRecord, Source, Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import audit

_SERIES_NUMBER = 951
_MOST_REFERENCED = 100
_IMAGE_BYTES_READ = 1 << 16


# Two at a time would make the same object twice, a moment apart.
_one_at_a_time = threading.Lock()


def store_sr(store: Store, uid: str, who: str) -> ObjectRecord:
    """Write a report as it holds into the study that it is linked to; the same state twice makes one object.

    Raises
    ------
    NotFound
        When there is no such report, or its study has gone.
    Conflict
        When it is held, was not read, or was cancelled.
    """
    with _one_at_a_time:
        return _store_sr(store, uid, who)


def _store_sr(store: Store, uid: str, who: str) -> ObjectRecord:
    with database_errors(), store.engine.connect() as connection:
        found = list(held_reports(connection, [uid]))
        key = connection.execute(select(report.c.id).where(report.c.uid == uid)).scalar_one_or_none()
    if key is None:
        raise NotFound(f"there is no report {uid}")
    if not found:
        raise Conflict(f"report {uid} has not been read, or was cancelled: there is nothing to write")
    held = found[0]
    if held.record.study_instance_uid is None:
        raise Conflict(f"report {uid} is held ({held.record.held}): match it with a study first")
    known = _objects(store, key)
    same = [each for each in known if (each.version, each.revision) == (held.record.version, held.record.revision)]
    return same[0] if same else _store(store, key, held, known, who)


def _store(store: Store, key: int, held: HeldReport, known: list[ObjectRecord], who: str) -> ObjectRecord:
    from dicomsvc.reports.sr import report_sr

    record = held.record
    instances = store.instances.find(record.study_instance_uid or "")
    images = [each for each in instances if each.number_of_frames]
    study = _header((images or instances)[0])
    predecessors = [
        ResultReference(each.series_instance_uid, each_class, each.sop_instance_uid)
        for each in known[-1:]
        if each.study_instance_uid == record.study_instance_uid
        for each_class in _classes(instances, each.sop_instance_uid)
    ]
    identity = Identity(
        series_instance_uid=derived_uid(record.uid, record.study_instance_uid or "", "SR"),
        series_number=_SERIES_NUMBER,
        series_description="Pathology report",
        sop_instance_uid=derived_uid(record.uid, "SR", str(record.version), str(record.revision)),
        instance_number=len(known) + 1,
    )
    if any(each.sop_instance_uid == identity.sop_instance_uid for each in instances):
        # It was stored, and then the process died.
        return _remember(store, key, held, identity.sop_instance_uid, identity.series_instance_uid, who)
    equipment = Equipment("dicomsvc", "dicomsvc", store.settings.dimse.ae_title, (dicomsvc.__version__,))
    ds = report_sr(
        held.structured,
        case_of(held, str(study.get("PatientName") or "")),
        study,
        identity,
        equipment,
        referenced=[_reference(each) for each in images[:_MOST_REFERENCED]],
        predecessors=predecessors,
    )
    with store.spool() as file:
        file.write(report_file(ds))
        stored = store.add(file, Source("report", who))
    return _remember(store, key, held, stored.sop_instance_uid, stored.series_instance_uid, who)


def _remember(store: Store, key: int, held: HeldReport, sop: str, series: str, who: str) -> ObjectRecord:
    record = held.record
    values = {
        "sop_instance_uid": sop,
        "series_instance_uid": series,
        "study_instance_uid": record.study_instance_uid,
        "version": record.version,
        "revision": record.revision,
        "who": who,
    }
    with database_errors(), store.engine.begin() as connection:
        statement = insert(report_object).values(report=key, at=func.clock_timestamp(), **values)
        connection.execute(statement.on_conflict_do_nothing())
        connection.execute(
            audit.insert().values(
                who=who,
                action="report-sr",
                study_instance_uid=record.study_instance_uid,
                series_instance_uid=series,
                sop_instance_uid=sop,
                detail={"report": record.uid, "version": record.version},
            )
        )
    return ObjectRecord(at=datetime.now(UTC), **values)  # type: ignore[arg-type]


def report_in(store: Store, sop_instance_uid: str) -> ReceivedReport:
    """Return the report that a stored SR or Encapsulated PDF holds; see `dicomsvc.reports.sr.read_report_object`."""
    from dicomsvc.reports.sr import read_report_object

    return read_report_object(dcmread(store.instances.find_sop_instance(sop_instance_uid).readable_path()))


def _objects(store: Store, key: int) -> list[ObjectRecord]:
    statement = select(report_object).where(report_object.c.report == key).order_by(report_object.c.at)
    with database_errors(), store.engine.connect() as connection:
        rows = connection.execute(statement).all()
    return [ObjectRecord(**{name: getattr(row, name) for name in ObjectRecord.__slots__}) for row in rows]


def _header(record: InstanceRecord) -> Dataset:
    return dcmread(record.readable_path(), stop_before_pixels=True, defer_size=_IMAGE_BYTES_READ)


def _reference(record: InstanceRecord) -> ResultReference:
    return ResultReference(record.series_instance_uid, record.sop_class_uid, record.sop_instance_uid)


def _classes(instances: list[InstanceRecord], sop_instance_uid: str) -> list[str]:
    return [each.sop_class_uid for each in instances if each.sop_instance_uid == sop_instance_uid]
