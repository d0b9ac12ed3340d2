"""A report as it came, whatever way: what every way in gives, and what it is answered."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Source(StrEnum):
    """The way a report came."""

    HL7 = "hl7"
    REST = "rest"
    FHIR = "fhir"
    DICOM = "dicom"
    FILE = "file"


class ReportStatus(StrEnum):
    """What its sender says of a report (HL7 table 0085 and 0123, FHIR DiagnosticReport.status)."""

    PRELIMINARY = "preliminary"
    FINAL = "final"
    CORRECTED = "corrected"
    """Replaces an earlier version: amended, corrected, addended."""
    CANCELLED = "cancelled"
    """Withdrawn: what was sent under this ``report_id`` no longer holds. The text may be empty."""


@dataclass(frozen=True, slots=True)
class ReceivedReport:
    """One version of one report; what its sender did not say is empty or None.

    ``report_id`` is the filler order number or the document's identifier: versions of a report share it.
    ``observed`` is when this version was reported, with a time zone where the sender gave one. ``control_id`` with
    ``sender`` names the message, and ``number`` (from 1) the report in it.
    """

    text: str
    source: Source
    status: ReportStatus = ReportStatus.FINAL
    report_id: str = ""
    placer_order_number: str = ""
    accession_number: str = ""
    patient_id: str = ""
    issuer_of_patient_id: str = ""
    study_instance_uid: str | None = None
    observed: datetime | None = None
    sender: str = ""
    control_id: str = ""
    number: int = 1

    @property
    def message_key(self) -> str | None:
        """Return what is the same when the same message comes twice, None where it has no control id.

        Senders that start anew count their messages from 1 again: another text is another message.
        """
        if not self.control_id:
            return None
        said = hashlib.sha256("|".join((self.report_id, self.status, self.text)).encode("utf-8", "replace"))
        return f"{self.sender}|{self.control_id}|{self.number}|{said.hexdigest()[:32]}"


class Answer(StrEnum):
    """What became of a report."""

    ACCEPTED = "accepted"
    """Durable: it will not be lost, linked to its study or held."""
    DUPLICATE = "duplicate"
    """This very message came before; nothing was done, and the sender need not send it again."""
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a `ReceivedReport`; ``reason`` of a rejection is for the sender and holds no text of the report.

    A receiver that cannot take a report now raises `dicomsvc.errors.OutOfResources`: the sender is asked to try again.
    """

    answer: Answer
    reason: str = ""
