"""The Basic Application Level Confidentiality Profile and its options (PS3.15 E.2, E.3), as a site chooses them."""

from dataclasses import dataclass, fields
from typing import Final

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomsvc.config import Settings
from dicomsvc.errors import ConfigurationError

BASIC: Final = "basic"
"""Name of the profile that is there without being configured."""
LEAVE_OUT: Final = "leave out"


@dataclass(frozen=True, slots=True)
class Profile:
    """One choice of options; see `DeidentifyProfileSettings` for what each does. ``name`` goes into the pseudonyms."""

    name: str = BASIC
    clean_descriptors: bool = False
    clean_structured_content: bool = True
    clean_graphics: bool = True
    retain_uids: bool = False
    retain_full_dates: bool = False
    retain_modified_dates: bool = False
    retain_device_identity: bool = False
    retain_institution_identity: bool = False
    retain_patient_characteristics: bool = False
    retain_safe_private: bool = False
    retain_code_meanings: bool = False
    overview_label: str = LEAVE_OUT
    overview_label_share: float = 0.35

    @property
    def method_codes(self) -> list[Code]:
        """What De-identification Method Code Sequence says (PS3.16 CID 7050)."""
        known = codes.DCM
        chosen = (
            (True, known.BasicApplicationConfidentialityProfile),
            (True, known.CleanPixelDataOption),
            (self.clean_graphics, known.CleanGraphicsOption),
            (self.clean_structured_content, known.CleanStructuredContentOption),
            (self.clean_descriptors, known.CleanDescriptorsOption),
            (self.retain_full_dates, known.RetainLongitudinalTemporalInformationFullDatesOption),
            (self.retain_modified_dates, known.RetainLongitudinalTemporalInformationModifiedDatesOption),
            (self.retain_patient_characteristics, known.RetainPatientCharacteristicsOption),
            (self.retain_device_identity, known.RetainDeviceIdentityOption),
            (self.retain_uids, known.RetainUidsOption),
            (self.retain_safe_private, known.RetainSafePrivateOption),
            (self.retain_institution_identity, known.RetainInstitutionIdentityOption),
        )
        return [code for wanted, code in chosen if wanted]

    @property
    def temporal_information(self) -> str:
        """Return the value of Longitudinal Temporal Information Modified (0028,0303)."""
        if self.retain_full_dates:
            return "UNMODIFIED"
        return "MODIFIED" if self.retain_modified_dates else "REMOVED"


def profile_named(settings: Settings, name: str) -> Profile:
    """Return a profile of the settings.

    Raises
    ------
    ConfigurationError
        When there is none of this name.
    """
    found = settings.deidentify.profiles.get(name)
    if found is not None:
        options = {field.name: getattr(found, field.name) for field in fields(Profile) if field.name != "name"}
        return Profile(name, **options)
    if name == BASIC:
        return Profile()
    raise ConfigurationError(
        f"there is no de-identification profile {name!r}; put its options under [deidentify.profiles.{name}]"
    )
