"""What all instances of a slide share: patient, study, series, equipment, slide (PS3.3 A.32.8)."""

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import Dataset
from pydicom.uid import UID, generate_uid
from wsidicom.metadata import WsiMetadata

from dicomsvc import __version__
from dicomsvc.errors import ConversionError
from dicomsvc.ingest.convert.metadata import Metadata
from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources.base import Properties

_UNKNOWN: Final = "Unknown"
# What stands for a date that was removed, where the standard wants one (PS3.15 E.1, action D).
_REMOVED_DATE: Final = dt.datetime(1970, 1, 1)
_SERIES_NUMBER: Final = 1


class UidMaker:
    """Makes UIDs, the same ones for the same seed."""

    def __init__(self, seed: str | None) -> None:
        self._seed = seed

    def make(self, purpose: str) -> UID:
        if self._seed is None:
            return generate_uid()
        return generate_uid(entropy_srcs=["dicomsvc conversion", self._seed, purpose])


@dataclass(frozen=True, slots=True)
class Common:
    """The shared data set, and what later steps need of it again."""

    dataset: Dataset
    acquired: dt.datetime
    magnification: float | None
    study_instance_uid: str
    series_instance_uid: str


def make_common(
    source: Path, properties: Properties, metadata: Metadata, options: ConversionOptions, uids: UidMaker
) -> Common:
    """Bring together the metadata document, what the file says, and defaults, in this order of precedence."""
    values = metadata.values
    if options.deidentify:
        properties = Properties(
            manufacturer=properties.manufacturer,
            model_name=properties.model_name,
            magnification=properties.magnification,
            acquired=properties.acquired if options.keep_dates else None,
        )
    container = metadata.container_identifier or _default_container(source, properties, options, uids)
    acquired = _acquired(source, values, properties, options)
    ds = metadata.slide_dataset(container, str(uids.make("specimen")))
    ds.SpecificCharacterSet = "ISO_IR 192"
    _patient(ds, values, container)
    study = _uid(options.study_instance_uid, values.study.uid, uids, "study")
    series = _uid(options.series_instance_uid, values.series.uid, uids, "series")
    _study(ds, values, study, container, acquired, dated=not options.deidentify or options.keep_dates)
    _series(ds, values, series)
    _equipment(ds, values, properties)
    _label(ds, values, properties)
    ds.FrameOfReferenceUID = values.frame_of_reference_uid or uids.make("frame of reference")
    ds.PositionReferenceIndicator = "SLIDE_CORNER"
    ds.AcquisitionUID = uids.make("acquisition")
    dimension = Dataset()
    dimension.DimensionOrganizationUID = uids.make("dimension organization")
    ds.DimensionOrganizationSequence = [dimension]
    if options.deidentify:
        ds.PatientIdentityRemoved = "YES"
        ds.DeidentificationMethod = f"dicomsvc {__version__} conversion"
        ds.LongitudinalTemporalInformationModified = "UNMODIFIED" if options.keep_dates else "REMOVED"
    return Common(ds, acquired, properties.magnification, study, series)


def _default_container(source: Path, properties: Properties, options: ConversionOptions, uids: UidMaker) -> str:
    if options.deidentify:
        return "SLIDE-" + hashlib.sha256(str(uids.make("container")).encode()).hexdigest()[:10].upper()
    name = source.name.split(".", 1)[0] or source.stem
    return (properties.barcode or name)[:64].replace("\\", "_")


def _acquired(source: Path, values: WsiMetadata, properties: Properties, options: ConversionOptions) -> dt.datetime:
    """When the slide was scanned; a file that does not say is taken to be as old as its last change."""
    given = values.pyramid.image.acquisition_datetime
    if given is not None:
        moment: dt.datetime = given.replace(tzinfo=None)
        return moment
    if properties.acquired is not None:
        return properties.acquired
    if values.study.date is not None:
        return dt.datetime.combine(values.study.date, values.study.time or dt.time())
    if options.deidentify:
        return _REMOVED_DATE
    return dt.datetime.fromtimestamp(int(source.stat().st_mtime))


def _uid(option: str | None, given: UID | None, uids: UidMaker, purpose: str) -> str:
    chosen = UID(option or given or uids.make(purpose))
    if not chosen.is_valid:
        raise ConversionError(f"The {purpose} instance UID that was asked for is no valid UID")
    return str(chosen)


def _patient(ds: Dataset, values: WsiMetadata, container: str) -> None:
    patient = values.patient
    ds.PatientName = patient.name or ""
    # A worklist without any identifier is of no use; the slide's own is the one that is always known.
    ds.PatientID = (patient.identifier or container)[:64]
    ds.PatientBirthDate = patient.birth_date.strftime("%Y%m%d") if patient.birth_date else ""
    ds.PatientSex = patient.sex.name if patient.sex else ""


def _study(ds: Dataset, values: WsiMetadata, uid: str, container: str, acquired: dt.datetime, *, dated: bool) -> None:
    study = values.study
    ds.StudyInstanceUID = uid
    when = dt.datetime.combine(study.date, study.time or dt.time()) if study.date else acquired if dated else None
    ds.StudyDate = when.strftime("%Y%m%d") if when else ""
    ds.StudyTime = when.strftime("%H%M%S") if when else ""
    ds.StudyID = (study.identifier or container)[:16]
    ds.AccessionNumber = (study.accession_number or "")[:16]
    ds.ReferringPhysicianName = study.referring_physician_name or ""
    ds.StudyDescription = (study.description or "Whole slide imaging")[:64]


def _series(ds: Dataset, values: WsiMetadata, uid: str) -> None:
    series = values.series
    ds.Modality = "SM"
    ds.SeriesInstanceUID = uid
    ds.SeriesNumber = series.number if series.number is not None else _SERIES_NUMBER
    if series.description:
        ds.SeriesDescription = series.description[:64]
    if series.body_part_examined:
        ds.BodyPartExamined = series.body_part_examined[:16]


def _equipment(ds: Dataset, values: WsiMetadata, properties: Properties) -> None:
    equipment = values.equipment
    ds.Manufacturer = (equipment.manufacturer or properties.manufacturer or _UNKNOWN)[:64]
    ds.ManufacturerModelName = (equipment.model_name or properties.model_name or _UNKNOWN)[:64]
    ds.DeviceSerialNumber = (equipment.device_serial_number or properties.device_serial_number or _UNKNOWN)[:64]
    versions = [*(equipment.software_versions or properties.software_versions), f"dicomsvc {__version__}"]
    ds.SoftwareVersions = [version.replace("\\", "/")[:64] for version in versions]


def _label(ds: Dataset, values: WsiMetadata, properties: Properties) -> None:
    ds.BarcodeValue = (values.label.barcode or properties.barcode or "")[:64]
    ds.LabelText = values.label.text or ""
