"""The settings: one frozen tree, built once and passed down.

A value comes from, in this order: an argument of the command line, an environment variable
(``DICOMSVC_HTTP__BIND=0.0.0.0:8080``, two underscores between section and field), ``dicomsvc.toml`` (in the working
folder, or the file named by ``DICOMSVC_CONFIG``), the default written here. All defaults together run a service on
loopback with no file at all.
"""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from dicomsvc.errors import ConfigurationError


def split_address(bind: str) -> tuple[str, int]:
    """Split ``host:port`` (IPv6 hosts in brackets).

    Raises
    ------
    ValueError
        When there is no port, or it is no number from 0 to 65535.
    """
    host, separator, port = bind.rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{bind!r} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def is_loopback(bind: str) -> bool:
    """Whether only this machine can reach the address ``host:port``."""
    host, _ = split_address(bind)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


AE_TITLE = r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$"
"""An Application Entity Title: 16 characters, no backslash, no blank at its ends (PS3.5 6.2)."""
PEER_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Permission(StrEnum):
    """What a peer may ask of this node."""

    STORE = "store"
    QUERY = "query"
    RETRIEVE = "retrieve"
    MOVE_DESTINATION = "move_destination"
    COMMITMENT = "commitment"
    WORKLIST = "worklist"


class PeerSettings(Section):
    ae_title: str = Field(pattern=AE_TITLE)
    """Application Entity Title by which it calls, and is called."""
    host: str | None = None
    """Name or address where it is called; unset: it only calls."""
    port: int = Field(104, ge=1, le=65535)
    """Port where it is called."""
    tls: bool = False
    """It is called with TLS."""
    may: frozenset[Permission] = frozenset()
    """What it may ask of this node: store, query, retrieve, commitment, worklist; move_destination: retrievals may be
    sent to it. C-ECHO needs none."""
    addresses: tuple[str, ...] = ()
    """IP addresses or networks (10.1.0.0/16) from which it calls; empty: any."""
    certificates: tuple[str, ...] = ()
    """Certificates that it shows: SHA-256 fingerprints (hex), or ``CN=name`` for a Common Name or DNS name. With any,
    it is let in by TLS with one of them only, and called only where it shows one of these fingerprints."""
    calling_ae_title: str | None = Field(None, pattern=AE_TITLE)
    """Application Entity Title by which this node calls it; unset: dimse.ae_title."""
    deidentify: str | None = None
    """De-identification profile for what is sent to it; unset: sent as it is."""

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            ip_network(address, strict=False)
        return addresses

    @field_validator("certificates")
    @classmethod
    def _are_fingerprints_or_names(cls, certificates: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_fingerprint_or_name(entry) for entry in certificates)


def _fingerprint_or_name(entry: str) -> str:
    if entry.startswith("CN=") and len(entry) > len("CN="):
        return entry
    fingerprint = entry.replace(":", "").lower()
    if re.fullmatch("[0-9a-f]{64}", fingerprint) is None:
        raise ValueError(f"{entry!r} is no SHA-256 fingerprint (64 hex digits, colons do not count) and no CN=name")
    return fingerprint


class DatabaseSettings(Section):
    url: SecretStr | None = None
    """PostgreSQL URL, e.g. ``postgresql://user:password@host/dicomsvc``. Unset: an own server under the data folder."""
    pool_size: int = Field(8, ge=1)
    """Connections that one process holds open at most."""


class StoreSettings(Section):
    disk_reserve_mb: int = Field(1024, ge=0)
    """Storing is refused (0xA700, 503) when less than this would be left free on the store's file system."""
    max_instance_gb: float = Field(64, gt=0)
    """Largest instance accepted."""
    max_header_mb: int = Field(256, gt=0)
    """Largest data set before the pixel data that is parsed."""


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


class DimseSettings(Section):
    bind: str = "127.0.0.1:11112"
    """Address of the DICOM service, ``HOST:PORT``."""
    ae_title: str = Field("DICOMSVC", min_length=1, max_length=16)
    """Application Entity Title that this node answers to."""
    require_called_ae_title: bool = False
    """Reject associations that call another Application Entity Title."""
    calling_ae_titles: tuple[str, ...] = ()
    """Application Entities that may associate; empty: any (on loopback only)."""
    max_associations: int = Field(100, ge=1)
    """Associations at the same time; the next one is rejected."""
    max_pdu: int = Field(131072, ge=4096, le=1048576)
    """Largest PDU that we ask peers to send."""
    pdu_timeout_seconds: float = Field(30, gt=0)
    """Longest time for one PDU to arrive in full, and for a new connection's first one."""
    idle_timeout_seconds: float = Field(120, gt=0)
    """Longest silence between two PDUs of an association."""


class JobSettings(Section):
    concurrency: int = Field(1, ge=1)
    """Work items that one worker runs at the same time."""
    attempts: int = Field(3, ge=1)
    """How often a work item is tried when its process dies."""


class IngestSettings(Section):
    watch: tuple[Path, ...] = ()
    """Folders whose new slides are imported."""
    settle_seconds: float = Field(5, gt=0)
    """A file in a watched folder is taken once it has not changed for this long."""
    upload_keep_hours: float = Field(48, gt=0)
    """Unfinished uploads are removed after this time without a byte."""


class TritonSettings(Section):
    url: str | None = None
    """gRPC address of a Triton server, ``HOST:PORT``. Unset: an own server, on loopback, from the set-up's runtime."""
    tls: bool = False
    """Speak TLS to a configured server."""
    models: Path | None = None
    """Folder of models (``triton_models/``); unset: the one that comes with dicomsvc."""
    runtime: Path | None = None
    """Folder of the own server's runtime environment; unset: ``triton`` in this Python's environment."""
    instances: int = Field(0, ge=0)
    """Copies of each model that the own server runs at the same time; 0: one for each core."""
    memory_mb: int = Field(4096, ge=512)
    """Memory that the own server may use before it is started again; no process of a model gets more."""
    timeout_seconds: float = Field(120, gt=0)
    """Longest time for the answer to one batch."""
    in_process: bool = False
    """Run models in the worker by ONNX Runtime instead; said in each result's provenance."""


class Hl7Settings(Section):
    bind: str | None = None
    """Address ``HOST:PORT`` on which pathology reports are taken as HL7 v2 ORU^R01 over MLLP; unset: none are."""
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


class AuthSettings(Section):
    tokens: Mapping[str, SecretStr] = Field(default_factory=dict)
    """User name to the SHA-256 (hex) of that user's bearer token; ``dicomsvc token NAME`` makes one."""


class Settings(BaseSettings):
    """All settings of a service."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="DICOMSVC_",
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
    )

    data: Path = Path("data")
    """Folder of the store, the spool and the embedded database."""
    log_level: str = "INFO"
    """Lowest level that is logged."""
    log_json: bool = False
    """Log one JSON object a line."""
    database: DatabaseSettings = DatabaseSettings()
    """PostgreSQL."""
    store: StoreSettings = StoreSettings()
    """Files."""
    http: HttpSettings = HttpSettings()
    """DICOMweb, API, pages."""
    dimse: DimseSettings = DimseSettings()
    """DICOM upper layer."""
    jobs: JobSettings = JobSettings()
    """Work items."""
    ingest: IngestSettings = IngestSettings()
    """Watch folders and uploads."""
    peers: Mapping[str, PeerSettings] = Field(default_factory=dict)
    """Application Entities that this node knows, by name; more can be added with ``dicomsvc peers add``."""
    triton: TritonSettings = TritonSettings()
    """The model server."""
    hl7: Hl7Settings = Hl7Settings()
    """Pathology reports from laboratory systems."""
    auth: AuthSettings = AuthSettings()
    """Who may use the service."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file()))

    @model_validator(mode="after")
    def _one_peer_an_ae_title(self) -> Self:
        names: dict[str, str] = {}
        for name, peer in self.peers.items():
            if re.fullmatch(PEER_NAME, name) is None:
                raise ValueError(f"peers.{name}: a name has up to 64 letters, digits, '_', '.' or '-'")
            other = names.setdefault(peer.ae_title, name)
            if other != name:
                raise ValueError(f"peers.{name} has the AE title {peer.ae_title}, which peers.{other} has")
        return self

    @model_validator(mode="after")
    def _not_in_the_open(self) -> Self:
        split_address(self.http.bind)
        split_address(self.dimse.bind)
        if not is_loopback(self.http.bind) and not self.auth.tokens:
            raise ValueError(
                f"http.bind is {self.http.bind}, which others can reach, but no authentication is configured. "
                "Bind to 127.0.0.1, or run `dicomsvc token NAME` and put its line under [auth.tokens] in dicomsvc.toml"
            )
        if not is_loopback(self.dimse.bind) and not self.dimse.calling_ae_titles:
            raise ValueError(
                f"dimse.bind is {self.dimse.bind}, which others can reach, but any AE may call. "
                "Bind to 127.0.0.1, or list the AE titles that may call under dimse.calling_ae_titles"
            )
        if self.hl7.bind is not None and not is_loopback(self.hl7.bind) and not self.hl7.peers:
            raise ValueError(
                f"hl7.bind is {self.hl7.bind}, which others can reach, but anybody may send reports. "
                "Bind to 127.0.0.1, or list the senders' addresses under hl7.peers"
            )
        return self


def config_file() -> Path:
    """Return the path of the settings file (which need not exist)."""
    return Path(os.environ.get("DICOMSVC_CONFIG", "dicomsvc.toml"))


def load_settings(arguments: Mapping[str, Any] | None = None) -> Settings:
    """Build the settings; ``arguments`` (nested mappings) go before everything else.

    Raises
    ------
    ConfigurationError
        When a value is wrong; the message names the field and says what is expected.
    """
    try:
        return Settings(**(arguments or {}))
    except ValidationError as error:
        lines = (
            f"{'.'.join(str(part) for part in problem['loc']) or 'settings'}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError("; ".join(lines)) from None
    except ValueError as error:
        raise ConfigurationError(f"{config_file()}: {error}") from None
