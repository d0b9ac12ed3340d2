"""An entry of the worklist: whose, what for, on which scanner, which slide. The form that REST takes and gives.

Texts are what an attribute of DICOM can hold (PS3.5 6.2), so that every entry can be sent.
"""

from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from dicomsvc.dicom.uids import is_valid_uid

_PERSON_NAME_GROUPS: Final = 3
_LONGEST_GROUP: Final = 64
_FIRST_YEAR: Final = 1850
_LAST_YEAR: Final = 2200


class Status(StrEnum):
    """Where a step stands; ``completed`` and ``cancelled`` steps have left the worklist."""

    SCHEDULED = "scheduled"
    ARRIVED = "arrived"
    READY = "ready"
    STARTED = "started"
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def open(self) -> bool:
        return self not in (Status.COMPLETED, Status.CANCELLED)


def _line(text: str) -> str:
    """Return a text as one value of SH, LO and the like.

    Raises
    ------
    ValueError
        When it has a backslash or control characters.
    """
    text = text.strip()
    if any(letter == "\\" or not _encodable(letter) for letter in text):
        raise ValueError("a backslash or a control character cannot be in it")
    return text


def _encodable(letter: str) -> bool:
    return letter >= " " and letter != "\x7f" and not "\x80" <= letter <= "\x9f" and not "\ud800" <= letter <= "\udfff"


def _person_name(text: str) -> str:
    text = _line(text)
    groups = text.split("=")
    if len(groups) > _PERSON_NAME_GROUPS or any(len(group) > _LONGEST_GROUP for group in groups):
        raise ValueError("a name has at most three groups of 64 characters, with = between them")
    if any(group.count("^") > 4 for group in groups):
        raise ValueError("a group of a name has at most five components: family^given^middle^prefix^suffix")
    return text


def _of_our_times(day: date) -> date:
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError(f"its year is not between {_FIRST_YEAR} and {_LAST_YEAR}")
    return day


def _text(text: str) -> str:
    if not all(_encodable(letter) or letter in "\r\n\t\f" for letter in text):
        raise ValueError("a control character cannot be in it")
    return text.strip()


def _ae_title(text: str) -> str:
    text = _line(text)
    if not text or not text.isascii():
        raise ValueError("an AE title has 1 to 16 ASCII characters")
    return text


def _uid(text: str) -> str:
    if not is_valid_uid(text, strict=True):
        raise ValueError("it is no UID")
    return text


Short = Annotated[str, Field(max_length=16), AfterValidator(_line)]
Long = Annotated[str, Field(max_length=64), AfterValidator(_line)]
Name = Annotated[str, Field(max_length=200), AfterValidator(_person_name)]
Text = Annotated[str, Field(max_length=4096), AfterValidator(_text)]
AeTitle = Annotated[str, Field(max_length=16), AfterValidator(_ae_title)]
Uid = Annotated[str, Field(max_length=64), AfterValidator(_uid)]
_NONE: Final = ""


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Code(Part):
    """A coded concept (PS3.3 8.8)."""

    value: Short = Field(min_length=1)
    scheme: Short = Field(min_length=1)
    """Coding Scheme Designator, such as SCT."""
    meaning: Long = Field(min_length=1)


class Patient(Part):
    id: Long = Field(min_length=1)
    issuer: Long = _NONE
    """Issuer of Patient ID."""
    name: Name = _NONE
    """Patient's Name: family^given^middle^prefix^suffix, groups for other scripts with = between them."""
    birth_date: Annotated[date, AfterValidator(_of_our_times)] | None = None
    sex: Literal["M", "F", "O", ""] = ""


class Procedure(Part):
    """The requested procedure; in pathology this is the case."""

    id: Short = _NONE
    """Requested Procedure ID; when it is empty, the accession number or the step's identifier is sent."""
    description: Long = _NONE
    codes: tuple[Code, ...] = Field((), max_length=8)
    priority: Literal["STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW", ""] = ""
    reason: Long = _NONE
    comments: Text = _NONE
    requesting_physician: Name = _NONE
    referring_physician: Name = _NONE


class Step(Part):
    """The scheduled procedure step: the scan."""

    id: Short = _NONE
    """Scheduled Procedure Step ID; when it is empty, one is made."""
    description: Long = _NONE
    protocol: tuple[Code, ...] = Field((), max_length=8)
    modality: Literal["SM", "GM", "XC"] = "SM"
    station_ae_titles: tuple[AeTitle, ...] = Field((), max_length=16)
    """Scanners it is for; empty: ``worklist.station_ae_titles`` of the settings."""
    station_name: Short = _NONE
    location: Short = _NONE
    performing_physician: Name = _NONE
    start: Annotated[datetime, AfterValidator(_of_our_times)] | None = None
    """When it is to begin, local time; unset: when the entry was made."""


class Container(Part):
    """What the slide is (PS3.3 C.7.6.22)."""

    identifier: Long = _NONE
    """The slide's barcode."""
    issuer: Long = _NONE
    type: Code | None = None
    """Unset: glass slide."""


class Preparation(Part):
    """One step of preparing a specimen (PS3.16 TID 8001); what it does not have is not said."""

    staining: tuple[Code, ...] = Field((), max_length=16)
    """The substances of a staining step."""
    fixative: Code | None = None
    embedding_medium: Code | None = None
    description: Long = _NONE

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.staining or self.fixative or self.embedding_medium or self.description):
            raise ValueError("a preparation step names a staining, a fixative, an embedding medium or a description")
        return self


class Specimen(Part):
    identifier: Long = _NONE
    """Empty: the container's identifier, for there is one specimen on the slide."""
    uid: Uid | None = None
    """Specimen UID; unset: one is made."""
    issuer: Long = _NONE
    type: Code | None = None
    short_description: Long = _NONE
    detailed_description: Text = _NONE
    anatomic_sites: tuple[Code, ...] = Field((), max_length=8)
    """Primary Anatomic Structure."""
    preparation: tuple[Preparation, ...] = Field((), max_length=32)


class EntryContent(Part):
    """What is known of an entry; ``accession_number``, ``placer_order_number``, ``step.id`` and
    ``container.identifier`` together name it.
    """

    patient: Patient
    accession_number: Short = _NONE
    issuer_of_accession_number: Long = _NONE
    placer_order_number: Long = _NONE
    filler_order_number: Long = _NONE
    study_instance_uid: Uid | None = None
    """Unset: that of the other entries with the accession number and the patient, or a new one."""
    admission_id: Long = _NONE
    procedure: Procedure = Procedure()
    step: Step = Step()
    container: Container = Container()
    specimens: tuple[Specimen, ...] = Field((), max_length=64)

    @model_validator(mode="after")
    def _can_be_named(self) -> Self:
        if not (self.accession_number or self.placer_order_number or self.container.identifier):
            raise ValueError("give an accession number, a placer order number or a container identifier")
        return self

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Return what names the entry: accession number, placer order number, step, container."""
        return (self.accession_number, self.placer_order_number, self.step.id, self.container.identifier)


def problems(errors: list[Any]) -> Iterator[str]:
    """Yield pydantic's findings in words; nothing of what was sent is in them."""
    for error in errors:
        yield f"{'.'.join(str(part) for part in error['loc']) or 'entry'}: {error['msg']}"
