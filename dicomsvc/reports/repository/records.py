"""What the tables hold, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row


class State(StrEnum):
    """How far the reading of a version is."""

    WAITING = "waiting"
    STRUCTURED = "structured"
    REFUSED = "refused"
    """Its text cannot be read as a report; `VersionRecord.reason` says why."""
    FAILED = "failed"
    WITHDRAWN = "withdrawn"
    """Its sender cancelled the report; there is nothing to read."""


class Held(StrEnum):
    """Why a report has no study."""

    NO_ACCESSION_NUMBER = "no_accession_number"
    NO_STUDY = "no_study"
    SEVERAL_STUDIES = "several_studies"
    OTHER_PATIENT = "other_patient"
    """The study with its accession number is another patient's."""
    PATIENT_CHANGED = "patient_changed"
    """Its sender says another patient than in an earlier version; only a person can match it."""


class Review(StrEnum):
    """How far the review of a report is."""

    OPEN = "open"
    STARTED = "started"
    SIGNED = "signed"


class ValueReview(StrEnum):
    """What a person said of one value."""

    OPEN = "open"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """A report without its text. ``state`` and ``reason`` are the current version's."""

    uid: str
    source: str
    sender: str
    report_id: str
    placer_order_number: str
    accession_number: str
    patient_id: str
    issuer_of_patient_id: str
    named_study_instance_uid: str | None
    study_instance_uid: str | None
    linked_by: str | None
    held: str | None
    version: int
    status: str
    observed: str | None
    state: str
    reason: str | None
    review: str
    signed_by: str | None
    signed_name: str | None
    signed_organisation: str | None
    signed_at: datetime | None
    revision: int
    received: datetime
    updated: datetime


@dataclass(frozen=True, slots=True)
class ValueRecord:
    """A value with its number in the report: as it was ``found`` (None: added by a person), and as it ``holds``."""

    ordinal: int
    field: str
    review: str
    found: Mapping[str, Any] | None
    holds: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReviewRecord:
    """One thing that a person did."""

    at: datetime
    who: str
    action: str
    version: int
    ordinal: int | None
    field: str | None
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None
    comment: str


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version as it came."""

    number: int
    source: str
    status: str
    observed: str | None
    received: datetime
    received_by: str
    state: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """A DICOM object that was made of a report."""

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    version: int
    revision: int
    at: datetime
    who: str


@dataclass(frozen=True, slots=True)
class WholeReport:
    """A report with all that is known of it; ``document`` is the master form of what the software read."""

    record: ReportRecord
    text: str
    document: Mapping[str, Any] | None
    values: Sequence[ValueRecord]
    reviews: Sequence[ReviewRecord]
    versions: Sequence[VersionRecord]
    objects: Sequence[ObjectRecord]


def record_of(row: "Row[Any]") -> ReportRecord:
    """Return the record of a row that has the columns of the same names."""
    return ReportRecord(**{name: getattr(row, name) for name in ReportRecord.__slots__})
