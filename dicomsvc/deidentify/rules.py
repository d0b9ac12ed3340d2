"""What is done with an attribute: by the table of PS3.15, by our own rules where it is silent, last by its VR.

The table is silent about most attributes, and lets text stay in them. We keep of those only what cannot hold free text:
numbers, codes, enumerations in their form, references. Text stays where `_SPECIAL` says so.
"""

from enum import Enum, auto
from typing import Final

from pydicom.datadict import tag_for_keyword

from dicomsvc.deidentify.profile import Profile
from dicomsvc.deidentify.table import Row, row_of
from dicomsvc.dicom.dictionary import dictionary_vr
from dicomsvc.dicom.values import NUMERIC


class Action(Enum):
    """How the value that goes out is made."""

    REMOVE = auto()
    EMPTY = auto()
    KEEP = auto()
    """As it is: numbers, bulk data, text that an option keeps."""
    ITEMS = auto()
    """A sequence whose items are cleaned."""
    ANONYMOUS_CODE = auto()
    """A coded identification, replaced by one item that says nothing."""
    UID = auto()
    """Replaced unless it is one of the standard's."""
    WELL_FORMED_UID = auto()
    DATE = auto()
    """Kept or moved, as the profile says."""
    DUMMY_DATE = auto()
    TIMEZONE = auto()
    IDENTIFIER = auto()
    TOKEN = auto()
    """Kept when it is a small number, else replaced as an identifier."""
    PATIENT_ID = auto()
    PATIENT_NAME = auto()
    PERSON = auto()
    NUMBER_TEXT = auto()
    CODE_STRING = auto()
    CODE = auto()
    MEANING = auto()
    DESCRIPTOR = auto()
    """Reduced to words of clinical vocabulary."""
    SEGMENT_LABEL = auto()
    GROUP_LABEL = auto()
    CONTENT_LABEL = auto()
    CONTENT_TEXT = auto()
    LUT_TEXT = auto()
    POSITION_REFERENCE = auto()
    RESCALE_TYPE = auto()
    CHARACTER_SET = auto()
    ICC_PROFILE = auto()
    BURNED_IN = auto()


_SPECIAL_KEYWORDS: Final = {
    Action.CHARACTER_SET: "SpecificCharacterSet",
    Action.PATIENT_ID: "PatientID",
    Action.PATIENT_NAME: "PatientName",
    Action.IDENTIFIER: "AccessionNumber BarcodeValue ContainerIdentifier SpecimenIdentifier TrackingID",
    Action.TOKEN: "OpticalPathIdentifier",
    Action.KEEP: "Manufacturer ManufacturerModelName SoftwareVersions",
    Action.CODE: "CodeValue LongCodeValue URNCodeValue CodingSchemeDesignator CodingSchemeVersion",
    Action.MEANING: "CodeMeaning",
    Action.WELL_FORMED_UID: "CodingSchemeUID ContextUID MappingResourceUID",
    Action.SEGMENT_LABEL: "SegmentLabel",
    Action.CONTENT_LABEL: "ContentLabel",
    Action.CONTENT_TEXT: "TextValue",
    Action.LUT_TEXT: "LUTLabel LUTExplanation",
    Action.POSITION_REFERENCE: "PositionReferenceIndicator",
    Action.RESCALE_TYPE: "RescaleType ModalityLUTType",
    Action.ICC_PROFILE: "ICCProfile",
    Action.BURNED_IN: "BurnedInAnnotation",
    Action.ANONYMOUS_CODE: "PersonIdentificationCodeSequence",
    Action.UID: "UID AnnotationGroupUID",
    Action.PERSON: "PersonName VerifyingObserverName",
    Action.EMPTY: "ContentDescription ContentCreatorName",
    Action.REMOVE: (
        "PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence "
        "LongitudinalTemporalInformationModified DeidentificationActionSequence EncryptedAttributesSequence "
        "PrivateDataElementCharacteristicsSequence IssuerOfAccessionNumberSequence IssuerOfPatientIDQualifiersSequence "
        "OrderPlacerIdentifierSequence OrderFillerIdentifierSequence SourcePatientGroupIdentificationSequence "
        "GroupOfPatientsIdentificationSequence AssigningFacilitySequence AssigningJurisdictionCodeSequence "
        "AssigningAgencyOrDepartmentCodeSequence "
        "OperatorIdentificationSequence OperatorsName PatientSpeciesDescription"
    ),
}
_ALGORITHM: Final = "SegmentAlgorithmName AlgorithmName AlgorithmVersion"
_BULK: Final = (
    "RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData "
    "AlphaPaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData "
    "SegmentedGreenPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData "
    "SegmentedAlphaPaletteColorLookupTableData BlendingLookupTableData RecommendedDisplayCIELabValueList LUTData"
)
"""Bytes and words that are numbers."""
_SELECTORS: Final = "SelectorOFValue SelectorODValue SelectorOLValue SelectorOVValue SelectorOWValue SelectorOBValue"
_NUMBER_LISTS: Final = ("OF", "OD", "OL")
_TEXT: Final = frozenset(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_DATES: Final = frozenset(("DA", "DT", "TM"))


def _tags(keywords: str) -> frozenset[int]:
    found = (tag_for_keyword(keyword) for keyword in keywords.split())
    return frozenset(tag for tag in found if tag is not None)


_SPECIAL: Final = {tag: action for action, keywords in _SPECIAL_KEYWORDS.items() for tag in _tags(keywords)}
_ALGORITHM_TAGS: Final = _tags(_ALGORITHM)
_BULK_TAGS: Final = _tags(_BULK)
_SELECTOR_TAGS: Final = _tags(_SELECTORS)
_INSTITUTION_TAGS: Final = _tags("InstitutionName InstitutionCodeSequence")
_GRAPHICS: Final = (0x50, 0x60)
_STEP_SEQUENCE: Final = 0x00081111
_GROUP_LABEL: Final = 0x006A0005
_CONTENT_SEQUENCE: Final = 0x0040A730
_TIMEZONE_OFFSET: Final = 0x00080201


class Rules:
    """The actions of one profile."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._known: dict[tuple[int, str], Action] = {}

    def action(self, tag: int, vr: str) -> Action:
        """Return what is done with a public attribute."""
        key = tag, vr
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._find(tag, vr)
        return found

    def _find(self, tag: int, vr: str) -> Action:
        if dictionary_vr(tag) is None and row_of(tag) is None:
            return Action.REMOVE
        if tag >> 24 in _GRAPHICS:
            return Action.REMOVE  # a curve or overlay without its data is none
        special = _SPECIAL.get(tag)
        if special is Action.UID and self._profile.retain_uids:
            return Action.WELL_FORMED_UID
        if special is Action.EMPTY and self._profile.clean_descriptors and vr == "LO":
            return Action.DESCRIPTOR
        if special is not None:
            return special
        if tag in _ALGORITHM_TAGS:
            return Action.KEEP if self._profile.retain_device_identity else Action.IDENTIFIER
        row = row_of(tag)
        if row is None:
            return self._by_vr(tag, vr)
        return self._by_option(tag, row, vr) or self._by_profile(tag, row, vr)

    def _by_option(self, tag: int, row: Row, vr: str) -> Action | None:
        chosen = self._profile
        if (chosen.retain_full_dates and row.full_dates) or (chosen.retain_modified_dates and row.modified_dates):
            if vr in _DATES:
                return Action.DATE
            return Action.TIMEZONE if tag == _TIMEZONE_OFFSET else Action.REMOVE
        if (chosen.retain_device_identity and row.device) or (chosen.retain_institution_identity and row.institution):
            return _kept(vr)
        if chosen.retain_uids and row.uids:
            return Action.REMOVE if row.uids == "X" else _kept(vr)
        if chosen.retain_patient_characteristics and row.patient:
            return _kept(vr) if row.patient == "K" else _described(vr)
        if chosen.clean_structured_content and row.structured_content:
            return Action.ITEMS
        if chosen.clean_descriptors and row.descriptors:
            return Action.GROUP_LABEL if tag == _GROUP_LABEL else _described(vr)
        return None

    def _by_profile(self, tag: int, row: Row, vr: str) -> Action:
        basic = row.basic.rstrip("*")
        if tag in _INSTITUTION_TAGS:
            return Action.REMOVE
        if tag == _STEP_SEQUENCE:
            return Action.EMPTY  # Type 2 in documents (PS3.3 C.17.1)
        if basic.endswith("U"):
            return Action.UID if vr == "UI" else Action.ITEMS
        if basic.endswith("D"):
            return _dummy(tag, basic, vr)
        return Action.EMPTY if basic.endswith("Z") else Action.REMOVE

    def _by_vr(self, tag: int, vr: str) -> Action:
        if vr == "SQ":
            return Action.ITEMS
        if vr == "UI":
            return Action.WELL_FORMED_UID if self._profile.retain_uids else Action.UID
        if vr in NUMERIC or vr == "AT" or vr.startswith("US or"):
            return Action.KEEP
        if vr in ("DS", "IS"):
            return Action.NUMBER_TEXT
        if vr == "CS":
            return Action.CODE_STRING
        if vr in _DATES and (self._profile.retain_full_dates or self._profile.retain_modified_dates):
            return Action.DATE
        if vr in _NUMBER_LISTS and tag not in _SELECTOR_TAGS:
            return Action.KEEP
        return Action.KEEP if tag in _BULK_TAGS else Action.REMOVE


def _kept(vr: str) -> Action:
    return {"SQ": Action.ITEMS, "UI": Action.WELL_FORMED_UID, "CS": Action.CODE_STRING}.get(vr, Action.KEEP)


def _described(vr: str) -> Action:
    if vr == "SQ":
        return Action.ITEMS
    return Action.DESCRIPTOR if vr in _TEXT else Action.REMOVE


def _dummy(tag: int, basic: str, vr: str) -> Action:
    if tag == _GROUP_LABEL:
        return Action.GROUP_LABEL
    if vr == "SQ":
        return Action.ITEMS if basic == "D" and tag != _CONTENT_SEQUENCE else Action.REMOVE
    if vr in _DATES:
        return Action.DUMMY_DATE
    if vr == "PN":
        return Action.PERSON
    if vr in _TEXT:
        return Action.IDENTIFIER
    return Action.UID if vr == "UI" else Action.REMOVE
