"""Peers that take nothing compressed, or nothing but the default transfer syntax, get instances all the same."""

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, build_role, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet

from dicomsvc.config import PeerSettings, Permission, Settings
from dicomsvc.dimse import DimseServer
from dicomsvc.routing.forwards import ForwardState
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from tests.instances import VL_WHOLE_SLIDE, wsi_dataset
from tests.integration.archive import Receiver, keep
from tests.integration.routed import Carrier, opened, put, with_routing
from tests.integration.test_query_retrieve import getscu, movescu

STUDY = "1.2.3.77"
KEYS = ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}"]
UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def image(uid: str, *, frames: int = 3, seed: int = 1) -> Dataset:
    return wsi_dataset(
        study_instance_uid=STUDY, series_instance_uid=f"{STUDY}.1", sop_instance_uid=uid, frames=frames, seed=seed
    )


def native(uid: str, syntax: str, bits: int) -> Dataset:
    """Return a small uncompressed grey image of an odd number of pixels."""
    ds = image(uid, frames=1)
    ds.Rows, ds.Columns, ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = 7, 9, 7, 9
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    del ds.PlanarConfiguration
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    pixels = np.random.default_rng(3).integers(0, 1 << bits, (7, 9))
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    data = pixels.astype(f"{order}u{bits // 8}").tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OW" if bits > 8 else "OB"
    ds["PixelData"].is_undefined_length = False
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def report(uid: str) -> Dataset:
    """Return an instance without pixels, with text outside ASCII in a sequence."""
    ds = Dataset()
    ds.file_meta = image(uid).file_meta
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SpecificCharacterSet = STUDY, f"{STUDY}.2", "ISO_IR 192"
    ds.PatientID, ds.PatientName, ds.Modality = "T-1", "Slide^Test", "SR"
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", "左肾 für µm"
    ds.ContentSequence = [item]
    return ds


Serving = Callable[..., DimseServer]


@pytest.fixture
def serving(store: Store) -> Iterator[Serving]:
    """Start a node that lets anybody retrieve; ``deidentify``: profile for the peer TESTER, which asks."""
    with ExitStack() as ends:

        def start(*, destination: int = 104, deidentify: str | None = None) -> DimseServer:
            peers = {
                "destination": PeerSettings(
                    ae_title="DESTINATION",
                    host="127.0.0.1",
                    port=destination,
                    may=frozenset({Permission.MOVE_DESTINATION}),
                ),
                "tester": PeerSettings(ae_title="TESTER", may=frozenset({Permission.RETRIEVE}), deidentify=deidentify),
            }
            dimse = store.settings.dimse.model_copy(update={"accept_unknown": True})
            opened_again = Store(store.settings.model_copy(update={"peers": peers, "dimse": dimse}))
            server = DimseServer(dimse, SERVICES, ends.enter_context(opened_again))
            server.start()
            ends.callback(server.stop, 2)
            return server

        yield start


@pytest.fixture
def kept(store: Store) -> dict[str, Dataset]:
    """What is stored, by SOP Instance UID: JPEG, two native images, one in the wrong order of bytes, a report."""
    made = [
        image("1.2.3.77.1.1"),
        native("1.2.3.77.1.2", ExplicitVRLittleEndian, 8),
        native("1.2.3.77.1.3", ImplicitVRLittleEndian, 16),
        native("1.2.3.77.1.4", ExplicitVRBigEndian, 16),
        report("1.2.3.77.2.1"),
    ]
    keep(store, *made)
    return {str(ds.SOPInstanceUID): ds for ds in made}


def pixels(stored: Dataset) -> "np.ndarray[Any, Any]":
    """Return pixels as another decoder sees them."""
    if not stored["PixelData"].is_undefined_length:
        return stored.pixel_array
    frames = generate_frames(stored.PixelData, number_of_frames=int(stored.NumberOfFrames))
    return np.stack([np.asarray(Image.open(io.BytesIO(frame)).convert("RGB")) for frame in frames])


def same(received: Dataset, stored: Dataset) -> None:
    """Compare pixels, and all other values but those that say how pixels are written."""
    for ds in (received, stored):
        ds.remove_private_tags()
    if "PixelData" in stored:
        assert np.array_equal(received.pixel_array, pixels(stored))
        assert not received["PixelData"].is_undefined_length
    described = ("PixelData", "PhotometricInterpretation", "PlanarConfiguration")
    others = [[element for element in ds if element.keyword not in described] for ds in (received, stored)]
    assert others[0] == others[1]


def read(folder: Path) -> dict[str, Dataset]:
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return {str(ds.SOPInstanceUID): ds for ds in map(dcmread, files)}


@pytest.mark.peer
def test_getscu_without_compression_gets_all(serving: Serving, kept: dict[str, Dataset], tmp_path: Path) -> None:
    output = getscu(serving().port, tmp_path, "-S", keys=KEYS)
    received = read(tmp_path)
    assert set(received) == set(kept), output
    for uid, ds in received.items():
        assert ds.file_meta.TransferSyntaxUID in UNCOMPRESSED
        same(ds, kept[uid])


@pytest.mark.peer
def test_movescu_has_all_sent_to_a_destination_of_the_default_syntax_only(
    serving: Serving, store: Store, kept: dict[str, Dataset], tmp_path: Path
) -> None:
    with Receiver(tmp_path / "received", "+xi") as receiver:
        output = movescu(serving(destination=receiver.port).port, "DESTINATION", "-S", keys=KEYS)
    received = read(tmp_path / "received")
    assert set(received) == set(kept), output
    for uid, ds in received.items():
        assert ds.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        same(ds, kept[uid])
    assert not list(store.layout.spool.rglob("*.part"))


def test_what_is_taken_as_it_is_stored_is_not_rewritten(serving: Serving, kept: dict[str, Dataset]) -> None:
    compressed = kept["1.2.3.77.1.1"]
    received = get(serving().port, [compressed.file_meta.TransferSyntaxUID, *UNCOMPRESSED])
    assert received[compressed.SOPInstanceUID].PixelData == compressed.PixelData


def broken(uid: str) -> Dataset:
    """Return an image whose only frame begins like JPEG, and is none."""
    ds = image(uid, frames=1)
    ds.PixelData = encapsulate([b"\xff\xd8\xff\xe0" + b"\x5a" * 400])
    ds["PixelData"].VR = "OB"
    return ds


def test_one_that_cannot_be_decoded_fails_alone(serving: Serving, kept: dict[str, Dataset], store: Store) -> None:
    keep(store, broken(f"{STUDY}.1.9"))
    received = get(serving().port, UNCOMPRESSED)
    assert set(received) == {uid for uid, ds in kept.items() if ds.SOPClassUID == VL_WHOLE_SLIDE}
    assert not list(store.layout.spool.rglob("*.part"))
    assert not store.instances.find_sop_instance(f"{STUDY}.1.9").damaged, "it came like that"


@pytest.mark.peer
def test_getscu_is_told_what_cannot_be_decoded(serving: Serving, store: Store, tmp_path: Path) -> None:
    keep(store, broken(f"{STUDY}.1.8"), broken(f"{STUDY}.1.9"))
    output = getscu(serving().port, tmp_path, "-S", "+xi", keys=KEYS)
    assert not read(tmp_path)
    assert "0xa702" in output.lower()
    assert "Number of Failed Suboperations    : 2" in output


def test_a_peer_of_the_default_syntax_only_gets_all_images(serving: Serving, kept: dict[str, Dataset]) -> None:
    received = get(serving().port, [ImplicitVRLittleEndian])
    assert set(received) == {uid for uid, ds in kept.items() if ds.SOPClassUID == VL_WHOLE_SLIDE}
    for uid, ds in received.items():
        same(ds, kept[uid])


def test_a_peer_of_another_compression_gets_what_is_not_compressed_and_no_more(
    serving: Serving, kept: dict[str, Dataset]
) -> None:
    assert not get(serving().port, [JPEG2000Lossless])


def get(port: int, syntaxes: "list[str] | tuple[str, ...]") -> dict[str, Dataset]:
    """Return what pynetdicom gets of the whole slide images, in contexts of one transfer syntax each."""
    received: dict[str, Dataset] = {}

    def on_store(event: Event) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        received[str(ds.SOPInstanceUID)] = ds
        return 0

    ae = AE("TESTER")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    for syntax in syntaxes:
        ae.add_requested_context(VL_WHOLE_SLIDE, syntax)
    association = ae.associate(
        "127.0.0.1",
        port,
        ext_neg=[build_role(VL_WHOLE_SLIDE, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, on_store)],
    )
    assert association.is_established
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", STUDY
    list(association.send_c_get(identifier, StudyRootQueryRetrieveInformationModelGet))
    association.release()
    return received


@pytest.mark.peer
def test_a_forward_reaches_a_peer_of_the_default_syntax_only(settings: Settings, tmp_path: Path) -> None:
    stored = image("1.2.3.77.1.1")
    rule = {"name": "on", "send": ["ARCHIVE"], "stable_seconds": 0}
    with (
        Receiver(tmp_path / "received", "+xi") as receiver,
        opened(with_routing(settings, peers={"ARCHIVE": receiver.port}, rules=[rule])) as store,
    ):
        put(store, stored)
        [record] = Carrier(store).carry_all()
        assert (record.state, record.sent) == (ForwardState.DONE, 1)
    [received] = read(tmp_path / "received").values()
    assert received.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    same(received, stored)


def test_a_de_identified_copy_goes_out_uncompressed_too(kept: dict[str, Dataset], serving: Serving) -> None:
    stored = kept["1.2.3.77.1.1"]
    received = get(serving(deidentify="basic").port, UNCOMPRESSED)
    [ds] = [ds for ds in received.values() if "ContainerIdentifier" in ds and ds.SamplesPerPixel == 3]
    assert ds.PatientIdentityRemoved == "YES"
    assert str(stored.PatientName) not in str(ds)
    assert np.array_equal(ds.pixel_array, pixels(stored))
