"""Small DICOM objects made for tests: true to the standard where it matters, random where it does not."""

import io
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid

VL_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def jpeg(rows: int, columns: int, seed: int) -> bytes:
    """Return a small JPEG tile whose content depends on ``seed``."""
    from PIL import Image

    noise = np.random.default_rng(seed).integers(0, 255, (rows // 8, columns // 8, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((columns, rows)).save(stream, "JPEG", quality=80)
    return stream.getvalue()


def wsi_dataset(
    *,
    study_instance_uid: str | None = None,
    series_instance_uid: str | None = None,
    sop_instance_uid: str | None = None,
    frames: int = 4,
    tile: int = 64,
    seed: int = 0,
    patient_name: str = "Slide^Test",
    patient_id: str = "T-1",
    instance_number: int = 1,
) -> Dataset:
    """Return a tiled JPEG image of ``frames`` tiles in a row."""
    ds = Dataset()
    ds.SOPClassUID = VL_WHOLE_SLIDE
    ds.SOPInstanceUID = sop_instance_uid or generate_uid()
    ds.StudyInstanceUID = study_instance_uid or generate_uid()
    ds.SeriesInstanceUID = series_instance_uid or generate_uid()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.Modality = "SM"
    ds.PatientName, ds.PatientID, ds.PatientSex, ds.PatientBirthDate = patient_name, patient_id, "O", "19700101"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260102", "101112", "A1", "S1"
    ds.ReferringPhysicianName = ""
    ds.SeriesNumber, ds.InstanceNumber = 1, instance_number
    ds.ContainerIdentifier = "C-1"
    ds.Rows = ds.Columns = tile
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = tile, tile * frames
    ds.NumberOfFrames = frames
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_FULL_422", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = encapsulate([jpeg(tile, tile, seed * 1000 + number) for number in range(frames)])
    ds["PixelData"].VR = "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def part10(ds: Dataset) -> bytes:
    """Return the data set as a Part 10 file."""
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def write_instances(folder: Path, count: int, **same: str) -> dict[str, bytes]:
    """Write ``count`` instances of one series; return their bytes by SOP Instance UID."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = generate_uid(), generate_uid()
    written = {}
    for number in range(count):
        ds = wsi_dataset(
            study_instance_uid=study, series_instance_uid=series, seed=number, instance_number=number + 1, **same
        )
        written[str(ds.SOPInstanceUID)] = part10(ds)
        (folder / f"{number:05d}.dcm").write_bytes(written[str(ds.SOPInstanceUID)])
    return written
