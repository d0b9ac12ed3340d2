"""A slide of a patient with a Chinese name, described for result objects, and who made the results."""

from datetime import UTC, datetime

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from dicomsvc.objects.codes import code_of
from dicomsvc.objects.common import code_item
from dicomsvc.objects.provenance import Algorithm, Equipment, FindingClass, Identity, Provenance
from dicomsvc.objects.source import SourceSlide, source_slide
from tests.instances import wsi_dataset

PATIENT_NAME = "Wang^XiaoDong=王^小东"
WEIGHTS = "5f2c" * 16
NUCLEUS = FindingClass("nucleus", codes.SCT.AnatomicalStructure, codes.SCT.Nucleus, (30, 200, 90))
NEOPLASM = FindingClass(
    "neoplasm", codes.SCT.MorphologicallyAbnormalStructure, codes.cid7151.NeoplasmPrimary, (230, 40, 40)
)
EQUIPMENT = Equipment("dicomsvc", "dicomsvc", "SN-1", ("0.3.0",))


def slide() -> SourceSlide:
    """Return a slide of 256 x 64 pixels of 0.5 um, turned by 180 degrees, with its corner at (20, 40) mm."""
    ds = wsi_dataset(patient_name=PATIENT_NAME, patient_id="病人-1")
    del ds.PixelData
    ds.FrameOfReferenceUID = generate_uid()
    ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = "20", "40"
    ds.TotalPixelMatrixOriginSequence = [origin]
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.0005, 0.0005], 0.001
    shared.PixelMeasuresSequence = [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.ContainerTypeCodeSequence = [code_item(codes.SCT.MicroscopeSlide)]
    specimen = Dataset()
    specimen.SpecimenIdentifier, specimen.SpecimenUID = "S26-1-A", generate_uid()
    specimen.IssuerOfTheSpecimenIdentifierSequence, specimen.SpecimenPreparationSequence = [], []
    ds.SpecimenDescriptionSequence = [specimen]
    ds.Manufacturer = "Scanner Maker"
    return source_slide([ds])


def identity(kind: str = "result") -> Identity:
    return Identity(generate_uid(), 7, f"{kind} of a test", generate_uid())


def provenance() -> Provenance:
    algorithm = Algorithm("nuclei", "1.2.0", codes.DCM.ArtificialIntelligence, WEIGHTS, parameters={"threshold": "0.5"})
    created = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
    return Provenance(algorithm, EQUIPMENT, created, generate_uid(), "reader")


def value_of(items: object) -> str:
    code = code_of(items)  # type: ignore[arg-type]
    return "" if code is None else code.value
