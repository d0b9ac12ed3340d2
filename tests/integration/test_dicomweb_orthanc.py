"""Orthanc's DICOMweb plugin as the client: it sends to this node by STOW-RS, searches it, and gets what it has."""

import httpx
import pytest

from dicomsvc.store import Store
from dicomsvc.store.layout import file_key
from tests.instances import part10, wsi_dataset
from tests.integration.archive import make_archive
from tests.integration.orthanc import dicomweb_plugins, running_orthanc
from tests.integration.wado_server import serving
from tests.unit.dimse.wire import data_set_of

pytestmark = pytest.mark.peer


def settings(url: str) -> dict[str, object]:
    return {
        "Plugins": dicomweb_plugins(),
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Servers": {"us": [f"{url}/"]}},
    }


def test_orthanc_sends_a_study_by_stow_byte_for_byte(store: Store) -> None:
    study, series = "1.2.3.88", "1.2.3.88.1"
    sent = [wsi_dataset(study_instance_uid=study, series_instance_uid=series, seed=number) for number in range(3)]
    with serving(store) as url, running_orthanc({}, **settings(url)) as orthanc:
        for ds in sent:
            orthanc.post_file(part10(ds))
        orthanc.post("/dicom-web/servers/us/stow", {"Resources": orthanc.get("/studies"), "Synchronous": True})
        held = orthanc.files()
        assert set(held) == {str(ds.SOPInstanceUID) for ds in sent}
        stored = {uid: store.layout.instance_path(file_key(uid)).read_bytes() for uid in held}
    assert {uid: data_set_of(content) for uid, content in stored.items()} == {
        str(ds.SOPInstanceUID): data_set_of(part10(ds)) for ds in sent
    }


def test_orthanc_searches_and_retrieves_a_study_byte_for_byte(store: Store) -> None:
    made = [ds for ds in make_archive(store) if ds.StudyInstanceUID == "1.2.3.1"]
    with serving(store) as url, running_orthanc({}, **settings(url)) as orthanc:
        asked = {"Uri": "/studies", "Arguments": {"PatientID": "P-1"}}
        found = httpx.post(f"{orthanc.url}/dicom-web/servers/us/qido", json=asked, timeout=60).raise_for_status().json()
        assert {each["0020000D"]["Value"] for each in found} == {"1.2.3.1", "1.2.3.2"}, found
        orthanc.post("/dicom-web/servers/us/retrieve", {"Resources": [{"Study": "1.2.3.1"}], "Synchronous": True})
        assert {uid: data_set_of(content) for uid, content in orthanc.files().items()} == {
            str(ds.SOPInstanceUID): data_set_of(part10(ds)) for ds in made
        }
