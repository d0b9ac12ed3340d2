"""Settings of what listens: HTTP, DICOM, HL7, each with or without TLS."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from dicomsvc.config.addresses import split_address
from dicomsvc.config.peers import Permission
from dicomsvc.config.section import Section


class TlsSettings(Section):
    certificate: Path | None = None
    """PEM file of the certificate, with those that lead to its authority after it."""
    key: Path | None = None
    """PEM file of the certificate's private key, without a password."""
    client_ca: Path | None = None
    """PEM file of the authorities whose certificates callers may show, or of such certificates themselves."""
    require_client_certificate: bool = False
    """Let in only who shows a certificate (mutual TLS)."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.certificate is None) is not (self.key is None):
            raise ValueError("a certificate needs its key, and a key its certificate: set both `certificate` and `key`")
        if self.require_client_certificate and self.client_ca is None:
            raise ValueError("require_client_certificate needs client_ca, to verify the certificates with")
        return self


class DimseTlsSettings(TlsSettings):
    bind: str | None = None
    """Address ``HOST:PORT`` for DICOM over TLS, beside that of dimse.bind; unset: none."""
    ca: Path | None = None
    """PEM file of the authorities of the peers that this node calls; unset: those of the operating system."""

    @model_validator(mode="after")
    def _has_a_certificate(self) -> Self:
        if self.bind is not None:
            split_address(self.bind)
            if self.certificate is None:
                raise ValueError("dimse.tls.bind needs dimse.tls.certificate and dimse.tls.key")
        return self


class HttpSettings(Section):
    bind: str = "127.0.0.1:8080"
    """Address of the web service, ``HOST:PORT``."""
    public_url: str | None = None
    """Root that clients see, e.g. ``https://slides.example.org``; unset: taken from the request's headers."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Peers whose ``Forwarded`` and ``X-Forwarded-*`` headers are believed."""
    cors_origins: tuple[str, ...] = ()
    """Origins of viewers served elsewhere, or ``*``."""
    max_upload_gb: float = Field(64, gt=0)
    """Largest request body accepted."""
    frame_cache_mb: int = Field(256, ge=1)
    """Memory that the cache of frame indexes may use."""
    search_limit: int = Field(1000, ge=1)
    """Most results that one search answers; a client that wants more pages with ``offset``."""
    tls: TlsSettings = TlsSettings()
    """With a certificate, the web service speaks HTTPS."""


class DimseSettings(Section):
    bind: str = "127.0.0.1:11112"
    """Address of the DICOM service, ``HOST:PORT``."""
    ae_title: str = Field("DICOMSVC", min_length=1, max_length=16)
    """Application Entity Title that this node answers to."""
    require_called_ae_title: bool = False
    """Reject associations that call another Application Entity Title."""
    calling_ae_titles: tuple[str, ...] = ()
    """Application Entities that may associate without being a peer (section ``peers``). With none of either: any, on
    loopback only."""
    accept_unknown: bool = False
    """Let any Application Entity associate, also where others can reach this node."""
    unknown_may: frozenset[Permission] = frozenset(Permission) - {Permission.MOVE_DESTINATION}
    """What Application Entities that are no peers may ask of this node."""
    max_associations: int = Field(100, ge=1)
    """Associations at the same time; the next one is rejected."""
    max_pdu: int = Field(131072, ge=4096, le=1048576)
    """Largest PDU that we ask peers to send."""
    pdu_timeout_seconds: float = Field(30, gt=0)
    """Longest time for one PDU to arrive in full, and for a new connection's first one."""
    idle_timeout_seconds: float = Field(120, gt=0)
    """Longest silence between two PDUs of an association."""
    find_limit: int = Field(0, ge=0)
    """Most results of one C-FIND, which then ends with 0xA700; 0: as many as there are."""
    tls: DimseTlsSettings = DimseTlsSettings()
    """DICOM over TLS."""


class Hl7Settings(Section):
    bind: str | None = None
    """Address ``HOST:PORT`` on which HL7 v2 is taken over MLLP: reports (ORU^R01) and orders for the worklist (OML^O21,
    OML^O33, ORM^O01); unset: nothing is."""
    peers: tuple[str, ...] = ()
    """IP addresses of the senders; empty: any (on loopback only)."""
    default_charset: str = "utf-8"
    """Character set (a Python codec, e.g. ``gb18030``) of messages that do not name theirs in MSH-18."""
    max_message_mb: int = Field(32, ge=1, le=256)
    """Largest message accepted."""
    max_connections: int = Field(64, ge=1)
    """Connections at the same time; the next one is closed."""
    idle_timeout_seconds: float = Field(600, gt=0)
    """Longest silence between two messages of a connection."""
    tls: TlsSettings = TlsSettings()
    """With a certificate, messages are taken over TLS only."""
