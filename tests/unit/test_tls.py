"""Contexts of TLS, without a network."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from dicomsvc.config import TlsSettings
from dicomsvc.errors import ConfigurationError
from dicomsvc.tls import TLS_1_2_SUITES, client_context, own_certificates, server_context
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Make a handshake in memory and return the server's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    calling = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    waiting = [calling, serving]
    for _ in range(20):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    assert not waiting
    return serving


def test_only_the_suites_of_bcp_195_are_offered(authority: Authority) -> None:
    server = server_context(TlsSettings(**authority.issue().settings()), "x.tls")
    assert server is not None
    client = client_context(None, None, authority.certificate, "x.tls")
    assert handshake(server, client).version() == "TLSv1.3"
    older = ssl.create_default_context(cafile=str(authority.certificate))
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    agreed = handshake(server, older)
    assert agreed.version() == "TLSv1.2"
    cipher = agreed.cipher()
    assert cipher is not None and cipher[0] == TLS_1_2_SUITES[0]
    assert agreed.compression() is None


def test_without_a_certificate_there_is_no_context() -> None:
    assert server_context(TlsSettings(), "x.tls") is None


def test_a_key_with_a_password_is_refused_in_words(authority: Authority) -> None:
    issued = authority.issue()
    key = load_pem_private_key(issued.key.read_bytes(), None)
    issued.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(ConfigurationError, match=r"x\.tls\.key: .* has a password"):
        server_context(TlsSettings(**issued.settings()), "x.tls")


def test_an_expired_certificate_serves_on_with_a_warning(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    assert server_context(TlsSettings(**authority.issue(days=(-3, -1)).settings()), "x.tls") is not None
    assert "has expired on" in caplog.text


def test_a_chain_is_told_certificate_by_certificate(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue("node")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(issued.certificate.read_bytes() + authority.certificate.read_bytes())
    told = own_certificates(chain, "x")
    assert [certificate.subject for certificate in told] == ["CN=node", "CN=Test CA"]
    assert told[0].fingerprint == issued.fingerprint


def test_files_that_come_and_go_do_not_end_the_service(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue()
    server = server_context(TlsSettings(**issued.settings()), "x.tls")
    assert server is not None
    client = client_context(None, None, authority.certificate, "x.tls")
    away = tmp_path / "away"
    issued.certificate.rename(away)
    handshake(server, client)
    away.rename(issued.certificate)
    handshake(server, client)
