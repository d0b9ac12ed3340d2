"""URLs that clients can reach: the public root of a request, and resources below it.

The root is ``settings.http.public_url``; else what ``Forwarded`` (RFC 7239) or ``X-Forwarded-*`` say, when the peer is
a trusted proxy; else the ``Host`` header; else the address that the request came in on.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from dicomsvc.config import HttpSettings

DICOMWEB_PATH: Final = "/dicomweb"
_MAX_CHARACTERS: Final = 2048
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,64}\])(?::[0-9]{1,5})?\Z")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?\Z")
_PAIR = re.compile(r'\s*([A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^";,]*)\s*(?:;|\Z)')
_FORWARDED_ELEMENT = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+')


def dicomweb_root(scope: Mapping[str, Any], settings: HttpSettings) -> str:
    """Return the absolute URL of the DICOMweb root as this request's client sees it, without a slash at the end."""
    return public_root(scope, settings) + DICOMWEB_PATH


def public_root(scope: Mapping[str, Any], settings: HttpSettings) -> str:
    """Return the absolute URL of the service as this request's client sees it, without a slash at the end."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    headers = _headers(scope["headers"])
    scheme, host, prefix = scope.get("scheme", "http"), headers.get("host", ""), ""
    client = scope.get("client")
    if client is not None and is_trusted(client[0], settings.trusted_proxies):
        if "forwarded" in headers:
            forwarded = _forwarded(headers["forwarded"], settings.trusted_proxies)
        else:
            forwarded = {name: _last(headers.get(f"x-forwarded-{name}", "")) for name in ("proto", "host")}
        scheme, host = forwarded.get("proto") or scheme, forwarded.get("host") or host
        prefix = _last(headers.get("x-forwarded-prefix", ""))
    if scheme.lower() not in ("http", "https"):
        scheme = "http"
    if not _HOST.match(host) or _lacks_our_port(host, scope):
        host = _own_address(scope)
    return f"{scheme.lower()}://{host}{prefix.rstrip('/') if _PREFIX.match(prefix) else ''}"


def study_url(root: str, study_instance_uid: str) -> str:
    return f"{root}/studies/{study_instance_uid}"


def series_url(root: str, study_instance_uid: str, series_instance_uid: str) -> str:
    return f"{root}/studies/{study_instance_uid}/series/{series_instance_uid}"


def instance_url(root: str, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> str:
    return f"{root}/studies/{study_instance_uid}/series/{series_instance_uid}/instances/{sop_instance_uid}"


@lru_cache(maxsize=1024)
def is_trusted(address: str, proxies: tuple[str, ...]) -> bool:
    """Whether an address is one of the trusted proxies, which are addresses or networks (``10.0.0.0/8``)."""
    if address in proxies or "*" in proxies:
        return True
    try:
        peer = ip_address(address)
    except ValueError:
        return False
    return any(_contains(network, peer) for network in proxies)


def _contains(network: str, peer: Any) -> bool:
    try:
        return peer in ip_network(network, strict=False)
    except ValueError:
        return False


def _lacks_our_port(host: str, scope: Mapping[str, Any]) -> bool:
    """Whether a client that spoke to this very address left out the port, as dicomweb-client does."""
    server, port = scope.get("server") or ("", None)
    default = 443 if scope.get("scheme") == "https" else 80
    if port in (None, default) or any(name.startswith(b"x-forwarded-") for name, _ in scope["headers"]):
        return False
    return host.strip("[]") == server or (host == "localhost" and server in ("127.0.0.1", "::1"))


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        if name == b"host" or name == b"forwarded" or name.startswith(b"x-forwarded-"):
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]},{text}" if key in headers else text
    return headers


def _last(value: str) -> str:
    """Return the last entry: the one that our own peer wrote, which no client can forge."""
    return value.rpartition(",")[2].strip()


def _forwarded(value: str, proxies: tuple[str, ...]) -> dict[str, str]:
    """Return the element of a Forwarded header that the outermost trusted proxy wrote."""
    chosen: dict[str, str] = {}
    for element in reversed(_FORWARDED_ELEMENT.findall(value[:_MAX_CHARACTERS])):
        pairs = {name.lower(): text.strip().strip('"') for name, text in _PAIR.findall(element.strip())}
        chosen = {**chosen, **pairs}
        if not is_trusted(_node(pairs.get("for", "")), proxies):
            break
    return chosen


def _node(text: str) -> str:
    """Return the address of a ``for`` entry without port and brackets."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _own_address(scope: Mapping[str, Any]) -> str:
    host, port = scope.get("server") or ("localhost", None)
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"
