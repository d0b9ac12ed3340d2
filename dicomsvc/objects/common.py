"""Modules that all result objects have: patient, study, series, equipment, specimen, references (PS3.3 C.7, C.12)."""

import uuid
from collections.abc import Iterable, Sequence
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from dicomsvc.errors import InvalidInstance
from dicomsvc.objects.provenance import Algorithm, Identity, Provenance, StoredObject
from dicomsvc.objects.source import SourceLevel, SourceSlide

NOT_VERIFIED: Final = "AI result, not verified"
"""Words that every unreviewed result carries wherever its IOD has a place for them."""

_ALGORITHM_PARAMETERS_LENGTH: Final = 10240
_ACQUISITION_EQUIPMENT: Final = Code("109101", "DCM", "Acquisition Equipment")
_SEGMENTATION: Final = Code("113076", "DCM", "Segmentation")
_PROCESSING_EQUIPMENT: Final = Code("109102", "DCM", "Processing Equipment")

# Type 2: written empty where the slide has none (PS3.3 C.7.1.1, C.7.2.1).
_ALWAYS: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID",
)  # fmt: skip
_WHERE_PRESENT: Final = (
    # Patient (C.7.1.1)
    "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "TypeOfPatientID", "OtherPatientIDsSequence",
    "PatientBirthTime", "EthnicGroup", "PatientSpeciesDescription", "PatientSpeciesCodeSequence",
    "PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "QualityControlSubject", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    # Study (C.7.2.1, C.7.2.2)
    "StudyDescription", "ProcedureCodeSequence", "IssuerOfAccessionNumberSequence", "ReferencedStudySequence",
    "PhysiciansOfRecord", "PatientAge", "PatientSexNeutered", "AdmissionID", "IssuerOfAdmissionIDSequence",
    # Clinical trial (C.7.1.3, C.7.2.3, C.7.3.2)
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription",
    "InstitutionName",
)  # fmt: skip
_SPECIMEN: Final = (
    "ContainerIdentifier", "IssuerOfTheContainerIdentifierSequence", "AlternateContainerIdentifierSequence",
    "ContainerTypeCodeSequence", "ContainerDescription", "ContainerComponentSequence", "SpecimenDescriptionSequence",
)  # fmt: skip
COPIED: Final = frozenset((*_ALWAYS, *_WHERE_PRESENT, *_SPECIMEN, "ContributingEquipmentSequence"))
"""What the slide says in its own words, whether or not they are valid."""
_EQUIPMENT: Final = ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions")


def common_modules(
    source: SourceSlide,
    identity: Identity,
    provenance: Provenance,
    modality: str,
    sop_class_uid: str,
    *,
    referenced: Sequence[SourceLevel] | None = None,
) -> Dataset:
    """Return a data set with all modules that do not depend on the kind of object.

    That is Patient, General Study, Clinical Trial, General Series, Frame of Reference, Enhanced General Equipment
    (with Contributing Equipment for the scanner and for the algorithm), Specimen, Common Instance Reference (to
    ``referenced`` levels, all by default), and SOP Common. Text is Unicode. Dates are told in the slide's time zone
    where it names one, else in that of ``provenance.created``.
    """
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = UID(sop_class_uid)
    ds.SOPInstanceUID = UID(identity.sop_instance_uid)
    ds.InstanceNumber = identity.instance_number
    _add_patient_and_study(ds, source)
    ds.SeriesInstanceUID = UID(identity.series_instance_uid)
    ds.SeriesNumber = identity.series_number
    ds.SeriesDescription = identity.series_description
    ds.Modality = modality
    _add_dates(ds, source, provenance)
    ds.FrameOfReferenceUID = UID(source.frame_of_reference_uid)
    ds.PositionReferenceIndicator = "SLIDE_CORNER"
    _add_equipment(ds, source, provenance)
    _add_specimen(ds, source)
    levels = source.levels if referenced is None else referenced
    if levels:
        ds.ReferencedSeriesSequence = [referenced_series(source, levels), *_source_series(provenance.sources)]
    return ds


def content_identification(ds: Dataset, identity: Identity, provenance: Provenance) -> None:
    """Add the Content Identification Macro (PS3.3 10.9), which says that nobody has verified a model's content."""
    ds.ContentLabel = identity.content_label
    ds.ContentDescription = (identity.content_description or provenance.statement or NOT_VERIFIED)[:64]
    # A person's name has components; that of an algorithm stands where the family name does.
    ds.ContentCreatorName = f"{_plain(provenance.algorithm.name)}^{'' if provenance.statement else 'AI'}"


def instance_reference(level: SourceLevel) -> Dataset:
    """Return a SOP Instance Reference (PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = UID(level.sop_class_uid)
    item.ReferencedSOPInstanceUID = UID(level.sop_instance_uid)
    return item


def referenced_series(source: SourceSlide, levels: Iterable[SourceLevel]) -> Dataset:
    """Return an item of Referenced Series Sequence (PS3.3 C.12.2)."""
    item = Dataset()
    item.SeriesInstanceUID = UID(source.series_instance_uid)
    item.ReferencedInstanceSequence = [instance_reference(level) for level in levels]
    return item


def _source_series(sources: Iterable[StoredObject]) -> list[Dataset]:
    """Return items of Referenced Series Sequence for other objects than the slide."""
    series: dict[str, Dataset] = {}
    for each in sources:
        if each.series_instance_uid not in series:
            series[each.series_instance_uid] = Dataset()
            series[each.series_instance_uid].SeriesInstanceUID = UID(each.series_instance_uid)
            series[each.series_instance_uid].ReferencedInstanceSequence = []
        reference = Dataset()
        reference.ReferencedSOPClassUID = UID(each.sop_class_uid)
        reference.ReferencedSOPInstanceUID = UID(each.sop_instance_uid)
        series[each.series_instance_uid].ReferencedInstanceSequence.append(reference)
    return list(series.values())


def code_item(code: Code) -> Dataset:
    """Return a Code Sequence item (PS3.3 8.8)."""
    item = Dataset()
    keyword = "CodeValue" if len(code.value) <= 16 else "LongCodeValue"
    setattr(item, keyword, code.value)
    item.CodingSchemeDesignator = code.scheme_designator
    if code.scheme_version:
        item.CodingSchemeVersion = code.scheme_version
    item.CodeMeaning = code.meaning
    return item


def algorithm_item(algorithm: Algorithm) -> Dataset:
    """Return an Algorithm Identification Macro item (PS3.3 10.16)."""
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = [code_item(algorithm.family)]
    item.AlgorithmName = algorithm.name
    item.AlgorithmVersion = algorithm.version
    item.AlgorithmParameters = algorithm.parameter_text[:_ALGORITHM_PARAMETERS_LENGTH]
    item.AlgorithmSource = algorithm.source
    return item


def derivation_item(level: SourceLevel, description: str, derivation: Code = _SEGMENTATION) -> Dataset:
    """Return an item of Derivation Image Sequence that says which image was looked at (PS3.3 C.7.6.16.2.6)."""
    reference = instance_reference(level)
    reference.PurposeOfReferenceCodeSequence = [code_item(codes.DCM.SourceImageForImageProcessingOperation)]
    item = Dataset()
    item.DerivationDescription = description
    item.DerivationCodeSequence = [code_item(derivation)]
    item.SourceImageSequence = [reference]
    return item


def derived_uid(*parts: str) -> str:
    """Return a UID that depends on nothing but the parts, so that a repeated run makes the same (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '|'.join(parts)).int}"


def _plain(name: str) -> str:
    """Return a name without the delimiters of person names (PS3.5 6.2)."""
    return "".join(" " if letter in "^=\\" else letter for letter in name)[:60]


def _copy(source: Dataset, target: Dataset, keywords: Iterable[str]) -> None:
    for keyword in keywords:
        if keyword in source:
            target.add(deepcopy(source[keyword]))


def _add_patient_and_study(ds: Dataset, source: SourceSlide) -> None:
    for keyword in _ALWAYS:
        setattr(ds, keyword, None)
    _copy(source.dataset, ds, (*_ALWAYS, *_WHERE_PRESENT))
    ds.StudyInstanceUID = UID(source.study_instance_uid)


def _add_dates(ds: Dataset, source: SourceSlide, provenance: Provenance) -> None:
    created = _in_zone_of(source, provenance.created)
    # The offset holds for all dates of a data set, the copied study date among them (PS3.3 C.12.1).
    ds.TimezoneOffsetFromUTC = created.strftime("%z")[:5]
    date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S.%f")
    for event in ("InstanceCreation", "Series", "Content"):
        setattr(ds, f"{event}Date", date)
        setattr(ds, f"{event}Time", time)


def _in_zone_of(source: SourceSlide, moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise InvalidInstance("the time of creation has no time zone")
    text = str(source.dataset.get("TimezoneOffsetFromUTC") or "")
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdigit():
        return moment
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:]))
    if offset >= timedelta(hours=15):
        return moment
    return moment.astimezone(timezone(-offset if text[0] == "-" else offset))


def _add_specimen(ds: Dataset, source: SourceSlide) -> None:
    """Add the Specimen Module (PS3.3 C.7.6.22), complete though a slide may lack what it asks for."""
    _copy(source.dataset, ds, _SPECIMEN)
    ds.ContainerIdentifier = source.container_identifier
    for keyword in ("IssuerOfTheContainerIdentifierSequence", "ContainerTypeCodeSequence"):
        if keyword not in ds:
            setattr(ds, keyword, [])
    if not ds.get("SpecimenDescriptionSequence"):
        # What is on a slide that tells nothing of its specimens is taken for one.
        specimen = Dataset()
        specimen.SpecimenIdentifier = source.container_identifier
        specimen.IssuerOfTheSpecimenIdentifierSequence = []
        specimen.SpecimenUID = UID(derived_uid("specimen", source.frame_of_reference_uid, source.container_identifier))
        specimen.SpecimenPreparationSequence = []
        ds.SpecimenDescriptionSequence = [specimen]


def _add_equipment(ds: Dataset, source: SourceSlide, provenance: Provenance) -> None:
    equipment, algorithm = provenance.equipment, provenance.algorithm
    ds.Manufacturer = equipment.manufacturer
    ds.ManufacturerModelName = equipment.manufacturer_model_name
    ds.DeviceSerialNumber = equipment.device_serial_number
    ds.SoftwareVersions = list(equipment.software_versions)
    scanner = Dataset()
    _copy(source.dataset, scanner, _EQUIPMENT)
    scanner.Manufacturer = scanner.get("Manufacturer") or "Unknown"
    scanner.ContributionDescription = "Acquired the slide"
    scanner.PurposeOfReferenceCodeSequence = [code_item(_ACQUISITION_EQUIPMENT)]
    model = Dataset()
    model.Manufacturer = algorithm.source
    model.ManufacturerModelName = algorithm.name
    model.SoftwareVersions = algorithm.version
    model.ContributionDateTime = _in_zone_of(source, provenance.created).strftime("%Y%m%d%H%M%S.%f%z")
    model.ContributionDescription = provenance.statement or (
        f"{NOT_VERIFIED}. Weights SHA-256 {algorithm.weights_sha256}; work item {provenance.work_item_uid}"
    )
    if provenance.requested_by:
        model.OperatorsName = f"{_plain(provenance.requested_by)}^"
    model.PurposeOfReferenceCodeSequence = [code_item(_PROCESSING_EQUIPMENT)]
    # A slide that was itself derived keeps the history it came with.
    earlier = list(source.dataset.get("ContributingEquipmentSequence") or ())
    ds.ContributingEquipmentSequence = [*deepcopy(earlier), scanner, model]
