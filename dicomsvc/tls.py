"""TLS for every port and every call of this node: versions, cipher suites, certificates, and their renewal.

Ruled by PS3.15 B.12 (BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile), which is BCP 195: TLS 1.2 and
1.3, for TLS 1.2 the suites of RFC 9325 4.2 alone (ephemeral elliptic curves, AES-GCM), no compression (3.3) and no
renegotiation (3.5). That is also within the retired Non-Downgrading BCP 195 TLS profile (B.10).

A context is made again when one of its files changes; connections that are open keep the one they have.
"""

import hashlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from dicomsvc.config import TlsSettings
from dicomsvc.errors import ConfigurationError

_log = logging.getLogger(__name__)

TLS_1_2_SUITES: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
"""By OpenSSL's names; those of TLS 1.3 are all allowed."""

# OpenSSL's level for 112 bits of security at least, as RFC 9325 4.5 wants of keys: RSA from 2048 bits on.
_STRENGTH: Final = "@SECLEVEL=2"
_READABLE_BY_OTHERS: Final = 0o007
_NOT_TLS: Final = frozenset(
    {"HTTP_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
)
_REASONS: Final = {
    **dict.fromkeys(_NOT_TLS, "what came is no TLS; the peer speaks without it"),
    "UNSUPPORTED_PROTOCOL": "the peer speaks no version of TLS that is safe: 1.2 or 1.3",
    "VERSION_TOO_LOW": "the peer speaks no version of TLS that is safe: 1.2 or 1.3",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer speaks no version of TLS that is safe: 1.2 or 1.3",
    "NO_SHARED_CIPHER": "the peer has none of our cipher suites",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer refuses: no common cipher suite, or it wants a certificate of ours",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer showed no certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not know the authority of our certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer wants a certificate of ours",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "our certificate has expired",
}


class WrongCertificate(ssl.SSLError):
    """The server's certificate is none of those that are known of it."""


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """A certificate in a file of the settings. ``not_after``: when it ends."""

    path: Path
    subject: str
    not_after: datetime
    fingerprint: str
    """SHA-256, in hex."""

    @property
    def days_left(self) -> float:
        """Days until it ends; negative when it has."""
        return (self.not_after - datetime.now(UTC)).total_seconds() / 86400


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How a server is called: with what context, and by what it is known beside its host name.

    Parameters
    ----------
    fingerprints
        SHA-256 fingerprints of its certificates. With any, these are compared and nothing else is.
    name
        The name in its certificate, when it is not the host's.
    """

    context: ssl.SSLContext
    fingerprints: frozenset[str] = frozenset()
    name: str | None = None

    def secure(self, connection: socket.socket, host: str) -> ssl.SSLSocket:
        """Make the handshake.

        Raises
        ------
        OSError
            When it fails; `failure_of_handshake` tells why. The connection is closed.
        """
        name = self.name or host
        try:
            secured = self.context.wrap_socket(connection, server_hostname=name, do_handshake_on_connect=False)
        except ValueError as error:
            raise WrongCertificate(f"no certificate can be for the name {name!r}") from error
        try:
            secured.do_handshake()
            shown = hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
            if self.fingerprints and shown not in self.fingerprints:
                raise WrongCertificate(f"its certificate has SHA-256 {shown}, which is none of those known of it")
        except OSError:
            secured.close()
            raise
        return secured


class RenewedContext(ssl.SSLContext):
    """A context made of files, made again for the next connection after one of them changed.

    While what the files hold is no good, the last good one serves on.
    """

    _make: Callable[[], ssl.SSLContext]
    _files: Sequence[Path]
    _seen: tuple[object, ...]
    _current: ssl.SSLContext
    _lock: threading.Lock

    @classmethod
    def of(cls, protocol: int, files: Sequence[Path | None], make: Callable[[], ssl.SSLContext]) -> Self:
        """Return the context that ``make`` makes of ``files``."""
        context = cls(protocol)
        context._make, context._files = make, [file for file in files if file is not None]
        context._lock = threading.Lock()
        context._seen = context._state()
        context._current = make()
        return context

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Return the socket wrapped in TLS with the files' present state."""
        return self._renewed().wrap_socket(*arguments, **options)

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Return the buffers wrapped in TLS with the files' present state."""
        return self._renewed().wrap_bio(*arguments, **options)

    def _renewed(self) -> ssl.SSLContext:
        with self._lock:
            state = self._state()
            if state != self._seen:
                self._seen = state
                try:
                    self._current = self._make()
                    _log.info("certificates read again: %s", ", ".join(map(str, self._files)))
                except ConfigurationError as error:
                    _log.error("the changed certificates are not used, those before are: %s", error)
            return self._current

    def _state(self) -> tuple[object, ...]:
        states: list[object] = []
        for file in self._files:
            try:
                found = file.stat()
            except OSError as error:
                states.append(error.errno)
            else:
                states.append((found.st_ino, found.st_size, found.st_mtime_ns))
        return tuple(states)


def server_context(settings: TlsSettings, section: str, *, protocols: Sequence[str] = ()) -> ssl.SSLContext | None:
    """Return the context of a listening port; None when no certificate is configured.

    Parameters
    ----------
    section
        Name of the settings' section, for messages.
    protocols
        What is spoken over it, by the names of ALPN (RFC 7301).

    Raises
    ------
    ConfigurationError
        When a file is missing or not what it must be; the message says which.
    """
    if settings.certificate is None or settings.key is None:
        return None
    certificate, key = settings.certificate, settings.key

    def make() -> ssl.SSLContext:
        context = _hardened(ssl.PROTOCOL_TLS_SERVER)
        _load_own(context, certificate, key, section)
        if settings.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED if settings.require_client_certificate else ssl.CERT_OPTIONAL
            _load_authorities(context, settings.client_ca, f"{section}.client_ca")
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    return RenewedContext.of(ssl.PROTOCOL_TLS_SERVER, (certificate, key, settings.client_ca), make)


def client_context(
    certificate: Path | None, key: Path | None, ca: Path | None, section: str, *, verify: bool = True
) -> ssl.SSLContext:
    """Return the context for calls.

    Parameters
    ----------
    certificate, key
        Shown when the server asks for them.
    ca
        Authorities of the servers; None: those of the operating system.
    verify
        Verify chain and host name; without, the caller must know the certificate by its fingerprint.

    Raises
    ------
    ConfigurationError
        When a file is missing or not what it must be; the message says which.
    """

    def make() -> ssl.SSLContext:
        context = _hardened(ssl.PROTOCOL_TLS_CLIENT)
        if certificate is not None and key is not None:
            _load_own(context, certificate, key, section)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif ca is None:
            context.load_default_certs()
        else:
            _load_authorities(context, ca, f"{section}.ca")
        return context

    return RenewedContext.of(ssl.PROTOCOL_TLS_CLIENT, (certificate, key, ca if verify else None), make)


def own_certificates(path: Path, setting: str) -> list[OwnCertificate]:
    """Return what the certificates of a PEM file say of themselves.

    Raises
    ------
    ConfigurationError
        When there are none.
    """
    return [
        OwnCertificate(
            path,
            found.subject.rfc4514_string() or "(no subject)",
            found.not_valid_after_utc,
            hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest(),
        )
        for found in _certificates(path, setting)
    ]


def is_readable_by_others(path: Path) -> bool:
    """Whether every user of the machine may read a file that exists."""
    return bool(path.stat().st_mode & _READABLE_BY_OTHERS)


def failure_of_handshake(error: OSError) -> str:
    """Say in words why a handshake failed, on either side."""
    if isinstance(error, WrongCertificate):
        return str(error.args[0])
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "it was not complete in time"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or not isinstance(error, ssl.SSLError):
        return "the peer ended the connection"
    reason = error.reason or "unknown reason"
    return _REASONS.get(reason, reason.lower().replace("_", " "))


def _hardened(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join((_STRENGTH, *TLS_1_2_SUITES)))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path, section: str) -> None:
    [own, *_] = _certificates(certificate, f"{section}.certificate")
    encoded = _read(key, f"{section}.key")
    try:
        private = load_pem_private_key(encoded, password=None)
    except TypeError:
        raise ConfigurationError(f"{section}.key: {key} has a password; store the key without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{section}.key: {key} is no private key in PEM") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != own.public_key().public_bytes(*form):
        raise ConfigurationError(f"{section}.key: {key} is not the key of the certificate {certificate}")
    if is_readable_by_others(key):
        _log.warning("%s.key: %s can be read by every user of this machine; `chmod 640` it", section, key)
    if own.not_valid_after_utc < datetime.now(UTC):
        _log.warning("%s.certificate: %s has expired on %s", section, certificate, own.not_valid_after_utc.date())
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ConfigurationError(f"{section}.certificate: {certificate} is not taken: {_words(error)}") from None


def _load_authorities(context: ssl.SSLContext, path: Path, setting: str) -> None:
    _certificates(path, setting)
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} is not taken: {_words(error)}") from None


def _certificates(path: Path, setting: str) -> list[x509.Certificate]:
    encoded = _read(path, setting)
    try:
        return x509.load_pem_x509_certificates(encoded)
    except ValueError:
        raise ConfigurationError(f"{setting}: {path} has no certificate in PEM") from None


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror}") from None


def _words(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return (reason or "unknown reason").lower().replace("_", " ")
