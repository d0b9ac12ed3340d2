"""A running service with TLS on every port: HTTPS, DICOM, MLLP, each with client certificates; and `doctor` of it."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread

from tests.certificates import Authority, Issued
from tests.conftest import RunningService, require_program, start_service
from tests.instances import write_instances
from tests.integration.test_dimse_tls import storescp
from tests.unit.dimse.wire import data_set_of

# A message of a type that nobody takes: it is answered all the same.
ORDER = b"MSH|^~\\&|LAB|HOSPITAL|DICOMSVC|NODE|20240101120000||ZZZ^Z99|1|P|2.5.1\r"


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


@dataclass(frozen=True)
class Secured:
    running: RunningService
    authority: Authority
    client: Issued
    folder: Path
    dimse_tls_port: int
    mllp_port: int
    environment: dict[str, str]

    def context(self, *, with_certificate: bool = True) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        if with_certificate:
            context.load_cert_chain(self.client.certificate, self.client.key)
        return context

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "dicomsvc", *arguments, "--data", str(self.running.data)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **self.environment},
        )


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with tempfile.TemporaryDirectory(prefix="dicomsvc-secured-") as name:
        Path(name).chmod(0o755)
        yield from serve_in(Path(name))


def serve_in(folder: Path) -> Iterator[Secured]:
    authority = Authority(folder)
    node, client = authority.issue("node", file="node"), authority.issue("client")
    dimse_tls_port, mllp_port = free_ports(2)
    common = f'certificate = "{node.certificate}"\nkey = "{node.key}"\nclient_ca = "{authority.certificate}"\n'
    toml = folder / "dicomsvc.toml"
    toml.write_text(
        f"[http.tls]\n{common}require_client_certificate = true\n"
        f'[dimse.tls]\n{common}require_client_certificate = true\nbind = "127.0.0.1:{dimse_tls_port}"\n'
        f'ca = "{authority.certificate}"\n'
        f"[hl7.tls]\n{common}require_client_certificate = true\n"
        f'[peers.self]\nae_title = "DICOMSVC"\nhost = "localhost"\nport = {dimse_tls_port}\ntls = true\n'
        f'may = ["store"]\naddresses = ["127.0.0.1", "::1"]\ncertificates = ["{node.fingerprint}"]\n'
        f'[peers.workstation]\nae_title = "WORKSTATION"\nmay = ["retrieve"]\naddresses = ["127.0.0.1"]\n'
        f'[peers.scanner]\nae_title = "SCANNER"\nmay = ["store", "query", "retrieve"]\ncertificates = ["CN=client"]\n'
    )
    environment = {"DICOMSVC_CONFIG": str(toml)}
    running = start_service(folder / "data", environment=environment, arguments=("--mllp", f"127.0.0.1:{mllp_port}"))
    yield Secured(running, authority, client, folder, dimse_tls_port, mllp_port, environment)
    running.process.terminate()
    assert running.process.wait(40) == 0, running.log.read_text()


def test_the_web_service_speaks_https_alone(secured: Secured) -> None:
    assert secured.running.url.startswith("https://")
    with httpx.Client(base_url=secured.running.url, verify=secured.context()) as client:
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/readyz").json()["ready"]
        assert [peer["name"] for peer in client.get("/api/peers").json()] == ["scanner", "self", "workstation"]
    with pytest.raises(httpx.TransportError):
        httpx.get(secured.running.url.replace("https://", "http://") + "/healthz")


def test_urls_in_answers_are_https(secured: Secured, tmp_path: Path) -> None:
    write_instances(tmp_path, 1)
    assert secured.command("send", "self", str(tmp_path)).returncode == 0
    with httpx.Client(base_url=secured.running.url, verify=secured.context()) as client:
        [study, *_] = client.get("/dicomweb/studies").json()
        assert study["00081190"]["Value"][0].startswith(secured.running.url)


def test_https_wants_a_certificate_of_the_client(secured: Secured) -> None:
    with pytest.raises(httpx.TransportError), httpx.Client(verify=secured.context(with_certificate=False)) as client:
        client.get(f"{secured.running.url}/healthz")


@pytest.mark.peer
def test_curl_gets_in_by_mutual_tls_and_not_by_an_old_version(secured: Secured) -> None:
    url = f"{secured.running.url}/healthz"
    trust = [require_program("curl"), "-sS", "--cacert", str(secured.authority.certificate), url]
    shown = ["--cert", str(secured.client.certificate), "--key", str(secured.client.key)]

    def status(*options: str) -> int:
        return subprocess.run([*trust, *options], check=False, capture_output=True, timeout=20).returncode

    assert status(*shown) == 0
    assert status(*shown, "--tlsv1.3") == 0
    assert status(*shown, "--tls-max", "1.2") == 0
    assert status() != 0
    assert status(*shown, "--tls-max", "1.1") != 0
    assert status(*shown, "--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-SHA") != 0
    assert status(*shown, "--resolve", "elsewhere.example.org:443:127.0.0.1") == 0


def test_a_silent_client_does_not_hold_https_up(secured: Secured) -> None:
    port = int(secured.running.url.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(50)]
    with httpx.Client(base_url=secured.running.url, verify=secured.context(), timeout=10) as client:
        assert client.get("/healthz").text == "ok\n"
    for connection in silent:
        connection.close()


def test_messages_are_taken_by_tls(secured: Secured) -> None:
    with (
        socket.create_connection(("127.0.0.1", secured.mllp_port), 10) as plain,
        secured.context().wrap_socket(plain, server_hostname="localhost") as link,
    ):
        link.sendall(b"\x0b" + ORDER + b"\x1c\r")
        answer = b""
        while not answer.endswith(b"\x1c\r"):
            received = link.recv(4096)
            assert received
            answer += received
    assert b"\rMSA|A" in answer
    # With TLS 1.3 a client learns of its refusal only when it reads.
    with socket.create_connection(("127.0.0.1", secured.mllp_port), 10) as plain:
        try:
            with secured.context(with_certificate=False).wrap_socket(plain, server_hostname="localhost") as link:
                link.sendall(b"\x0b" + ORDER + b"\x1c\r")
                assert link.recv(1) == b""
        except OSError as refused:
            assert isinstance(refused, ssl.SSLError | ConnectionError)


def test_echo_by_the_name_of_a_peer_is_by_tls(secured: Secured) -> None:
    ended = secured.command("echo", "self", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["seconds"] > 0
    # As the scanner, but with the node's certificate.
    stranger = secured.command("echo", "self", "--calling", "SCANNER")
    assert stranger.returncode == 1 and "does not know our AE title" in stranger.stderr


@pytest.mark.peer
def test_dcmtk_stores_and_finds_by_mutual_tls(secured: Secured, tmp_path: Path) -> None:
    write_instances(tmp_path, 2)
    identity = ["+tls", str(secured.client.key), str(secured.client.certificate)]
    options = ["-aet", "SCANNER", *identity, "+cf", str(secured.authority.certificate)]
    address = ["127.0.0.1", str(secured.dimse_tls_port)]

    def run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [require_program(program), "-v", *options, *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    assert run("echoscu", *address).returncode == 0
    stored = run("storescu", "-R", "-xy", "+sd", *address, str(tmp_path))
    assert stored.returncode == 0, stored.stderr
    found = run("findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", *address)
    assert found.returncode == 0, found.stderr
    assert "Find Response: 1" in found.stdout + found.stderr


@pytest.mark.peer
def test_dcmtk_moves_to_a_peer_that_was_added_at_run_time_and_is_called_by_tls(
    secured: Secured, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    sent = write_instances(tmp_path / "in", 2)
    archive = secured.authority.issue("archive")
    identity = ["+tls", str(secured.client.key), str(secured.client.certificate)]
    options = ["-aet", "SCANNER", *identity, "+cf", str(secured.authority.certificate)]
    address = ["127.0.0.1", str(secured.dimse_tls_port)]

    command = [require_program("storescu"), *options, "-R", "-xy", "+sd", *address, str(tmp_path / "in")]
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    study = dcmread(next((tmp_path / "in").iterdir()), stop_before_pixels=True).StudyInstanceUID
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    server = ["+tls", str(archive.key), str(archive.certificate), "+cf", str(secured.authority.certificate)]
    with (
        storescp(tmp_path / "moved", *server) as port,
        httpx.Client(base_url=secured.running.url, verify=secured.context(), timeout=30) as client,
    ):
        peer = {
            **{"name": "archive", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": port, "tls": True},
            **{"may": ["move_destination"], "certificates": [archive.fingerprint]},
        }
        assert client.post("/api/peers", json=peer).status_code == 201
        assert client.post("/api/peers/archive/echo").status_code == 200

        # DCMTK's movescu has no TLS; what it asks for goes to the archive by TLS.
        command = [require_program("movescu"), "-v", "-aet", "WORKSTATION", "-aem", "ARCHIVE", "-S", *keys]
        plain = ["127.0.0.1", str(secured.running.dimse_port)]
        ended = subprocess.run([*command, *plain], check=False, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert len(list((tmp_path / "moved").iterdir())) == 2
        assert client.delete("/api/peers/archive").status_code == 204
    received = {data_set_of(path.read_bytes()) for path in (tmp_path / "moved").iterdir()}
    assert received == {data_set_of(content) for content in sent.values()}


def test_a_renewed_certificate_serves_https_without_a_restart(secured: Secured) -> None:
    host, port = secured.running.url.removeprefix("https://").split(":")

    def shown() -> bytes:
        with (
            socket.create_connection((host, int(port)), 10) as plain,
            secured.context().wrap_socket(plain, server_hostname="localhost") as link,
        ):
            certificate = link.getpeercert(binary_form=True)
            assert certificate is not None
            return certificate

    before = shown()
    node = secured.folder / "node.pem", secured.folder / "node.key"
    kept = [path.read_bytes() for path in node]
    renewed = secured.authority.issue("node")
    shutil.copy(renewed.certificate, node[0])
    shutil.copy(renewed.key, node[1])
    try:
        assert shown() != before
    finally:
        for path, content in zip(node, kept, strict=True):
            path.write_bytes(content)
    assert shown() == before


def test_an_unusable_certificate_ends_the_start_with_one_line(folder: Path) -> None:
    port = free_ports(1)[0]
    ended = subprocess.run(
        [sys.executable, "-m", "dicomsvc", "serve", "--data", str(folder / "data"), "--role", "dimse"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={
            **os.environ,
            "DICOMSVC_DIMSE__BIND": "127.0.0.1:0",
            "DICOMSVC_DIMSE__TLS__BIND": f"127.0.0.1:{port}",
            "DICOMSVC_DIMSE__TLS__CERTIFICATE": "/nowhere/node.pem",
            "DICOMSVC_DIMSE__TLS__KEY": "/nowhere/node.key",
        },
    )
    assert ended.returncode == 1
    assert "dimse.tls.certificate: /nowhere/node.pem cannot be read: No such file" in ended.stderr
    assert "Traceback" not in ended.stderr
