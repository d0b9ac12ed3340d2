"""No marker of a patient is left: not in an element, not in the bytes of the file, whatever the encoding."""

from dataclasses import fields
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from dicomsvc.deidentify import Deidentifier, Profile
from dicomsvc.dicom.part10 import parse_instance
from tests.instances import jpeg, part10, wsi_dataset
from tests.unit.deidentify.marked import (
    MARKER,
    MARKER_DATE,
    MARKER_UID,
    elements,
    jpeg_with_texts,
    plant,
)

SECRET = b"a secret of this test, long enough"


def deidentified(ds: Dataset, folder: Path, profile: Profile = Profile()) -> Path:  # noqa: B008
    source, target = folder / "source.dcm", folder / "target.dcm"
    source.write_bytes(part10(ds))
    assert Deidentifier(profile, SECRET).write(source, target) is not None
    assert parse_instance(target).warnings == ()
    return target


def native(ds: Dataset) -> Dataset:
    ds.PhotometricInterpretation = "RGB"
    ds.PixelData = bytes(range(256)) * (ds.Rows * ds.Columns * 3 * ds.NumberOfFrames // 256)
    ds["PixelData"].VR = "OB"
    return ds


def nested(depth: int) -> Dataset:
    item = Dataset()
    if depth:
        item.ReferencedSeriesSequence = [nested(depth - 1)]
    return plant(item, everything=True)


def marked(syntax: str) -> Dataset:
    ds = wsi_dataset()
    ds.ReferencedSeriesSequence = [nested(3)]
    ds.SpecimenDescriptionSequence = [nested(1)]
    ds.ContributingEquipmentSequence = [nested(0)]
    if syntax != JPEGBaseline8Bit:
        native(ds)
    ds = plant(ds, everything=True)
    ds.BurnedInAnnotation = "NO"
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.SourceApplicationEntityTitle = MARKER
    ds.file_meta.PrivateInformationCreatorUID = MARKER_UID
    ds.file_meta.PrivateInformation = MARKER.encode() + b" "
    ds.preamble = (MARKER.encode() * 16)[:128]
    return ds


@pytest.mark.parametrize(
    "syntax", [JPEGBaseline8Bit, ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_no_marker_is_left_in_any_encoding(syntax: str, tmp_path: Path) -> None:
    ds = marked(syntax)
    path = deidentified(ds, tmp_path)
    raw = path.read_bytes()
    assert MARKER.encode() in (tmp_path / "source.dcm").read_bytes()
    for marker in (MARKER, MARKER_UID, MARKER_DATE, "957404"):
        assert marker.encode() not in raw
        assert marker.encode("utf-16-be") not in raw
    clean = dcmread(path)
    assert [each.tag for each in elements(clean) if each.tag.is_private] == []
    assert clean.PixelData == ds.PixelData
    assert clean.PatientIdentityRemoved == "YES" and clean.LongitudinalTemporalInformationModified == "REMOVED"
    assert [item.CodeValue for item in clean.DeidentificationMethodCodeSequence][:2] == ["113100", "113101"]


OPTIONS = [
    field.name
    for field in fields(Profile)
    if field.name.startswith(("clean", "retain")) and field.type in (bool, "bool")
]


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_leaves_no_private_text_and_no_name(option: str, tmp_path: Path) -> None:
    profile = Profile(**{option: not getattr(Profile(), option)})
    clean = dcmread(deidentified(marked(ExplicitVRLittleEndian), tmp_path, profile))
    kept = {each.keyword for each in elements(clean) if MARKER in str(each.value) and each.VR != "SQ"}
    names = {each.keyword for each in elements(clean) if each.VR == "PN" and MARKER in str(each.value)}
    assert names == set()
    if option == "retain_device_identity":
        assert "DeviceSerialNumber" in kept and "InstitutionName" not in kept
    elif option == "retain_institution_identity":
        assert "InstitutionName" in kept and "DeviceSerialNumber" not in kept
    elif option == "retain_patient_characteristics":
        assert "PatientAge" not in kept and kept <= {"EthnicGroup", "EthnicGroups"}
    elif option == "retain_full_dates":
        assert clean.StudyDate == "20260102" and kept == set()
    elif option == "retain_modified_dates":
        assert clean.StudyDate not in ("", "20260102") and kept == set()
        assert MARKER_DATE not in str(clean)
    elif option == "retain_code_meanings":
        assert kept <= {"CodeMeaning"}
    else:
        assert kept == set()


def test_text_beside_pixels_is_written_over_and_pixels_stay(tmp_path: Path) -> None:
    ds = wsi_dataset()
    frames = [jpeg(64, 64, number) for number in range(4)]
    for table in (True, False):
        ds.PixelData = encapsulate([jpeg_with_texts(frame) for frame in frames], has_bot=table)
        path = deidentified(ds, tmp_path)
        assert MARKER.encode() not in path.read_bytes()
        clean = dcmread(path)
        assert len(clean.PixelData) == len(ds.PixelData)
        assert (clean.pixel_array == ds.pixel_array).all()
        for frame, new in zip(frames, generate_frames(clean.PixelData, number_of_frames=4), strict=True):
            segments = len(jpeg_with_texts(frame)) - len(frame) - len(MARKER) * 3
            assert new[:2] + new[2 + segments : segments + len(frame)] == frame
        path.unlink()


def test_frames_of_several_fragments_are_cleaned_over_their_borders(tmp_path: Path) -> None:
    ds = wsi_dataset()
    frames = [jpeg_with_texts(jpeg(64, 64, number)) for number in range(4)]
    ds.PixelData = encapsulate(frames, fragments_per_frame=5, has_bot=True)
    path = deidentified(ds, tmp_path)
    assert MARKER.encode() not in path.read_bytes()
    assert (dcmread(path).pixel_array == ds.pixel_array).all()


def test_overlays_and_curves_go_as_a_whole(tmp_path: Path) -> None:
    ds = wsi_dataset()
    for tag, vr, value in ((0x60000010, "US", 8), (0x60000040, "CS", "G"), (0x60003000, "OW", bytes(8))):
        ds.add_new(tag, vr, value)
    ds.add_new(0x50000005, "US", 2)
    clean = dcmread(deidentified(ds, tmp_path))
    assert [each.tag for each in clean if each.tag.group in (0x5000, 0x6000)] == []


def test_only_safe_private_elements_stay_when_asked(tmp_path: Path) -> None:
    ds = plant(wsi_dataset())
    safe = ds.private_block(0x00E1, "ELSCINT1", create=True)
    safe.add_new(0x21, "DS", "12.5")
    safe.add_new(0x22, "LO", MARKER)
    ds.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0, "UN", MARKER.encode())
    path = deidentified(ds, tmp_path, Profile(retain_safe_private=True))
    clean = dcmread(path)
    assert clean.private_block(0x00E1, "ELSCINT1")[0x21].value == 12.5
    assert MARKER.encode() not in path.read_bytes()
    assert [each for each in clean if each.tag.is_private and each.tag.element > 0xFF] == [clean[0x00E1, 0x1021]]


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
@pytest.mark.parametrize("encoding", ["native", "YBR", "RGB"])
def test_the_label_part_of_an_overview_is_blanked(side: str, encoding: str, tmp_path: Path) -> None:
    ds = wsi_dataset(frames=4)
    ds.ImageType, ds.BurnedInAnnotation = ["ORIGINAL", "PRIMARY", "OVERVIEW", "NONE"], "YES"
    ds.DimensionOrganizationType = "TILED_FULL"
    if encoding == "native":
        native(ds).file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    elif encoding == "RGB":
        ds.PhotometricInterpretation = "RGB"
        tiles = [np.full((64, 64, 3), (200, 30, 90), np.uint8) for _ in range(4)]
        options = {"colorspace": "RGB", "outcolorspace": "RGB"}
        ds.PixelData = encapsulate([imagecodecs.jpeg8_encode(tile, level=95, **options) for tile in tiles])
    before = np.concatenate(list(ds.pixel_array), axis=1).astype(int)
    clean = dcmread(deidentified(ds, tmp_path, Profile(overview_label=side, overview_label_share=0.25)))
    after = np.concatenate(list(clean.pixel_array), axis=1).astype(int)
    share = {"left": (slice(None), slice(0, 56)), "right": (slice(None), slice(200, 256))}
    share |= {"top": (slice(0, 12), slice(None)), "bottom": (slice(52, 64), slice(None))}
    assert np.abs(after[share[side]] - 128).max() <= (0 if encoding == "native" else 8)
    rest = {"left": (slice(None), slice(72, 256)), "right": (slice(None), slice(0, 184))}
    rest |= {"top": (slice(24, 64), slice(None)), "bottom": (slice(0, 40), slice(None))}
    assert np.abs(after[rest[side]] - before[rest[side]]).mean() < (1e-9 if encoding == "native" else 6)
    assert clean.BurnedInAnnotation == "NO"


def test_bytes_behind_native_pixels_go(tmp_path: Path) -> None:
    ds = native(wsi_dataset())
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PixelData += (MARKER + " ").encode() * 8
    source, target = tmp_path / "a.dcm", tmp_path / "b.dcm"
    source.write_bytes(part10(ds))
    Deidentifier(Profile(), SECRET).write(source, target)
    assert MARKER.encode() not in target.read_bytes()
