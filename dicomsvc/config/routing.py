"""Settings of rules on what arrived, and of where things are sent."""

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from dicomsvc.config.peers import PEER_NAME
from dicomsvc.config.section import Section


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
