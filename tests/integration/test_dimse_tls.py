"""DICOM over TLS with real peers: DCMTK, pynetdicom, OpenSSL; versions, suites, certificates (PS3.15 B.12)."""

import logging
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import JPEGBaseline8Bit
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet

from dicomsvc.config import DimseSettings, PeerSettings, Settings
from dicomsvc.dimse import DimseServer, Peer, PeerFailure, echo, send_files
from dicomsvc.dimse.peers import Calling, KnownPeer
from dicomsvc.errors import ConfigurationError
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from tests.certificates import Authority, Issued
from tests.conftest import require_program
from tests.instances import VL_WHOLE_SLIDE, write_instances
from tests.unit.dimse.wire import associate_request, data_set_of, wire

VERIFICATION = "1.2.840.10008.1.1"
Serve = Callable[..., DimseServer]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def own(authority: Authority) -> Issued:
    return authority.issue("node")


@pytest.fixture(scope="module")
def modality(authority: Authority) -> Issued:
    return authority.issue("modality", hosts=["scanner.example.org"])


@pytest.fixture
def serve(settings: Settings, own: Issued) -> Iterator[Serve]:
    opened: list[tuple[DimseServer, Store]] = []

    def start(
        tls: dict[str, object] | None = None, peers: dict[str, dict[str, object]] | None = None, **dimse: object
    ) -> DimseServer:
        secured = {"bind": "127.0.0.1:0", "certificate": own.certificate, "key": own.key, **(tls or {})}
        configured = settings.model_copy(
            update={
                "peers": {name: PeerSettings(**values) for name, values in (peers or {}).items()},
                "dimse": DimseSettings(**{"bind": "127.0.0.1:0", "tls": secured, **dimse}),
            }
        )
        store = Store(configured)
        server = DimseServer(configured.dimse, SERVICES, store)
        server.start()
        opened.append((server, store))
        return server

    yield start
    for server, store in opened:
        server.stop(2)
        store.close()


def tls_port(server: DimseServer) -> int:
    assert server.tls_port is not None
    return server.tls_port


def dcmtk(program: str, port: int, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [require_program(program), "-v", "127.0.0.1", str(port), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def as_modality(authority: Authority, shown: Issued | None) -> list[str]:
    """Return DCMTK's options for TLS with or without a certificate of the client."""
    client = ["+tla"] if shown is None else ["+tls", str(shown.key), str(shown.certificate)]
    return [*client, "+cf", str(authority.certificate)]


@pytest.mark.peer
@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
@pytest.mark.parametrize("with_certificate", [True, False])
def test_echoscu_is_answered_in_every_profile_of_bcp_195(
    serve: Serve, authority: Authority, modality: Issued, profile: str, with_certificate: bool
) -> None:
    shown = modality if with_certificate else None
    server = serve({"client_ca": authority.certificate})
    ended = dcmtk("echoscu", tls_port(server), *as_modality(authority, shown), profile)
    assert ended.returncode == 0, ended.stderr + ended.stdout


def failed_handshakes(caplog: pytest.LogCaptureFixture, count: int) -> list[str]:
    """Return why handshakes failed, once so many of them are told; a peer may know of it before the log does."""
    told: list[str] = []
    for _ in range(200):
        messages = [record.getMessage() for record in caplog.records]
        told = [text.partition(" failed: ")[2] for text in messages if text.startswith("TLS handshake with 127.0.0.1")]
        if len(told) >= count:
            break
        time.sleep(0.1)
    return told


@pytest.mark.peer
def test_echoscu_with_a_suite_that_is_not_safe_is_refused(
    serve: Serve, authority: Authority, modality: Issued, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "dicomsvc"):
        ended = dcmtk("echoscu", tls_port(serve()), *as_modality(authority, modality), "+pa")
        told = failed_handshakes(caplog, 1)
    assert ended.returncode != 0
    assert told == ["the peer has none of our cipher suites"]


@pytest.mark.peer
def test_what_storescu_sends_by_tls_is_kept_byte_for_byte(
    serve: Serve, store: Store, authority: Authority, modality: Issued, tmp_path: Path
) -> None:
    sent = write_instances(tmp_path, 5)
    server = serve({"client_ca": authority.certificate, "require_client_certificate": True})
    options = ["-R", "-xy", "+sd", *as_modality(authority, modality)]
    ended = dcmtk("storescu", tls_port(server), *options, str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    for uid, content in sent.items():
        assert data_set_of(store.instances.find_sop_instance(uid).path.read_bytes()) == data_set_of(content)


@pytest.mark.peer
def test_plain_and_tls_are_served_side_by_side(serve: Serve, authority: Authority) -> None:
    server = serve()
    assert dcmtk("echoscu", server.port).returncode == 0
    assert dcmtk("echoscu", tls_port(server), *as_modality(authority, None)).returncode == 0


@pytest.mark.peer
def test_mutual_tls_lets_in_who_shows_a_certificate_of_the_authority(
    serve: Serve, authority: Authority, modality: Issued, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve({"client_ca": authority.certificate, "require_client_certificate": True})
    port = tls_port(server)
    stranger = Authority(tmp_path, "Other CA").issue("stranger")
    expired = authority.issue("expired", days=(-3, -1))
    assert dcmtk("echoscu", port, *as_modality(authority, modality)).returncode == 0
    with caplog.at_level(logging.INFO, "dicomsvc"):
        for shown in (None, stranger, expired):
            assert dcmtk("echoscu", port, *as_modality(authority, shown)).returncode != 0
        told = failed_handshakes(caplog, 3)
    # Each connection has a thread of its own, so the last word of one may come after the next one's.
    assert sorted(told) == [
        "the peer showed no certificate",
        "the peer's certificate is not accepted: certificate has expired",
        "the peer's certificate is not accepted: unable to get local issuer certificate",
    ]
    assert server.counts().associations == 1


def test_a_peer_is_known_by_its_certificate(serve: Serve, authority: Authority, modality: Issued) -> None:
    other = authority.issue("other")
    peers = {
        "pinned": {"ae_title": "PINNED", "certificates": [modality.fingerprint]},
        "named": {"ae_title": "NAMED", "certificates": ["CN=modality"]},
        "hosted": {"ae_title": "HOSTED", "certificates": ["CN=scanner.example.org"]},
        "any": {"ae_title": "ANY"},
    }
    server = serve({"client_ca": authority.certificate}, peers)

    def let_in(ae_title: str, shown: Issued | None) -> bool:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        if shown is not None:
            context.load_cert_chain(shown.certificate, shown.key)
        entity = AE(ae_title)
        entity.add_requested_context(VERIFICATION)
        association = entity.associate("127.0.0.1", tls_port(server), tls_args=(context, "localhost"))
        established: bool = association.is_established
        if established:
            assert association.send_c_echo().Status == 0
            association.release()
        return established

    for ae_title in ("PINNED", "NAMED", "HOSTED"):
        assert let_in(ae_title, modality)
        assert not let_in(ae_title, other)
        assert not let_in(ae_title, None)
        with pytest.raises(PeerFailure, match="does not know our AE title"):
            echo(Peer("127.0.0.1", server.port, calling_ae_title=ae_title))
    assert let_in("ANY", None)
    assert let_in("ANY", other)
    assert server.counts().rejected == {3: 9}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pynetdicom_associates_by_each_version(serve: Serve, authority: Authority, version: ssl.TLSVersion) -> None:
    server = serve()
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.minimum_version = context.maximum_version = version
    entity = AE()
    entity.add_requested_context(VERIFICATION)
    for _ in range(3):
        association = entity.associate("127.0.0.1", tls_port(server), tls_args=(context, "localhost"))
        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pynetdicom_gets_by_tls(serve: Serve, authority: Authority, tmp_path: Path, version: ssl.TLSVersion) -> None:
    sent = write_instances(tmp_path, 4)
    server = serve()
    stored = send_files(sorted(tmp_path.iterdir()), Peer("127.0.0.1", server.port))
    assert [result.status for result in stored] == [0] * 4
    study = dcmread(next(tmp_path.iterdir()), stop_before_pixels=True).StudyInstanceUID
    received: dict[str, bytes] = {}

    def keep(event: evt.Event) -> int:
        received[str(event.dataset.SOPInstanceUID)] = event.dataset.PixelData
        return 0x0000

    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.minimum_version = context.maximum_version = version
    entity = AE()
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    entity.add_requested_context(VL_WHOLE_SLIDE, JPEGBaseline8Bit)
    association = entity.associate(
        *("127.0.0.1", tls_port(server)),
        ext_neg=[build_role(VL_WHOLE_SLIDE, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
        tls_args=(context, "localhost"),
    )
    assert association.is_established
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", study
    *_, (last, _) = association.send_c_get(identifier, StudyRootQueryRetrieveInformationModelGet)
    association.release()
    assert (last.Status, last.NumberOfCompletedSuboperations) == (0x0000, 4)
    assert received == {uid: dcmread(BytesIO(content)).PixelData for uid, content in sent.items()}


def s_client(port: int, *options: str) -> str:
    """Return what `openssl s_client` tells of a handshake."""
    command = [require_program("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", *options]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30, input="")
    return ended.stdout + ended.stderr


@pytest.mark.peer
@pytest.mark.parametrize(
    ("options", "agreed"),
    [
        (["-tls1_3"], "TLSv1.3"),
        (["-tls1_2"], "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"], "AES256-GCM-SHA384"),
    ],
)
def test_safe_versions_and_suites_are_agreed_on(serve: Serve, options: list[str], agreed: str) -> None:
    told = s_client(tls_port(serve()), *options)
    assert f"Cipher is {agreed}" in told or f"New, {agreed}" in told or agreed in told.partition("Cipher is")[2]
    assert "Compression: NONE" in told


@pytest.mark.peer
@pytest.mark.parametrize(
    "options",
    [
        ["-tls1"],
        ["-tls1_1"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
        ["-tls1_2", "-cipher", "AES256-GCM-SHA384"],
        ["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384"],
        ["-tls1_2", "-cipher", "AES128-SHA"],
        ["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"],
    ],
)
@pytest.mark.parametrize("rsa_key", [False, True])
def test_other_versions_and_suites_are_refused(
    serve: Serve, authority: Authority, options: list[str], rsa_key: bool
) -> None:
    issued = authority.issue("node", rsa_key=rsa_key)
    told = s_client(tls_port(serve(issued.settings())), *options)
    assert "Cipher is (NONE)" in told, told


@pytest.mark.peer
def test_a_client_cannot_renegotiate(serve: Serve) -> None:
    port = tls_port(serve())
    command = [require_program("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        assert client.stdin is not None and client.stdout is not None
        while b"Verify return code" not in (line := client.stdout.readline()):
            assert line
        client.stdin.write(b"R\n")
        client.stdin.flush()
        told = client.stdout.read()
    assert b"no renegotiation" in told, told


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    folder.mkdir()
    process = subprocess.Popen(
        [require_program("storescp"), "+B", "+xa", *options, "-od", str(folder), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def calling(own: Issued | None, ca: Path | None) -> Calling:
    tls: dict[str, object] = {"ca": ca, **({} if own is None else own.settings())}
    return Calling(Settings(dimse={"tls": tls}))


@pytest.mark.peer
def test_our_sender_delivers_to_storescp_by_mutual_tls(
    authority: Authority, own: Issued, modality: Issued, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    sent = write_instances(tmp_path / "in", 3)
    paths = sorted((tmp_path / "in").iterdir())
    scp = authority.issue("archive", hosts=["127.0.0.1"])
    options = ["+tls", str(scp.key), str(scp.certificate), "+cf", str(authority.certificate), "-rc"]
    with storescp(tmp_path / "out", *options) as port:
        archive = KnownPeer("archive", "ARCHIVE", "127.0.0.1", port, tls=True)
        results = list(send_files(paths, calling(own, authority.certificate).call(archive)))
        assert [result.status for result in results] == [0] * 3, results
        bare = list(send_files(paths[:1], calling(None, authority.certificate).call(archive)))
        assert bare[0].status is None
    received = {data_set_of(path.read_bytes()) for path in (tmp_path / "out").iterdir()}
    assert received == {data_set_of(content) for content in sent.values()}


def test_the_server_is_verified_by_name_or_by_fingerprint(
    serve: Serve, authority: Authority, own: Issued, tmp_path: Path
) -> None:
    elsewhere = authority.issue("elsewhere", hosts=["elsewhere.example.org"])
    expired = authority.issue("expired", days=(-3, -1))
    stranger = Authority(tmp_path, "Other CA")

    def called(shown: Issued, ca: Path | None = authority.certificate, **entry: object) -> None:
        peer = KnownPeer("x", "X", "127.0.0.1", tls_port(serve(shown.settings())), tls=True, **entry)  # type: ignore[arg-type]
        echo(calling(None, ca).call(peer))

    called(own)
    called(elsewhere, certificates=("CN=elsewhere.example.org",))
    called(own, None, certificates=(own.fingerprint,))
    unknown = stranger.issue("x")
    called(unknown, certificates=("0" * 64, unknown.fingerprint))
    with pytest.raises(PeerFailure, match=r"not accepted: IP address mismatch"):
        called(elsewhere)
    with pytest.raises(PeerFailure, match=r"not accepted: certificate has expired"):
        called(expired)
    with pytest.raises(PeerFailure, match=r"not accepted: unable to get local issuer"):
        called(stranger.issue("x"))
    with pytest.raises(PeerFailure, match="none of those known of it"):
        called(own, certificates=(elsewhere.fingerprint,))
    with pytest.raises(PeerFailure, match="no certificate can be for the name"):
        called(own, certificates=(f"CN={'x' * 70}.example.org",))


def test_calling_a_plain_port_by_tls_fails_in_words(serve: Serve, authority: Authority) -> None:
    server = serve(pdu_timeout_seconds=2)
    peer = KnownPeer("x", "X", "127.0.0.1", server.port, tls=True)
    with pytest.raises(PeerFailure, match=r"the TLS handshake failed: (the peer ended|what came is no TLS)"):
        echo(calling(None, authority.certificate).call(peer))


def test_our_sender_is_told_why_its_certificate_is_refused(serve: Serve, authority: Authority) -> None:
    server = serve({"client_ca": authority.certificate, "require_client_certificate": True})
    peer = KnownPeer("x", "X", "127.0.0.1", tls_port(server), tls=True)
    with pytest.raises(PeerFailure, match="wants a certificate of ours"):
        echo(calling(None, authority.certificate).call(peer))


def test_a_plain_client_on_the_tls_port_costs_one_line(
    serve: Serve, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    with caplog.at_level(logging.INFO, "dicomsvc"):
        with wire(tls_port(server)) as peer:
            peer.send(associate_request())
            while peer.socket.recv(4096):
                pass
        echo(calling(None, authority.certificate).call(KnownPeer("x", "X", "127.0.0.1", tls_port(server), tls=True)))
        told = failed_handshakes(caplog, 1)
    assert told == ["what came is no TLS; the peer speaks without it"]


def test_silent_tls_clients_delay_nobody_and_end_in_time(
    serve: Serve, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(pdu_timeout_seconds=2)
    port = tls_port(server)
    peer = calling(None, authority.certificate).call(KnownPeer("x", "X", "127.0.0.1", port, tls=True))
    silent = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(40)]
    with caplog.at_level(logging.INFO, "dicomsvc"):
        assert max(echo(peer) for _ in range(3)) < 2
        for connection in silent:
            connection.settimeout(20)
            assert connection.recv(1) == b""
            connection.close()
        told = failed_handshakes(caplog, len(silent))
    assert set(told) == {"it was not complete in time"}


def test_a_handshake_that_drips_ends_in_time(serve: Serve) -> None:
    server = serve(pdu_timeout_seconds=1.5)
    client_hello = bytes.fromhex("1603010200010001fc0303") + bytes(501)
    with socket.create_connection(("127.0.0.1", tls_port(server)), 5) as dripping:
        started = time.monotonic()
        with pytest.raises(OSError):
            for byte in client_hello:
                dripping.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - started < 15


def test_renewed_certificates_serve_the_next_connection(
    serve: Serve, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = authority.issue("old"), authority.issue("new")
    certificate, key = tmp_path / "node.pem", tmp_path / "node.key"

    def install(source: Path, target: Path) -> None:
        copy = target.with_suffix(".new")
        shutil.copy(source, copy)
        copy.replace(target)

    install(old.certificate, certificate)
    install(old.key, key)
    server = serve({"certificate": certificate, "key": key})

    def shown(issued: Issued) -> bool:
        peer = KnownPeer("x", "X", "127.0.0.1", tls_port(server), tls=True, certificates=(issued.fingerprint,))
        try:
            echo(calling(None, None).call(peer))
        except PeerFailure as failure:
            assert "none of those known of it" in failure.message
            return False
        return True

    assert shown(old)
    with caplog.at_level(logging.ERROR, "dicomsvc"):
        install(new.certificate, certificate)
        # The key is still the old one: what served before goes on serving.
        assert shown(old)
        assert "is not the key of the certificate" in caplog.text
    install(new.key, key)
    assert shown(new)
    assert not shown(old)


def test_wrong_files_are_named(
    settings: Settings, store: Store, authority: Authority, own: Issued, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no PEM")
    other = authority.issue("other")

    def refused(match: str, **tls: object) -> None:
        dimse = DimseSettings(bind="127.0.0.1:0", tls={"bind": "127.0.0.1:0", **own.settings(), **tls})
        with pytest.raises(ConfigurationError, match=match):
            DimseServer(dimse, SERVICES, store)

    refused(
        r"dimse\.tls\.certificate: .*missing\.pem cannot be read: No such file", certificate=tmp_path / "missing.pem"
    )
    refused(r"dimse\.tls\.certificate: .*junk\.pem has no certificate", certificate=junk)
    refused(r"dimse\.tls\.key: .*junk\.pem is no private key", key=junk)
    refused(r"dimse\.tls\.key: .* is not the key of the certificate", key=other.key)
    refused(r"dimse\.tls\.client_ca: .*junk\.pem has no certificate", client_ca=junk)


def test_a_key_that_everybody_may_read_is_warned_of(
    serve: Serve, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    open_key = authority.issue("open")
    open_key.key.chmod(0o644)
    with caplog.at_level(logging.WARNING, "dicomsvc"):
        serve(open_key.settings())
    assert "can be read by every user" in caplog.text
