"""Orthanc by mutual TLS, both ways: C-ECHO, C-STORE, C-FIND, C-MOVE."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from dicomsvc.config import DimseSettings, PeerSettings, Settings
from dicomsvc.dimse import DimseServer, echo, send_files
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from tests.certificates import Authority
from tests.instances import write_instances
from tests.integration.orthanc import AE_TITLE, Orthanc, a_free_port, running_orthanc
from tests.unit.dimse.wire import data_set_of

pytestmark = pytest.mark.peer


@dataclass(frozen=True)
class Pair:
    store: Store
    server: DimseServer
    orthanc: Orthanc


@pytest.fixture
def pair(settings: Settings, tmp_path: Path) -> Iterator[Pair]:
    authority = Authority(tmp_path)
    own, theirs = authority.issue("node", rsa_key=True), authority.issue("orthanc", rsa_key=True)
    tls_port, orthanc_port = a_free_port(), a_free_port()
    peer = PeerSettings(
        ae_title=AE_TITLE,
        host="127.0.0.1",
        port=orthanc_port,
        tls=True,
        may=frozenset({"store", "query", "retrieve", "move_destination"}),
        certificates=(theirs.fingerprint,),
    )
    tls = own.settings(bind=f"127.0.0.1:{tls_port}", client_ca=authority.certificate, require_client_certificate=True)
    configured = settings.model_copy(
        update={"peers": {"orthanc": peer}, "dimse": DimseSettings(bind="127.0.0.1:0", tls=tls)}
    )
    node = {"AET": "DICOMSVC", "Host": "127.0.0.1", "Port": tls_port, "UseDicomTls": True}
    with (
        Store(configured) as store,
        running_orthanc(
            {},
            DicomPort=orthanc_port,
            DicomModalities={"node": node},
            DicomTlsEnabled=True,
            DicomTlsCertificate=str(theirs.certificate),
            DicomTlsPrivateKey=str(theirs.key),
            DicomTlsTrustedCertificates=str(authority.certificate),
            DicomTlsRemoteCertificateRequired=True,
        ) as orthanc,
    ):
        server = DimseServer(configured.dimse, SERVICES, store)
        server.start()
        yield Pair(store, server, orthanc)
        server.stop(5)


def test_orthanc_stores_finds_and_retrieves_by_mutual_tls(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    sent = write_instances(tmp_path / "in", 2)
    pair.orthanc.post("/modalities/node/echo", {})
    known = [
        httpx.post(f"{pair.orthanc.url}/instances", content=content, timeout=60).raise_for_status().json()["ID"]
        for content in sent.values()
    ]
    pair.orthanc.post("/modalities/node/store", known)
    for uid, content in sent.items():
        assert data_set_of(pair.store.instances.find_sop_instance(uid).path.read_bytes()) == data_set_of(content)
    for identifier in known:
        httpx.delete(f"{pair.orthanc.url}/instances/{identifier}", timeout=60).raise_for_status()
    path, answers = pair.orthanc.query("node", "Study", {"StudyInstanceUID": ""})
    assert answers
    for number in range(len(answers)):
        pair.orthanc.post(f"{path}/answers/{number}/retrieve", {"TargetAet": AE_TITLE, "Synchronous": True})
    held = pair.orthanc.files()
    assert {uid: data_set_of(content) for uid, content in held.items()} == {
        uid: data_set_of(content) for uid, content in sent.items()
    }
    assert pair.server.counts().rejected == {}


def test_our_sender_delivers_to_orthanc_by_mutual_tls(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    sent = write_instances(tmp_path / "in", 2)
    peers = KnownPeers(pair.store.engine, pair.store.settings)
    [orthanc] = peers.all()
    peer = peers.call(orthanc)
    assert echo(peer) < 30
    assert [result.status for result in send_files(sorted((tmp_path / "in").iterdir()), peer)] == [0, 0]
    assert set(pair.orthanc.files()) == set(sent)
