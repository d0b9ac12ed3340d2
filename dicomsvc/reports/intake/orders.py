"""Reports as JSON: what REST takes, and each line of a JSON Lines file."""

import json
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicomsvc.errors import BadRequest
from dicomsvc.reports.intake.received import ReceivedReport, ReportStatus, Source

Name = Field("", max_length=256)
_UID: Final = r"^[0-9.]{1,64}$"


class ReportOrder(BaseModel):
    """A report, or a version of one: versions share ``sender`` and ``report_id``. Other keys are passed over."""

    model_config = ConfigDict(use_attribute_docstrings=True, coerce_numbers_to_str=True)

    text: str = ""
    """May be empty when the report is cancelled only."""
    report_id: str = Name
    """The report's identifier at its sender (filler order number). ``id`` is taken too."""
    accession_number: str = Name
    patient_id: str = Name
    issuer_of_patient_id: str = Name
    placer_order_number: str = Name
    study_instance_uid: str | None = Field(None, pattern=_UID)
    """The study, where the sender knows it; else it is found by the accession number."""
    status: ReportStatus = ReportStatus.FINAL
    observed: datetime | None = None
    """When this version was reported (ISO 8601)."""
    sender: str = Name
    control_id: str = Name
    """Identifier of the message: the same one twice is one report."""

    def received(self, source: Source) -> ReceivedReport:
        """Return the report as every way in gives it."""
        return ReceivedReport(source=source, **self.model_dump())


def order_of(document: object) -> ReportOrder:
    """Return the order in a JSON document.

    Raises
    ------
    BadRequest
        When it is none; the message names the key and quotes nothing.
    """
    if not isinstance(document, dict):
        raise BadRequest("a report is a JSON object with text")
    renamed: dict[str, Any] = dict(document)
    if "id" in renamed and "report_id" not in renamed:
        renamed["report_id"] = renamed["id"]
    try:
        return ReportOrder.model_validate(renamed)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise BadRequest(f"{place}: {problem['msg']}") from None


def order_in(content: bytes) -> ReportOrder:
    """Return the order in a piece of JSON text; see `order_of`."""
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise BadRequest("this is no JSON in UTF-8") from None
    return order_of(document)
