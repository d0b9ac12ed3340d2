"""Who may associate, without a network."""

import pytest

from dicomsvc.config import DimseSettings, PeerSettings, Permission
from dicomsvc.dimse.admission import Admitted, Caller, Certificate, NotAdmitted, admit
from dicomsvc.dimse.peers import Directory

FINGERPRINT = "ab" * 32
OTHER = Certificate("cd" * 32, frozenset({"other"}))
NOBODY = Directory()


def directory(**peer: object) -> Directory:
    return Directory.merged({"pacs": PeerSettings(**{"ae_title": "PACS", "may": ["query"], **peer})}, {})


def admitted(
    known: Directory,
    ae_title: str = "PACS",
    address: str = "10.0.0.1",
    certificate: Certificate | None = None,
    **dimse: object,
) -> Admitted | None:
    try:
        return admit(Caller(ae_title, address, certificate), known, DimseSettings(**dimse))
    except NotAdmitted:
        return None


@pytest.mark.parametrize(
    ("address", "networks", "fits"),
    [
        ("10.0.0.1", ["10.0.0.1"], True),
        ("10.0.0.1", ["10.0.0.2", "10.0.0.0/30"], True),
        ("10.0.0.1", ["10.0.0.7/24"], True),
        ("10.0.1.1", ["10.0.0.0/24"], False),
        ("::ffff:10.0.0.1", ["10.0.0.0/24"], True),
        ("fd00::1", ["fd00::/8"], True),
        ("fd00::1", ["10.0.0.0/8"], False),
        ("10.0.0.1", ["fd00::/8"], False),
        ("no address", ["0.0.0.0/0"], False),
    ],
)
def test_addresses_and_networks(address: str, networks: list[str], fits: bool) -> None:
    assert (admitted(directory(addresses=networks), address=address) is not None) is fits


def test_a_peer_gets_its_own_permissions_and_others_those_of_the_settings() -> None:
    found = admitted(directory())
    assert found is not None and found.peer is not None
    assert (found.peer.name, found.may) == ("pacs", {Permission.QUERY})
    unknown = admitted(NOBODY, "X", unknown_may=["store"])
    assert unknown == Admitted(None, frozenset({Permission.STORE}))


@pytest.mark.parametrize("entry", [FINGERPRINT, "CN=scanner", "CN=scanner.example.org"])
def test_a_certificate_is_known_by_fingerprint_or_name(entry: str) -> None:
    shown = Certificate(FINGERPRINT, frozenset({"scanner", "scanner.example.org"}))
    known = directory(certificates=["00" * 32, entry])
    assert admitted(known, certificate=shown)
    assert not admitted(known, certificate=OTHER)
    assert not admitted(known)


def test_a_name_in_a_certificate_is_no_fingerprint() -> None:
    assert not admitted(
        directory(certificates=[FINGERPRINT]), certificate=Certificate("00" * 32, frozenset({FINGERPRINT}))
    )


def test_address_and_certificate_must_both_fit() -> None:
    known = directory(addresses=["10.0.0.1"], certificates=["CN=other"])
    assert admitted(known, certificate=OTHER)
    assert not admitted(known, address="10.0.0.2", certificate=OTHER)


@pytest.mark.parametrize(
    ("dimse", "known", "let_in"),
    [
        ({}, NOBODY, True),
        ({"bind": "[::1]:104"}, NOBODY, True),
        ({"bind": "0.0.0.0:104"}, NOBODY, False),
        ({"tls": {"bind": "0.0.0.0:2762", "certificate": "c", "key": "k"}}, NOBODY, False),
        ({}, directory(), False),
        ({"calling_ae_titles": ["Y"]}, NOBODY, False),
        ({"calling_ae_titles": ["X"], "bind": "0.0.0.0:104"}, directory(), True),
        ({"accept_unknown": True, "bind": "0.0.0.0:104"}, directory(), True),
    ],
)
def test_who_is_no_peer_is_let_in_by_setting_or_on_loopback_alone(
    dimse: dict[str, object], known: Directory, let_in: bool
) -> None:
    assert (admitted(known, "X", **dimse) is not None) is let_in


def test_a_peer_that_does_not_fit_is_not_let_in_as_somebody_else() -> None:
    known = directory(addresses=["10.0.0.9"])
    assert not admitted(known, calling_ae_titles=["PACS"], accept_unknown=True)
