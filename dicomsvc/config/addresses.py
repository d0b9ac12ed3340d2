"""Network addresses as they are written in settings."""

from ipaddress import ip_address


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
