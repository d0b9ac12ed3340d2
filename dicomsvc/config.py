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
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

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


def is_peer_name(name: str) -> bool:
    """Whether a peer may have this name; no ``HOST:PORT`` is one."""
    return re.fullmatch(PEER_NAME, name) is not None


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
    host: str | None = Field(None, pattern=r"^[A-Za-z0-9:][A-Za-z0-9_.:-]{0,252}$")
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


class CommitmentSettings(Section):
    quiet_seconds: float = Field(1, gt=0)
    """A report goes out on the requestor's own association once it has said nothing for this long."""
    retry_seconds: float = Field(10, gt=0)
    """First pause after an attempt that failed; each next one is twice as long."""
    retry_longest_seconds: float = Field(1800, gt=0)
    """Longest pause between two attempts."""
    retry_hours: float = Field(24, gt=0)
    """After this time a report, or a request of ours, is given up."""
    answer_minutes: float = Field(60, gt=0)
    """A request of ours that was taken is sent again after this time without a report."""
    keep_days: float = Field(90, gt=0)
    """What has ended is forgotten after this time."""

    def retry_delay_seconds(self, attempts: int) -> float:
        """Return the pause before the next attempt, after ``attempts`` ones that failed before this one."""
        return min(self.retry_seconds * 2.0 ** min(attempts, 30), self.retry_longest_seconds)


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


class DeidentifyProfileSettings(Section):
    clean_descriptors: bool = False
    """Keep descriptions and comments, reduced to the words of clinical vocabulary (113105); else they are removed."""
    clean_structured_content: bool = True
    """Keep the content of documents and specimen steps: codes, numbers and regions, without free text (113104); else
    structured reports do not go out."""
    clean_graphics: bool = True
    """Keep annotations and segmentations: shapes without text (113103); else bulk annotations do not go out."""
    retain_uids: bool = False
    """Keep unique identifiers (113110)."""
    retain_full_dates: bool = False
    """Keep dates and times as they are (113106)."""
    retain_modified_dates: bool = False
    """Keep dates, moved by days that are the same for all objects of a patient (113107)."""
    retain_device_identity: bool = False
    """Keep serial numbers, station names and names of algorithms (113109)."""
    retain_institution_identity: bool = False
    """Keep name and address of the institution (113112)."""
    retain_patient_characteristics: bool = False
    """Keep sex, age, size, weight and the like (113108)."""
    retain_safe_private: bool = False
    """Keep the private elements that PS3.15 E.3.10 knows as safe (113111)."""
    retain_code_meanings: bool = False
    """Keep meanings of codes as they are; else the standard's meaning, or its words of clinical vocabulary."""
    overview_label: Literal["leave out", "left", "right", "top", "bottom"] = "leave out"
    """On which side of overview images the slide's label is; it is blanked there. Unset: such images do not go out."""
    overview_label_share: float = Field(0.35, gt=0, le=1)
    """How much of an overview image, from that side, is blanked."""

    @model_validator(mode="after")
    def _one_kind_of_dates(self) -> Self:
        if self.retain_full_dates and self.retain_modified_dates:
            raise ValueError("retain_full_dates and retain_modified_dates exclude each other")
        return self


class DeidentifySettings(Section):
    secret: SecretStr | None = None
    """What pseudonyms, UIDs and date offsets are derived from, at least 32 characters; unset: ``deidentify.secret`` in
    the data folder, made at first use. With another secret the same patient gets another pseudonym."""
    profiles: Mapping[str, DeidentifyProfileSettings] = Field(default_factory=dict)
    """Profiles by name; ``basic`` is there without being named."""


class RoutingRule(Section):
    name: str = Field(pattern=rf"^{PEER_NAME}$")
    """What it is called in lists; what it has done is kept under it."""
    enabled: bool = True
    """Whether it is for what arrives from now on."""
    kind: Literal["image", "result"] | None = None
    """Images, or what was found in them (segmentations, annotations, reports, parametric maps); unset: both."""
    sop_classes: tuple[str, ...] = ()
    """SOP classes, by keyword (VLWholeSlideMicroscopyImageStorage) or UID; empty: any. So are the next three."""
    modalities: tuple[str, ...] = ()
    """Modalities, e.g. ``SM``."""
    sources: tuple[str, ...] = ()
    """How it came: dimse, stow, import, conversion, analysis, clicks, verdict, consensus, report."""
    calling_ae_titles: tuple[str, ...] = ()
    """Application Entities that brought it by C-STORE."""
    study_description: str | None = None
    """Study Description, with the wildcards ``*`` and ``?``."""
    match: Mapping[str, str] = Field(default_factory=dict)
    """Further attributes by keyword, tag or path, and what they are to be, as a search has it (PS3.4 C.2.2.2)."""
    stable: Literal["series", "study"] = "series"
    """To which nothing may have been added lately, before the rule is applied to it."""
    stable_seconds: float = Field(60, ge=0, le=604800)
    """How long; 0: it is applied at once to whatever has come."""
    own_results: bool = True
    """Whether what this node made itself counts: is taken along, and keeps a series or study from being stable."""
    send: tuple[str, ...] = ()
    """Where it goes: peers, by C-STORE; entries of routing.destinations, by STOW-RS."""
    analyze: tuple[str, ...] = ()
    """Models, ``NAME`` or ``NAME:NUMBER``, that slides are analysed with."""
    notify: tuple[str, ...] = ()
    """Peers that are told by Instance Availability Notification."""
    webhook: tuple[str, ...] = ()
    """Entries of routing.webhooks that are told."""
    commit: bool = False
    """Have peers to which it was sent promise to keep it (Storage Commitment)."""
    back: bool = False
    """Send also to the peer from which it came."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.send or self.analyze or self.notify or self.webhook):
            raise ValueError(f"rule {self.name} does nothing: set send, analyze, notify or webhook")
        return self


class WebDestination(Section):
    url: str = Field(pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$")
    """Root of its DICOMweb service, e.g. ``https://archive.example.org/dicomweb``."""
    token: SecretStr | None = None
    """Bearer token."""
    user: str | None = None
    """As whom it stores here, so that nothing goes back to where it came from."""
    ca: Path | None = None
    """PEM file of the authorities that its certificate is checked with; unset: those of the operating system."""
    certificate: Path | None = None
    """PEM file of the certificate that this node shows it."""
    key: Path | None = None
    """PEM file of that certificate's private key."""
    deidentify: str | None = None
    """De-identification profile for what is sent to it; unset: sent as it is."""


class Webhook(Section):
    url: str = Field(pattern=r"^https?://[^/?#@\s]+(/[^#\s]*)?$")
    """What is posted to; its host is one of routing.webhook_hosts."""
    secret: SecretStr = Field(min_length=16)
    """Key of the signature (HMAC-SHA256)."""


class RoutingSettings(Section):
    rules: tuple[RoutingRule, ...] = ()
    """What is done with what has arrived."""
    destinations: Mapping[str, WebDestination] = Field(default_factory=dict)
    """DICOMweb services that rules send to, by name."""
    webhooks: Mapping[str, Webhook] = Field(default_factory=dict)
    """Who is told by HTTP, by name."""
    webhook_hosts: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Hosts of webhooks, each with the networks in which its address may lie; none: public addresses only."""
    concurrency: int = Field(4, ge=1, le=64)
    """Forwards that one worker runs at the same time, beside its other work items."""
    per_destination: int = Field(2, ge=1, le=64)
    """Forwards to one destination at the same time."""
    first_pause_seconds: float = Field(60, gt=0)
    """Before the second try; doubles with each further one."""
    longest_pause_seconds: float = Field(3600, gt=0)
    """Longest time between two tries."""
    give_up_hours: float = Field(72, gt=0)
    """What could not be sent for this long becomes a dead letter."""
    keep_days: float = Field(30, gt=0)
    """How long the record of what was sent is kept; dead letters stay."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [rule.name for rule in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"there are two rules {name}")
        for networks in self.webhook_hosts.values():
            for network in networks:
                ip_network(network, strict=False)
        for rule in self.rules:
            for name in rule.webhook:
                if name not in self.webhooks:
                    raise ValueError(f"rule {rule.name}: there is no webhook {name} under routing.webhooks")
        urls = [each.url for each in self.destinations.values()] + [each.url for each in self.webhooks.values()]
        for url in urls:
            # Raises where it is no port.
            _ = urlsplit(url).port
        for name, webhook in self.webhooks.items():
            if (urlsplit(webhook.url).hostname or "") not in {host.lower() for host in self.webhook_hosts}:
                raise ValueError(f"webhook {name}: its host is not listed under routing.webhook_hosts")
        return self


class AuditSettings(Section):
    source_id: str | None = None
    """What this system is called in audit messages (AuditSourceID); unset: its AE title."""
    site: str | None = None
    """Where it is (AuditEnterpriseSiteID), e.g. the hospital."""
    collector: str | None = None
    """Address ``HOST:PORT`` of a collector that takes syslog over TLS (port 6514 as a rule); unset: nothing is sent."""
    ca: Path | None = None
    """PEM file of the authorities of the collector's certificate; unset: those of the operating system."""
    certificate: Path | None = None
    """PEM file of the certificate that is shown to the collector."""
    key: Path | None = None
    """PEM file of that certificate's private key, without a password."""
    timeout_seconds: float = Field(20, gt=0)
    """Longest time for the collector to take what is sent."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.collector is not None:
            split_address(self.collector)
        if (self.certificate is None) is not (self.key is None):
            raise ValueError("a certificate needs its key, and a key its certificate: set both `certificate` and `key`")
        return self


class WorklistSettings(Section):
    station_ae_titles: tuple[Annotated[str, Field(pattern=AE_TITLE)], ...] = ()
    """Scanners (Scheduled Station AE Title) that entries are for which name none."""
    complete_on_arrival: bool = False
    """An entry is completed once an image of its patient, accession number and container identifier has been stored."""


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
    commitment: CommitmentSettings = CommitmentSettings()
    """Storage commitment."""
    jobs: JobSettings = JobSettings()
    """Work items."""
    ingest: IngestSettings = IngestSettings()
    """Watch folders and uploads."""
    peers: Mapping[str, PeerSettings] = Field(default_factory=dict)
    """Application Entities that this node knows, by name; more can be added with ``dicomsvc peers add``."""
    triton: TritonSettings = TritonSettings()
    """The model server."""
    hl7: Hl7Settings = Hl7Settings()
    """Messages from laboratory systems: reports, orders."""
    worklist: WorklistSettings = WorklistSettings()
    """The modality worklist."""
    deidentify: DeidentifySettings = DeidentifySettings()
    """De-identification of what goes out (PS3.15 E)."""
    routing: RoutingSettings = RoutingSettings()
    """Rules on what arrived; forwarding."""
    audit: AuditSettings = AuditSettings()
    """The audit trail."""
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
    def _peers_fit_together(self) -> Self:
        names: dict[str, str] = {}
        for name, peer in self.peers.items():
            if not is_peer_name(name):
                raise ValueError(f"peers.{name}: a name has up to 64 letters, digits, '_', '.' or '-'")
            other = names.setdefault(peer.ae_title, name)
            if other != name:
                raise ValueError(f"peers.{name} has the AE title {peer.ae_title}, which peers.{other} has")
            if not self.has_deidentification_profile(peer.deidentify):
                raise ValueError(f"peers.{name}.deidentify: there is no [deidentify.profiles.{peer.deidentify}]")
        return self

    def has_deidentification_profile(self, name: str | None) -> bool:
        """Whether there is a profile of this name; None, which is none, counts as one."""
        return name is None or name == "basic" or name in self.deidentify.profiles

    @model_validator(mode="after")
    def _not_in_the_open(self) -> Self:
        split_address(self.http.bind)
        split_address(self.dimse.bind)
        if not is_loopback(self.http.bind) and not self.auth.tokens:
            raise ValueError(
                f"http.bind is {self.http.bind}, which others can reach, but no authentication is configured. "
                "Bind to 127.0.0.1, or run `dicomsvc token NAME` and put its line under [auth.tokens] in dicomsvc.toml"
            )
        if self.hl7.bind is not None and not is_loopback(self.hl7.bind) and not self.hl7.peers:
            raise ValueError(
                f"hl7.bind is {self.hl7.bind}, which others can reach, but anybody may send reports and orders. "
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
