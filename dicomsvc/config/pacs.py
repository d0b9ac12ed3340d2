"""Settings of storage commitment, the worklist and the audit trail."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from dicomsvc.config.addresses import split_address
from dicomsvc.config.peers import AE_TITLE
from dicomsvc.config.section import Section


class CommitmentSettings(Section):
    quiet_seconds: float = Field(1, gt=0)
    """A report goes out on the requestor's own association once it has said nothing for this long."""
    retry_seconds: float = Field(10, gt=0)
    """First pause after an attempt that failed; each next one is twice as long."""
    retry_longest_seconds: float = Field(1800, gt=0)
    """Longest pause between two attempts."""
    retry_hours: float = Field(24, gt=0)
    """After this time a report, or a request of ours, is given up."""
    answer_minutes: float = Field(60, gt=0)
    """A request of ours that was taken is sent again after this time without a report."""
    keep_days: float = Field(90, gt=0)
    """What has ended is forgotten after this time."""

    def retry_delay_seconds(self, attempts: int) -> float:
        """Return the pause before the next attempt, after ``attempts`` ones that failed before this one."""
        return min(self.retry_seconds * 2.0 ** min(attempts, 30), self.retry_longest_seconds)


class WorklistSettings(Section):
    station_ae_titles: tuple[Annotated[str, Field(pattern=AE_TITLE)], ...] = ()
    """Scanners (Scheduled Station AE Title) that entries are for which name none."""
    complete_on_arrival: bool = False
    """An entry is completed once an image of its patient, accession number and container identifier has been stored."""


class AuditSettings(Section):
    source_id: str | None = None
    """What this system is called in audit messages (AuditSourceID); unset: its AE title."""
    site: str | None = None
    """Where it is (AuditEnterpriseSiteID), e.g. the hospital."""
    collector: str | None = None
    """Address ``HOST:PORT`` of a collector that takes syslog over TLS (port 6514 as a rule); unset: nothing is sent."""
    ca: Path | None = None
    """PEM file of the authorities of the collector's certificate; unset: those of the operating system."""
    certificate: Path | None = None
    """PEM file of the certificate that is shown to the collector."""
    key: Path | None = None
    """PEM file of that certificate's private key, without a password."""
    timeout_seconds: float = Field(20, gt=0)
    """Longest time for the collector to take what is sent."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.collector is not None:
            split_address(self.collector)
        if (self.certificate is None) is not (self.key is None):
            raise ValueError("a certificate needs its key, and a key its certificate: set both `certificate` and `key`")
        return self
