"""What is known of a structured report beside its text and fields: whose, of which study, in what state."""

from dataclasses import dataclass
from datetime import datetime

from dicomsvc.reports.intake.received import ReportStatus


@dataclass(frozen=True, slots=True)
class SignOff:
    """Who answers for the fields. ``person_name`` is a Person Name (PS3.5 6.2.1); ``when`` has a time zone."""

    person_name: str
    organisation: str
    when: datetime


@dataclass(frozen=True, slots=True)
class ReportCase:
    """The facts of a report; what is not known is empty or None.

    ``structured`` is when its fields were extracted or last corrected, with a time zone. ``status`` is its sender's
    word; ``sign_off`` is of the fields: without it they are what software found, which nobody has looked at.
    """

    report_id: str
    structured: datetime
    accession_number: str = ""
    placer_order_number: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    study_instance_uid: str | None = None
    status: ReportStatus = ReportStatus.FINAL
    reported: datetime | None = None
    sign_off: SignOff | None = None

    @property
    def is_final(self) -> bool:
        """Whether the fields may be relied on: signed off, of a report that is itself final."""
        return self.sign_off is not None and self.status in (ReportStatus.FINAL, ReportStatus.CORRECTED)
