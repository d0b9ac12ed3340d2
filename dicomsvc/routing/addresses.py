"""To which addresses webhooks may be posted: no way into the network behind this node (server-side request forgery).

A host has to be listed. Its name is resolved once; every address that comes out has to be a public one, or to lie in a
network that the settings give for this host; the connection is then made to these addresses, not to the name.
"""

import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from dicomsvc.config import RoutingSettings
from dicomsvc.errors import NotAllowed, PeerFailure

Resolver = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host; raises OSError."""
Address = IPv4Address | IPv6Address
# Addresses that hold another address, behind which may be anything: NAT64, 6to4.
_TUNNELS: Final = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"), ip_network("2002::/16"))


def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the operating system for the addresses of a host."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def checked_addresses(host: str, port: int, routing: RoutingSettings, resolver: Resolver = resolve) -> tuple[str, ...]:
    """Return the addresses of a webhook's host, all of which may be connected to.

    Raises
    ------
    NotAllowed
        When the host is not listed, or one of its addresses is not where it may be.
    PeerFailure
        When its name cannot be resolved.
    """
    networks = {name.lower(): listed for name, listed in routing.webhook_hosts.items()}.get(host.lower())
    if networks is None:
        raise NotAllowed(f"{host} is not listed under routing.webhook_hosts")
    try:
        addresses = tuple(resolver(host, port))
    except OSError as error:
        raise PeerFailure(f"{host} has no address that is known") from error
    if not addresses:
        raise PeerFailure(f"{host} has no address")
    for address in addresses:
        if not _allowed(address, networks):
            raise NotAllowed(
                f"{host} has an address that is not public, nor in a network listed for it under routing.webhook_hosts"
            )
    return addresses


def _allowed(text: str, networks: Sequence[str]) -> bool:
    try:
        address = _plain(ip_address(text))
    except ValueError:
        return False
    if any(address in ip_network(network, strict=False) for network in networks):
        return True
    return is_public(address)


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_public(address: Address) -> bool:
    """Whether an address is one of the public network, and of one machine."""
    address = _plain(address)
    if address.is_multicast or address.is_reserved or address.is_unspecified or not address.is_global:
        return False
    return not any(address in tunnel for tunnel in _TUNNELS)
