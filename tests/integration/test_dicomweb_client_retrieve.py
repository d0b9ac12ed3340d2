"""dicomweb-client retrieves everything that it can ask for."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from PIL import Image
from pydicom.encaps import generate_frames

from dicomsvc.store import Store
from tests.integration.wado_server import converted, serving, store_files


@dataclass(frozen=True)
class Retrieved:
    client: DICOMwebClient
    uids: tuple[str, str, str]
    base: pydicom.Dataset
    count: int


@pytest.fixture
def retrieved(store: Store, cmu_small_region: Path) -> Iterator[Retrieved]:
    contents = converted(cmu_small_region)
    store_files(store, contents)
    read = [pydicom.dcmread(io.BytesIO(content)) for content in contents]
    base = max(read, key=lambda ds: int(ds.get("NumberOfFrames", 1)))
    uids = (str(base.StudyInstanceUID), str(base.SeriesInstanceUID), str(base.SOPInstanceUID))
    with serving(store) as root:
        yield Retrieved(DICOMwebClient(root), uids, base, len(read))


def test_instances(retrieved: Retrieved) -> None:
    client, (study, series, instance) = retrieved.client, retrieved.uids
    assert len(client.retrieve_study(study)) == retrieved.count
    assert len(client.retrieve_series(study, series)) == retrieved.count
    assert len(list(client.iter_series(study, series))) == retrieved.count
    assert client.retrieve_instance(study, series, instance) == retrieved.base
    explicit = client.retrieve_instance(
        study, series, instance, media_types=(("application/dicom", "1.2.840.10008.1.2.1"),)
    )
    assert np.array_equal(explicit.pixel_array, retrieved.base.pixel_array)


def test_metadata(retrieved: Retrieved) -> None:
    client, (study, series, instance) = retrieved.client, retrieved.uids
    assert len(client.retrieve_study_metadata(study)) == retrieved.count
    assert len(client.retrieve_series_metadata(study, series)) == retrieved.count
    ds = pydicom.Dataset.from_json(client.retrieve_instance_metadata(study, series, instance), lambda *_: b"")
    assert ds.TotalPixelMatrixColumns == retrieved.base.TotalPixelMatrixColumns


@pytest.mark.parametrize(
    "media_types",
    [
        None,
        ("image/jpeg",),
        (("image/jpeg", "1.2.840.10008.1.2.4.50"),),
        (("application/octet-stream", "*"),),
        (("image/jpeg", "*"), ("application/octet-stream", "*")),
    ],
)
def test_frames_as_stored(retrieved: Retrieved, media_types: tuple[object, ...] | None) -> None:
    frames = retrieved.client.retrieve_instance_frames(*retrieved.uids, [1, 5, 130], media_types=media_types)
    stored = list(generate_frames(retrieved.base.PixelData, number_of_frames=130))
    assert frames == [stored[0], stored[4], stored[129]]


def test_frames_uncompressed(retrieved: Retrieved) -> None:
    (frame,) = retrieved.client.retrieve_instance_frames(
        *retrieved.uids, [7], media_types=(("application/octet-stream", "1.2.840.10008.1.2.1"),)
    )
    pixels = np.frombuffer(frame, np.uint8).reshape(240, 240, 3)
    assert np.array_equal(pixels, retrieved.base.pixel_array[6])


def test_five_hundred_frames_in_one_request(retrieved: Retrieved) -> None:
    numbers = [1 + index % 130 for index in range(500)]
    frames = list(retrieved.client.iter_instance_frames(*retrieved.uids, numbers))
    stored = list(generate_frames(retrieved.base.PixelData, number_of_frames=130))
    assert frames == [stored[number - 1] for number in numbers]


def test_pictures(retrieved: Retrieved) -> None:
    client = retrieved.client
    png = client.retrieve_instance_rendered(*retrieved.uids, media_types=("image/png",), params={"viewport": "90,90"})
    assert Image.open(io.BytesIO(png)).height == 90
    frame = client.retrieve_instance_frames_rendered(*retrieved.uids, [3], media_types=("image/jpeg",))
    assert Image.open(io.BytesIO(frame)).size == (240, 240)


def test_bulk_data(retrieved: Retrieved) -> None:
    metadata = retrieved.client.retrieve_instance_metadata(*retrieved.uids)
    uri = metadata["00480105"]["Value"][0]["00282000"]["BulkDataURI"]
    profile = retrieved.base.OpticalPathSequence[0].ICCProfile
    assert retrieved.client.retrieve_bulkdata(uri) == [profile]
    assert retrieved.client.retrieve_bulkdata(uri, media_types=("application/octet-stream",)) == [profile]
