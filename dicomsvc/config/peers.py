"""Settings of the Application Entities that this node knows."""

import re
from enum import StrEnum
from ipaddress import ip_network

from pydantic import Field, field_validator

from dicomsvc.config.section import Section

AE_TITLE = r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$"
"""An Application Entity Title: 16 characters, no backslash, no blank at its ends (PS3.5 6.2)."""

PEER_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


def is_peer_name(name: str) -> bool:
    """Whether a peer may have this name; no ``HOST:PORT`` is one."""
    return re.fullmatch(PEER_NAME, name) is not None


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
