"""What ``/api/reports`` takes and gives."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from dicomsvc.reports.repository.receiving import Receipt
from dicomsvc.reports.repository.records import (
    ObjectRecord,
    ReportRecord,
    ReviewRecord,
    ValueRecord,
    VersionRecord,
    WholeReport,
)
from dicomsvc.reports.repository.reviews import Act, Action
from dicomsvc.reports.repository.search import Hit

Qualifier = Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9_]+$")]
Told = Annotated[str, Field(max_length=200)]
Uid = Annotated[str, Field(max_length=64, pattern=r"^[0-9.]+$")]


class ReceiptEntry(BaseModel):
    """What became of a report: ``accepted`` is durable, a ``duplicate`` is here already."""

    answer: str
    reason: str
    uid: str | None
    version: int
    url: str | None

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        url = None if receipt.uid is None else f"/api/reports/{receipt.uid}"
        outcome = receipt.outcome
        return cls(answer=outcome.answer, reason=outcome.reason, uid=receipt.uid, version=receipt.version, url=url)


class LineEntry(ReceiptEntry):
    """What became of one line of a batch (from 1)."""

    line: int
    report_id: str


class BatchEntry(BaseModel):
    """What became of a batch; ``job_url`` is the work item that structures what was accepted."""

    accepted: int
    duplicate: int
    rejected: int
    job_url: str | None
    reports: list[LineEntry]


class PlaceEntry(BaseModel):
    """A place in the text, in code points: ``text[start:end]``."""

    start: int = Field(ge=0)
    end: int = Field(ge=1)


class ValueEntry(BaseModel):
    """A value as it holds. ``number`` names it in a review; ``found`` is what the software read, where a person
    changed it.
    """

    number: int
    field: str
    part: str | None
    value: str | float | int | None
    unit: str | None
    code: dict[str, str] | None
    status: str
    assertion: str
    raw: str
    evidence: list[PlaceEntry]
    confidence: float
    rule: str
    qualifiers: dict[str, Any]
    review: str
    found: dict[str, Any] | None

    @classmethod
    def of(cls, record: ValueRecord) -> Self:
        changed = record.review in ("corrected", "removed")
        return cls(
            number=record.ordinal,
            review=record.review,
            found=dict(record.found) if changed and record.found is not None else None,
            **{"qualifiers": {}, **{name: record.holds.get(name) for name in _HELD}, **_given(record)},
        )


_HELD = ("field", "part", "value", "unit", "code", "status", "assertion", "raw", "evidence", "confidence", "rule")


def _given(record: ValueRecord) -> dict[str, Any]:
    return {"qualifiers": record.holds["qualifiers"]} if "qualifiers" in record.holds else {}


class CellEntry(BaseModel):
    """A value in the table; ``part`` is null for the case as a whole."""

    value: str | float | int | None
    unit: str | None
    part: str | None
    status: str
    review: str
    qualifiers: dict[str, Any] = {}

    @classmethod
    def of(cls, record: ValueRecord) -> Self:
        holds = {name: record.holds.get(name) for name in ("value", "unit", "part", "status")}
        return cls(review=record.review, **holds, **_given(record))


class ReportEntry(BaseModel):
    """A report without its text. See docs/reports.md for the states."""

    uid: str
    url: str
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
    received: datetime
    updated: datetime

    @classmethod
    def of(cls, record: ReportRecord, **more: Any) -> Self:
        names = [name for name in ReportRecord.__slots__ if name in cls.model_fields]
        return cls(url=f"/api/reports/{record.uid}", **{name: getattr(record, name) for name in names}, **more)


class PieceEntry(BaseModel):
    text: str
    match: bool


class ReportRow(ReportEntry):
    """A row of the table: values by field, and where the words looked for stand in the text."""

    fields: dict[str, list[CellEntry]]
    snippet: list[PieceEntry]
    highlights: list[PlaceEntry]

    @classmethod
    def of_hit(cls, hit: Hit) -> Self:
        cells: dict[str, list[CellEntry]] = {}
        for value in hit.values:
            if value.review != "removed":
                cells.setdefault(value.field, []).append(CellEntry.of(value))
        found = hit.found
        return cls.of(
            hit.record,
            fields=cells,
            snippet=[] if found is None else [PieceEntry(text=each.text, match=each.match) for each in found.snippet],
            highlights=[] if found is None else [PlaceEntry(start=start, end=end) for start, end in found.places],
        )


class ReportPage(BaseModel):
    """A page of the table; ``total`` is how many reports there are on all pages."""

    total: int
    offset: int
    reports: list[ReportRow]


class ReviewEntry(BaseModel):
    """One thing that a person did; never changed."""

    at: datetime
    who: str
    action: str
    version: int
    number: int | None
    field: str | None
    old: dict[str, Any] | None
    new: dict[str, Any] | None
    comment: str

    @classmethod
    def of(cls, record: ReviewRecord) -> Self:
        same = {name: getattr(record, name) for name in ("at", "who", "action", "version", "field", "comment")}
        old, new = (None if each is None else dict(each) for each in (record.old, record.new))
        return cls(number=record.ordinal, old=old, new=new, **same)


class VersionEntry(BaseModel):
    """A version as it came."""

    number: int
    source: str
    status: str
    observed: str | None
    received: datetime
    received_by: str
    state: str
    reason: str | None

    @classmethod
    def of(cls, record: VersionRecord) -> Self:
        return cls(**{name: getattr(record, name) for name in cls.model_fields})


class ObjectEntry(BaseModel):
    """A DICOM SR that was made of the report; ``version`` and ``revision`` are those that it was made of."""

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    version: int
    revision: int
    at: datetime
    who: str

    @classmethod
    def of(cls, record: ObjectRecord) -> Self:
        return cls(**{name: getattr(record, name) for name in cls.model_fields})


class ReportDetail(ReportEntry):
    """A report with its text, values, reviews, versions and DICOM objects."""

    text: str
    quality: dict[str, Any] | None
    organs: list[str]
    values: list[ValueEntry]
    reviews: list[ReviewEntry]
    versions: list[VersionEntry]
    objects: list[ObjectEntry]

    @classmethod
    def of_whole(cls, whole: WholeReport) -> Self:
        document = whole.document or {}
        return cls.of(
            whole.record,
            text=whole.text,
            quality=document.get("quality"),
            organs=document.get("organs", []),
            values=[ValueEntry.of(each) for each in whole.values],
            reviews=[ReviewEntry.of(each) for each in whole.reviews],
            versions=[VersionEntry.of(each) for each in whole.versions],
            objects=[ObjectEntry.of(each) for each in whole.objects],
        )


class ActionOrder(BaseModel):
    """One action of a review. ``number`` names a value; to add one takes ``field``; to sign takes the signer's name."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    action: Literal["accept", "accept_all", "correct", "add", "remove", "sign", "reopen"]
    number: int | None = Field(None, ge=1, lt=1 << 31)
    field: str | None = Field(None, max_length=64)
    part: str | None = Field(None, max_length=64)
    value: str | int | float | None = Field(None, union_mode="left_to_right")
    evidence: tuple[PlaceEntry, ...] = Field((), max_length=20)
    """Where the text says so."""
    qualifiers: dict[Qualifier, bool | int | FiniteFloat | Told] = Field({}, max_length=20)
    """Further facts, such as ``percent`` or ``margin``."""
    comment: str = Field("", max_length=4096)
    person_name: str = Field("", max_length=194)
    """Family^Given, as DICOM writes names."""
    organisation: str = Field("", max_length=64)

    @property
    def said(self) -> Action:
        return Action(
            act=Act(self.action),
            ordinal=self.number,
            field_name=self.field,
            part=self.part,
            value=self.value,
            qualifiers=self.qualifiers,
            evidence=tuple((place.start, place.end) for place in self.evidence),
            comment=self.comment,
            person_name=self.person_name,
            organisation=self.organisation,
        )


class ReviewOrder(BaseModel):
    """What a person says of a report's values: all of it is done, or none."""

    model_config = ConfigDict(extra="forbid")

    actions: tuple[ActionOrder, ...] = Field(min_length=1, max_length=1000)

    @property
    def said(self) -> Sequence[Action]:
        return [action.said for action in self.actions]


class MatchOrder(BaseModel):
    """The study that a report belongs to; null takes it off its study again."""

    model_config = ConfigDict(extra="forbid")

    study_instance_uid: Uid | None


class OptionEntry(BaseModel):
    value: str | int | float
    title: dict[str, str]


class FieldEntry(BaseModel):
    """A field: what it is called, which organs' reports have it, which values it can have (empty: any)."""

    id: str
    kind: str
    title: dict[str, str]
    organs: list[str]
    unit: str | None
    options: list[OptionEntry]
