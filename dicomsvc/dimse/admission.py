"""Who may associate: by calling AE title, IP address and certificate (PS3.8 9.3.4, PS3.15 B.12)."""

import hashlib
import ssl
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from dicomsvc.config import DimseSettings, Permission, is_loopback
from dicomsvc.dimse.peers import Directory, KnownPeer


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a TLS client has shown and an authority of ours has signed. ``names``: Common Name and DNS names."""

    fingerprint: str
    names: frozenset[str]

    @classmethod
    def of(cls, secured: ssl.SSLSocket) -> "Certificate | None":
        """Return the verified certificate of the other side; None when it showed none."""
        encoded = secured.getpeercert(binary_form=True)
        if encoded is None:
            return None
        known = secured.getpeercert() or {}
        subject = (pair for part in known.get("subject", ()) for pair in part)
        named = (*subject, *known.get("subjectAltName", ()))
        names = frozenset(str(value) for kind, value in named if kind in ("commonName", "DNS"))
        return cls(hashlib.sha256(encoded).hexdigest(), names)

    def fits(self, entry: str) -> bool:
        """Whether it is what an entry of `KnownPeer.certificates` says."""
        return entry == self.fingerprint or (entry.startswith("CN=") and entry.removeprefix("CN=") in self.names)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an association."""

    ae_title: str
    address: str
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A caller that may associate: as which peer, and what it may ask for."""

    peer: KnownPeer | None
    may: frozenset[Permission]


class NotAdmitted(Exception):
    """The caller may not associate; the message is for the log and names no more than the caller said."""


def admit(caller: Caller, directory: Directory, settings: DimseSettings) -> Admitted:
    """Return what a caller may do.

    A known peer must come from where, and with what, its entry says. Others are let in when
    ``dimse.calling_ae_titles`` lists them, when ``dimse.accept_unknown`` says so, or when nobody is configured and
    only this machine can reach the service.

    Raises
    ------
    NotAdmitted
        When the caller may not associate; PS3.8 has one reason for it, "calling AE title not recognized".
    """
    peer = directory.by_ae_title.get(caller.ae_title)
    if peer is not None:
        _require_fitting(caller, peer)
        return Admitted(peer, peer.may)
    listed = settings.calling_ae_titles
    nobody_configured = not listed and not directory.by_name
    if caller.ae_title in listed or settings.accept_unknown or (nobody_configured and _is_private(settings)):
        return Admitted(None, settings.unknown_may)
    raise NotAdmitted("no peer has this AE title; add it with `dicomsvc peers add` or under [peers.NAME]")


def _require_fitting(caller: Caller, peer: KnownPeer) -> None:
    if peer.addresses and not _is_within(caller.address, peer.addresses):
        raise NotAdmitted(f"peer {peer.name} does not call from this address")
    if not peer.certificates:
        return
    if caller.certificate is None:
        raise NotAdmitted(f"peer {peer.name} must call by TLS and show its certificate")
    if not any(caller.certificate.fits(entry) for entry in peer.certificates):
        raise NotAdmitted(
            f"the certificate with SHA-256 {caller.certificate.fingerprint} is none of those of peer {peer.name}"
        )


def _is_within(address: str, networks: tuple[str, ...]) -> bool:
    try:
        caller: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(caller, IPv6Address) and caller.ipv4_mapped is not None:
        caller = caller.ipv4_mapped
    return any(caller in ip_network(network, strict=False) for network in networks)


def _is_private(settings: DimseSettings) -> bool:
    binds = [settings.bind] if settings.tls.bind is None else [settings.bind, settings.tls.bind]
    return all(map(is_loopback, binds))
