"""An entry as an item of the worklist: DICOM JSON with the attributes of PS3.4 Table K.6-1.

The specimen macro (PS3.3 C.7.6.22) stands in Scheduled Specimen Sequence (0040,0500), where the standard has it, and
once more at the top, where scanners look for it that know the module from images. Barcode Value (2200,0005) is the
container's identifier.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from pydicom import Dataset
from pydicom.sr.codedict import codes

from dicomsvc.pacs.worklist.entry import Code, Container, EntryContent, Specimen, Status

START_DATE: Final = ("00400100", "00400002")
START_TIME: Final = ("00400100", "00400003")
CHARACTER_SET: Final = "ISO_IR 192"


def item_attributes(
    content: EntryContent, uid: str, status: Status, start: datetime, stations: Sequence[str]
) -> dict[str, Any]:
    """Return the item of an entry, whose study and specimens have their UIDs.

    Parameters
    ----------
    uid
        The entry's own: the step is named after it when nobody named it.
    start
        When the step begins, local time.
    stations
        Scanners that it is for when it names none.
    """
    ds = Dataset()
    _add_patient(ds, content)
    _add_request(ds, content, uid)
    ds.ScheduledProcedureStepSequence = [_step(content, uid, status, start, stations)]
    container = _container(content.container, content.specimens)
    if content.container.identifier:
        ds.ScheduledSpecimenSequence = [container]
        ds.BarcodeValue = content.container.identifier
    for element in container:
        ds[element.tag] = element
    attributes: dict[str, Any] = ds.to_json_dict()
    return attributes


def step_id(content: EntryContent, uid: str) -> str:
    """Return Scheduled Procedure Step ID (type 1)."""
    return content.step.id or uid[:12].upper()


def _add_patient(ds: Dataset, content: EntryContent) -> None:
    patient = content.patient
    _set(ds, "PatientName", patient.name)
    ds.PatientID = patient.id
    _set(ds, "IssuerOfPatientID", patient.issuer)
    _set(ds, "PatientBirthDate", "" if patient.birth_date is None else patient.birth_date.strftime("%Y%m%d"))
    _set(ds, "PatientSex", patient.sex)
    _set(ds, "AdmissionID", content.admission_id)


def _add_request(ds: Dataset, content: EntryContent, uid: str) -> None:
    procedure = content.procedure
    _set(ds, "AccessionNumber", content.accession_number)
    if content.issuer_of_accession_number:
        ds.IssuerOfAccessionNumberSequence = [_issuer(content.issuer_of_accession_number)]
    _set(ds, "PlacerOrderNumberImagingServiceRequest", content.placer_order_number)
    _set(ds, "FillerOrderNumberImagingServiceRequest", content.filler_order_number)
    _set(ds, "RequestingPhysician", procedure.requesting_physician)
    _set(ds, "ReferringPhysicianName", procedure.referring_physician)
    ds.StudyInstanceUID = content.study_instance_uid
    ds.RequestedProcedureID = procedure.id or content.accession_number or step_id(content, uid)
    # Type 1C: a description or a code.
    _set(ds, "RequestedProcedureDescription", procedure.description or _meaning(procedure.codes) or "Whole slide image")
    _set_codes(ds, "RequestedProcedureCodeSequence", procedure.codes)
    _set(ds, "RequestedProcedurePriority", procedure.priority)
    _set(ds, "ReasonForTheRequestedProcedure", procedure.reason)
    _set(ds, "RequestedProcedureComments", procedure.comments)


def _step(content: EntryContent, uid: str, status: Status, start: datetime, stations: Sequence[str]) -> Dataset:
    step, item = content.step, Dataset()
    item.Modality = step.modality
    titles = list(step.station_ae_titles or stations)
    if titles:
        item.ScheduledStationAETitle = titles
    _set(item, "ScheduledStationName", step.station_name)
    _set(item, "ScheduledProcedureStepLocation", step.location)
    item.ScheduledProcedureStepStartDate = start.strftime("%Y%m%d")
    item.ScheduledProcedureStepStartTime = start.strftime("%H%M%S")
    _set(item, "ScheduledPerformingPhysicianName", step.performing_physician)
    said = step.description or _meaning(step.protocol) or content.procedure.description or "Whole slide image"
    item.ScheduledProcedureStepDescription = said
    _set_codes(item, "ScheduledProtocolCodeSequence", step.protocol)
    item.ScheduledProcedureStepID = step_id(content, uid)
    item.ScheduledProcedureStepStatus = status.value.upper()
    return item


def _container(container: Container, specimens: Sequence[Specimen]) -> Dataset:
    """Return the attributes of the specimen macro; without a container those of its specimens alone."""
    ds = Dataset()
    if container.identifier:
        ds.ContainerIdentifier = container.identifier
        ds.IssuerOfTheContainerIdentifierSequence = [_issuer(container.issuer)] if container.issuer else []
        kind = container.type
        ds.ContainerTypeCodeSequence = [_code(kind) if kind is not None else _coded(codes.SCT.MicroscopeSlide)]
    described = [_specimen(each, container) for each in specimens if each.identifier or container.identifier]
    if described:
        ds.SpecimenDescriptionSequence = described
    return ds


def _specimen(specimen: Specimen, container: Container) -> Dataset:
    ds = Dataset()
    identifier = specimen.identifier or container.identifier
    ds.SpecimenIdentifier = identifier
    ds.IssuerOfTheSpecimenIdentifierSequence = [_issuer(specimen.issuer)] if specimen.issuer else []
    ds.SpecimenUID = specimen.uid
    if specimen.type is not None:
        ds.SpecimenTypeCodeSequence = [_code(specimen.type)]
    _set(ds, "SpecimenShortDescription", specimen.short_description)
    _set(ds, "SpecimenDetailedDescription", specimen.detailed_description)
    _set_codes(ds, "PrimaryAnatomicStructureSequence", specimen.anatomic_sites)
    ds.SpecimenPreparationSequence = _preparation(specimen, identifier)
    return ds


def _preparation(specimen: Specimen, identifier: str) -> list[Dataset]:
    """Return the preparation steps, each a group of content items (PS3.16 TID 8001 to 8003)."""
    if not specimen.preparation:
        return []
    import highdicom as hd  # takes a second to load, which most processes that read this module need not

    steps = []
    for said in specimen.preparation:
        fixative, medium = said.fixative, said.embedding_medium
        procedure: hd.SpecimenStaining | hd.SpecimenProcessing
        if said.staining:
            procedure = hd.SpecimenStaining([_concept(stain) for stain in said.staining])
        else:
            what = said.description or (fixative.meaning if fixative else medium.meaning if medium else "")
            procedure = hd.SpecimenProcessing(what)
        step = hd.SpecimenPreparationStep(
            specimen_id=identifier,
            processing_procedure=procedure,
            processing_description=said.description if said.staining and said.description else None,
            fixative=None if fixative is None else _concept(fixative),
            embedding_medium=None if medium is None else _concept(medium),
            issuer_of_specimen_id=hd.IssuerOfIdentifier(specimen.issuer) if specimen.issuer else None,
        )
        steps.append(Dataset(step))
    return steps


def _concept(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _coded(concept: Any) -> Dataset:
    return _code(Code(value=concept.value, scheme=concept.scheme_designator, meaning=concept.meaning))


def _code(code: Code) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = code.value, code.scheme, code.meaning
    return ds


def _issuer(name: str) -> Dataset:
    ds = Dataset()
    ds.LocalNamespaceEntityID = name
    return ds


def _meaning(said: Sequence[Code]) -> str:
    return said[0].meaning if said else ""


def _set(ds: Dataset, keyword: str, text: str) -> None:
    if text:
        setattr(ds, keyword, text)


def _set_codes(ds: Dataset, keyword: str, said: Sequence[Code]) -> None:
    if said:
        setattr(ds, keyword, [_code(code) for code in said])
