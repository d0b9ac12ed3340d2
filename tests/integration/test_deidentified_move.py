"""A study moves to a research node by C-MOVE without identity, with DCMTK on both other sides."""

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from dicomsvc.config import PeerSettings, Permission
from dicomsvc.deidentify import deidentifier
from dicomsvc.dimse import DimseServer
from dicomsvc.objects.report import report_file
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Source, Store
from tests.instances import part10, wsi_dataset
from tests.integration.archive import Receiver
from tests.integration.test_query_retrieve import movescu
from tests.unit.deidentify.marked import MARKER, plant
from tests.unit.objects.report_case import report

pytestmark = pytest.mark.peer


def archive(store: Store) -> tuple[str, list[str], list[str]]:
    """Store two volumes, a report and a label image; return the study and the UIDs of what may and may not go out."""
    study, series = generate_uid(), generate_uid()
    goes, stays = [], []
    for number, flavour in enumerate(("VOLUME", "VOLUME", "LABEL")):
        ds = plant(wsi_dataset(study_instance_uid=study, series_instance_uid=series, seed=number))
        ds.ImageType = ["ORIGINAL", "PRIMARY", flavour, "NONE"]
        ds.BurnedInAnnotation = "YES" if flavour == "LABEL" else "NO"
        (stays if flavour == "LABEL" else goes).append(str(ds.SOPInstanceUID))
        put(store, part10(ds))
    ds = plant(report())
    ds.StudyInstanceUID = study
    ds.PatientID = wsi_dataset().PatientID
    goes.append(str(ds.SOPInstanceUID))
    put(store, report_file(ds))
    return study, goes, stays


def put(store: Store, content: bytes) -> None:
    with store.spool() as spooled:
        spooled.write(content)
        store.add(spooled, Source("test", "test"))


def test_movescu_has_a_study_sent_without_identity_and_label(store: Store, tmp_path: Path) -> None:
    study, goes, _ = archive(store)
    with Receiver(tmp_path / "received") as receiver:
        research = PeerSettings(
            ae_title="RESEARCH",
            host="127.0.0.1",
            port=receiver.port,
            may=frozenset({Permission.MOVE_DESTINATION}),
            deidentify="basic",
        )
        dimse = store.settings.dimse.model_copy(update={"accept_unknown": True})
        settings = store.settings.model_copy(update={"peers": {"research": research}, "dimse": dimse})
        with Store(settings) as opened:
            node = DimseServer(settings.dimse, SERVICES, opened)
            node.start()
            output = movescu(
                node.port, "RESEARCH", "-S", keys=["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}"]
            )
            node.stop(2)
    files = [path for path in (tmp_path / "received").iterdir() if path.is_file()]
    cleaner = deidentifier(settings, "basic")
    received = {str(dcmread(path).SOPInstanceUID): dcmread(path) for path in files}
    assert set(received) == {cleaner.uid(uid) for uid in goes}, output
    assert {str(ds.StudyInstanceUID) for ds in received.values()} == {cleaner.uid(study)}
    assert not [path for path in files if MARKER.encode() in path.read_bytes() or study.encode() in path.read_bytes()]
    assert all(ds.PatientIdentityRemoved == "YES" for ds in received.values())
    assert not list(opened.layout.spool.rglob("*.part"))
