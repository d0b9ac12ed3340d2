"""Settings of de-identification (PS3.15 E)."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from dicomsvc.config.section import Section


class DeidentifyProfileSettings(Section):
    clean_descriptors: bool = False
    """Keep descriptions and comments, reduced to the words of clinical vocabulary (113105); else they are removed."""
    clean_structured_content: bool = True
    """Keep the content of documents and specimen steps: codes, numbers and regions, without free text (113104); else
    structured reports do not go out."""
    clean_graphics: bool = True
    """Keep annotations and segmentations: shapes without text (113103); else bulk annotations do not go out."""
    retain_uids: bool = False
    """Keep unique identifiers (113110)."""
    retain_full_dates: bool = False
    """Keep dates and times as they are (113106)."""
    retain_modified_dates: bool = False
    """Keep dates, moved by days that are the same for all objects of a patient (113107)."""
    retain_device_identity: bool = False
    """Keep serial numbers, station names and names of algorithms (113109)."""
    retain_institution_identity: bool = False
    """Keep name and address of the institution (113112)."""
    retain_patient_characteristics: bool = False
    """Keep sex, age, size, weight and the like (113108)."""
    retain_safe_private: bool = False
    """Keep the private elements that PS3.15 E.3.10 knows as safe (113111)."""
    retain_code_meanings: bool = False
    """Keep meanings of codes as they are; else the standard's meaning, or its words of clinical vocabulary."""
    overview_label: Literal["leave out", "left", "right", "top", "bottom"] = "leave out"
    """On which side of overview images the slide's label is; it is blanked there. Unset: such images do not go out."""
    overview_label_share: float = Field(0.35, gt=0, le=1)
    """How much of an overview image, from that side, is blanked."""

    @model_validator(mode="after")
    def _one_kind_of_dates(self) -> Self:
        if self.retain_full_dates and self.retain_modified_dates:
            raise ValueError("retain_full_dates and retain_modified_dates exclude each other")
        return self


class DeidentifySettings(Section):
    secret: SecretStr | None = None
    """What pseudonyms, UIDs and date offsets are derived from, at least 32 characters; unset: ``deidentify.secret`` in
    the data folder, made at first use. With another secret the same patient gets another pseudonym."""
    profiles: Mapping[str, DeidentifyProfileSettings] = Field(default_factory=dict)
    """Profiles by name; ``basic`` is there without being named."""
