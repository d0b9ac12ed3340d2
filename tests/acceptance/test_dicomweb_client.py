"""dicomweb-client, command line and Python, with a running service: all its searches, retrievals and stores."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread

from tests.conftest import RunningService
from tests.instances import write_instances


@pytest.fixture(scope="module")
def sent(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three instances of one series, stored with the command line."""
    folder = tmp_path_factory.mktemp("sent")
    write_instances(folder, 3)
    paths = sorted(folder.iterdir())
    command_line(service, "store", "instances", *map(str, paths))
    return paths


def command_line(service: RunningService, *arguments: str) -> str:
    """Run ``dicomweb_client`` and return what it prints."""
    program = Path(sys.executable).with_name("dicomweb_client")
    ended = subprocess.run(
        [str(program), "--url", service.dicomweb, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def uids(ds: Dataset) -> tuple[str, str, str]:
    return str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID)


def test_the_command_line_searches_at_every_level(service: RunningService, sent: list[Path]) -> None:
    study, series, _ = uids(dcmread(sent[0]))
    assert len(json.loads(command_line(service, "search", "studies", "--filter", f"StudyInstanceUID={study}"))) == 1
    assert len(json.loads(command_line(service, "search", "series", "--study", study))) == 1
    found = command_line(service, "search", "instances", "--study", study, "--series", series)
    assert len(json.loads(found)) == len(sent)


def test_the_command_line_retrieves_metadata_instances_and_frames(
    service: RunningService, sent: list[Path], tmp_path: Path
) -> None:
    original = dcmread(sent[1])
    study, series, instance = uids(original)
    assert len(json.loads(command_line(service, "retrieve", "studies", "--study", study, "metadata"))) == len(sent)
    of_series = ("retrieve", "series", "--study", study, "--series", series)
    assert len(json.loads(command_line(service, *of_series, "metadata"))) == len(sent)
    of_instance = ("retrieve", "instances", "--study", study, "--series", series, "--instance", instance)
    assert json.loads(command_line(service, *of_instance, "metadata"))["00080018"]["Value"] == [instance]
    command_line(service, *of_instance, "full", "--save", "--output-dir", str(tmp_path))
    [saved] = tmp_path.iterdir()
    assert dcmread(saved).PixelData == original.PixelData
    frames = tmp_path / "frames"
    frames.mkdir()
    command_line(service, *of_instance, "frames", "--numbers", "1", "2", "--save", "--output-dir", str(frames))
    assert len(list(frames.iterdir())) == 2


def test_python_stores_and_retrieves_everything_it_can(
    service: RunningService, sent: list[Path], tmp_path: Path
) -> None:
    client = DICOMwebClient(service.dicomweb)
    write_instances(tmp_path, 2)
    datasets = [dcmread(path) for path in sorted(tmp_path.iterdir())]
    study, series, instance = uids(datasets[0])
    answer = client.store_instances(datasets, study_instance_uid=study)
    assert len(answer.ReferencedSOPSequence) == 2
    assert "FailedSOPSequence" not in answer
    assert client.search_for_studies(search_filters={"PatientName": "slide*"}, fuzzymatching=True, limit=5)
    assert client.search_for_series(fields=["Modality"], get_remaining=True)
    assert len(client.search_for_instances(study, series)) == 2
    assert {str(each.SOPInstanceUID) for each in client.retrieve_study(study)} == {
        str(each.SOPInstanceUID) for each in datasets
    }
    assert len(list(client.iter_series(study, series))) == 2
    assert client.retrieve_instance(study, series, instance).PixelData == datasets[0].PixelData
    assert client.retrieve_instance_rendered(study, series, instance, media_types=("image/png",)).startswith(b"\x89PNG")
    picture = client.retrieve_instance_frames_rendered(study, series, instance, [1], media_types=("image/jpeg",))
    assert picture.startswith(b"\xff\xd8")
    client.delete_study(study)
    assert client.search_for_studies(search_filters={"StudyInstanceUID": study}) == []
