"""The metadata document fills the data set; a wrong one is refused without telling its values."""

import datetime as dt
from pathlib import Path

import pytest
from PIL import ImageCms

from dicomsvc.errors import ConversionError
from dicomsvc.ingest.convert.common import UidMaker, make_common
from dicomsvc.ingest.convert.metadata import Metadata
from dicomsvc.ingest.convert.optics import optical_paths, profile_without_text, srgb_profile
from dicomsvc.ingest.convert.options import ConversionOptions
from dicomsvc.ingest.convert.sources.base import Channel, Properties

SCANNER = Properties(
    manufacturer="Maker", device_serial_number="SN-7", acquired=dt.datetime(2020, 2, 3, 4, 5, 6), barcode="S20-1-A1"
)


def common(tmp_path: Path, document: dict[str, object], **options: object) -> object:
    slide = tmp_path / "Name-of-file.svs"
    slide.touch()
    chosen = ConversionOptions(metadata=document, **options)  # type: ignore[arg-type]
    return make_common(slide, SCANNER, Metadata(document), chosen, UidMaker("test")).dataset


def test_flat_keys_and_the_nested_document_say_the_same(tmp_path: Path) -> None:
    flat = common(tmp_path, {"patient_id": "P1", "patient_sex": "M", "accession_number": "A1"})
    nested = common(tmp_path, {"patient": {"identifier": "P1", "sex": "male"}, "study": {"accession_number": "A1"}})
    assert flat == nested
    assert (flat.PatientID, flat.PatientSex, flat.AccessionNumber) == ("P1", "M", "A1")  # type: ignore[attr-defined]


def test_the_worklist_row_is_never_blank(tmp_path: Path) -> None:
    ds = common(tmp_path, {})
    assert (ds.PatientID, ds.StudyID, ds.StudyDate) == ("S20-1-A1", "S20-1-A1", "20200203")  # type: ignore[attr-defined]
    assert ds.ContainerIdentifier == "S20-1-A1"  # type: ignore[attr-defined]


def test_haematoxylin_and_eosin_are_coded(tmp_path: Path) -> None:
    ds = common(tmp_path, {"stain": "H&E", "specimen_identifier": "S20-1-A"})
    item = ds.SpecimenDescriptionSequence[0]  # type: ignore[attr-defined]
    assert item.SpecimenIdentifier == "S20-1-A"
    text = str(item.SpecimenPreparationSequence)
    assert "12710003" in text
    assert "36879007" in text


@pytest.mark.parametrize(
    "document",
    [
        {"patient_nam": "Muster"},
        {"patient": {"sex": "Muster"}},
        {"study_date": "Muster"},
        {"study": "Muster"},
        {"slide": {"samples": [{"Muster": 1}]}},
        {"study_instance_uid": "1.2.Muster"},
    ],
)
def test_a_document_that_is_not_understood_is_refused_without_its_values(
    document: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(ConversionError) as caught:
        common(tmp_path, document)
    assert "Muster" not in str(caught.value).replace("patient_nam", "")


def test_a_document_names_no_files() -> None:
    with pytest.raises(ConversionError, match="name files"):
        Metadata({"pyramid": {"optical_paths": [{"icc_profile": "/etc/hostname"}]}})


def test_a_document_nested_without_end_is_refused() -> None:
    document: dict[str, object] = {}
    for _ in range(100):
        document = {"patient": document}
    with pytest.raises(ConversionError, match="deep"):
        Metadata(document)


def test_deidentification_drops_what_the_scanner_and_the_file_name_say(tmp_path: Path) -> None:
    text = str(common(tmp_path, {}, deidentify=True))
    for secret in ("SN-7", "S20-1-A1", "Name-of-file", "2020"):
        assert secret not in text


def test_dates_stay_when_asked_for(tmp_path: Path) -> None:
    ds = common(tmp_path, {}, deidentify=True, keep_dates=True)
    assert ds.StudyDate == "20200203"  # type: ignore[attr-defined]
    assert ds.LongitudinalTemporalInformationModified == "UNMODIFIED"  # type: ignore[attr-defined]


def test_optical_paths_have_identifiers_of_their_own() -> None:
    channels = [Channel("DAPI", 358.0, 461.0), Channel("FITC", 490.0), Channel()]
    items = optical_paths(channels, [], fluorescence=True, magnification=20, icc_profile=None)
    assert [item.OpticalPathIdentifier for item in items] == ["1", "2", "3"]
    assert [item.get("IlluminationWaveLength") for item in items] == [358.0, 490.0, None]
    assert "IlluminationColorCodeSequence" in items[2]


def test_the_default_profile_is_srgb_and_the_same_each_time() -> None:
    assert srgb_profile() == srgb_profile()
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(_file(srgb_profile())))


def test_texts_leave_a_profile_and_its_colours_stay() -> None:
    blank = profile_without_text(srgb_profile())
    assert len(blank) == len(srgb_profile())
    opened = ImageCms.ImageCmsProfile(_file(blank))
    assert ImageCms.getProfileDescription(opened).strip() == ""
    assert opened.profile.red_colorant == ImageCms.ImageCmsProfile(_file(srgb_profile())).profile.red_colorant


def _file(profile: bytes) -> object:
    from io import BytesIO

    return BytesIO(profile)
