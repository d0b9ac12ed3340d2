"""What ``/api/analyses`` takes and gives."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from dicomsvc.ai.analysis.request import MAX_REGIONS, Options, Region, Uid, read_request
from dicomsvc.errors import BadRequest
from dicomsvc.jobs import WorkItem
from dicomsvc.objects.verification import Judgement


class AnalysisOrder(BaseModel):
    """What to do. ``model`` is ``NAME`` or ``NAME:NUMBER``; without ``regions`` the whole slide is looked at."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    study_instance_uid: Uid
    series_instance_uid: Uid | None = None
    """May be left out when the study has one slide."""
    model: str = Field(max_length=80)
    regions: tuple[Region, ...] = Field((), max_length=MAX_REGIONS)
    options: Options = Options()
    priority: Literal["HIGH", "MEDIUM", "LOW"] = "MEDIUM"


class VerdictOrder(BaseModel):
    """A person's verdict on a result."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    verdict: Literal["ACCEPTED", "REJECTED"]
    person_name: str = Field(max_length=194)
    """Family^Given, as DICOM writes names."""
    organisation: str = Field(max_length=64)
    comment: str = Field("", max_length=4096)


class VerdictEntry(BaseModel):
    """A verdict as it is recorded in the report."""

    verdict: str
    person_name: str
    organisation: str
    comment: str
    when: datetime

    @classmethod
    def of(cls, judgement: Judgement) -> Self:
        return cls(
            verdict=judgement.verdict,
            person_name=judgement.person_name,
            organisation=judgement.organisation,
            comment=judgement.comment,
            when=judgement.when,
        )


class AnalysisProgress(BaseModel):
    """Tiles; ``total`` is 0 while unknown."""

    done: int
    total: int
    text: str
    time_left_seconds: float | None


class AnalysisEntry(BaseModel):
    """An analysis. ``state`` as PS3.4 CC.1.1; CANCELED with an ``error`` means that it failed."""

    uid: str
    url: str
    job_url: str
    study_instance_uid: str
    series_instance_uid: str
    model: str
    version: str | None
    regions: list[Region]
    state: str
    requested_by: str
    progress: AnalysisProgress
    log: list[str]
    error: str | None
    error_kind: str | None
    outputs: dict[str, Any]
    created: datetime
    started: datetime | None
    ended: datetime | None

    @classmethod
    def of(cls, item: WorkItem) -> Self:
        progress = item.progress
        try:
            regions = list(read_request(item.inputs).regions)
        except BadRequest:
            # Another system's step, whose parameters are checked when it is done: it fails, and is listed as any other.
            regions = []
        return cls(
            uid=item.uid,
            url=f"/api/analyses/{item.uid}",
            job_url=f"/api/jobs/{item.uid}",
            study_instance_uid=item.inputs["study_instance_uid"],
            series_instance_uid=item.inputs["series_instance_uid"],
            model=item.inputs["model"],
            version=item.inputs.get("version"),
            regions=regions,
            state=item.state,
            requested_by=item.requested_by,
            progress=AnalysisProgress(
                done=progress.done,
                total=progress.total,
                text=progress.text,
                time_left_seconds=item.time_left_seconds(),
            ),
            log=list(item.log),
            error=item.error,
            error_kind=item.error_kind,
            outputs=dict(item.outputs),
            created=item.created,
            started=item.started,
            ended=item.ended,
        )
