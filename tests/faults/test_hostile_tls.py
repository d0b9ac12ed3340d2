"""Peers that abuse the TLS ports: who is silent, who speaks without TLS, and who drips delays nobody."""

import json
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.certificates import Authority
from tests.conftest import RunningService
from tests.faults.node import running, withstand
from tests.unit.dimse.wire import associate_request, echo_request

HANDSHAKE_SECONDS = 3
CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(501)


@dataclass(frozen=True)
class Secured:
    """A node with DICOM beside and over TLS, and HTTPS; ``plain``: what is measured all the time."""

    plain: RunningService
    port: int
    https_port: int
    trust: ssl.SSLContext

    def echo(self) -> float:
        """Return how many seconds a handshake, an association and a C-ECHO take."""
        started = time.monotonic()
        raw = socket.create_connection(("127.0.0.1", self.port), 20)
        with self.trust.wrap_socket(raw, server_hostname="localhost") as link:
            link.sendall(associate_request() + echo_request())
            received = b""
            # The C-ECHO's response is the second PDU.
            while received.count(b"1.2.840.10008.1.1\0") < 1 or b"\x04\x00\x00\x00" not in received:
                piece = link.recv(4096)
                assert piece, "the connection was closed"
                received += piece
        return time.monotonic() - started


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with tempfile.TemporaryDirectory(prefix="dicomsvc-tls-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        authority = Authority(folder)
        node = authority.issue()
        files = {"certificate": str(node.certificate), "key": str(node.key)}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {
            "DICOMSVC_DIMSE__TLS": json.dumps({**files, "bind": f"127.0.0.1:{port}"}),
            "DICOMSVC_HTTP__TLS": json.dumps(files),
            "DICOMSVC_DIMSE__PDU_TIMEOUT_SECONDS": str(HANDSHAKE_SECONDS),
        }
        trust = ssl.create_default_context(cafile=str(authority.certificate))
        with running(environment=environment) as service:
            yield Secured(service, port, int(service.url.rpartition(":")[2]), trust)


def ready(secured: Secured) -> bool:
    return httpx.get(f"{secured.plain.url}/readyz", verify=secured.trust, timeout=20).status_code == 200


@pytest.mark.parametrize("said", [b"", CLIENT_HELLO[:3], CLIENT_HELLO[:200]], ids=["nothing", "a little", "a part"])
def test_clients_that_fall_silent_in_the_handshake_delay_nobody(secured: Secured, said: bytes) -> None:
    def abuse() -> None:
        silent = [socket.create_connection(("127.0.0.1", secured.port), 20) for _ in range(100)]
        silent += [socket.create_connection(("127.0.0.1", secured.https_port), 20) for _ in range(100)]
        for link in silent:
            link.sendall(said)
        assert min(secured.echo() for _ in range(3)) < 1
        assert ready(secured)
        for link in silent[:100]:
            link.settimeout(HANDSHAKE_SECONDS + 15)
            assert link.recv(100)[:1] in (b"", b"\x15"), "neither closed nor told by an alert"
        for link in silent:
            link.close()

    withstand(secured.plain, f"200 TLS clients that say {len(said)} bytes", abuse)


def test_plain_clients_on_the_tls_ports_are_turned_away(secured: Secured) -> None:
    def abuse() -> None:
        for _ in range(20):
            for port in (secured.port, secured.https_port):
                for greeting in (associate_request(), b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", bytes(300)):
                    with socket.create_connection(("127.0.0.1", port), 20) as link:
                        link.sendall(greeting)
                        answer = b"-"
                        while answer:
                            try:
                                answer = link.recv(4096)
                            except ConnectionResetError:
                                break
                            assert not answer or answer[0] == 0x15, "something else than an alert came back"
        assert secured.echo() < 10 and ready(secured)

    withstand(secured.plain, "plain clients on TLS ports", abuse)


def test_a_handshake_that_drips_is_cut_off(secured: Secured) -> None:
    ended: list[float] = []

    def drip() -> None:
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", secured.port), 20) as link:
            try:
                for byte in CLIENT_HELLO:
                    link.sendall(bytes((byte,)))
                    time.sleep(0.05)
            except OSError:
                ended.append(time.monotonic() - started)

    def abuse() -> None:
        ended.clear()
        threads = [threading.Thread(target=drip) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ended) == 20, "a handshake that drips was borne with"
        assert max(ended) < HANDSHAKE_SECONDS + 10

    withstand(secured.plain, "dripping handshakes", abuse)


def test_nothing_of_that_is_left_to_the_log_but_lines(secured: Secured) -> None:
    written = secured.plain.log.read_text()
    assert "Traceback" not in written and '  File "' not in written, written[-3000:]
