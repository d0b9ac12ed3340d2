"""What `dicomsvc doctor` says of certificates and callers."""

from pathlib import Path

import pytest

from dicomsvc.cli.doctor import check_callers, check_certificates
from dicomsvc.config import Settings
from tests.certificates import Authority, Issued


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def with_certificate(issued: Issued, **more: object) -> Settings:
    return Settings(dimse={"tls": issued.settings(**more)})


def test_certificates_that_last_are_well(authority: Authority) -> None:
    found = check_certificates(with_certificate(authority.issue(days=(-1, 90))))
    assert found.ok and not found.warning
    assert check_certificates(Settings()).ok


def test_a_certificate_that_ends_soon_is_warned_of_and_one_that_has_ended_is_wrong(authority: Authority) -> None:
    soon = check_certificates(with_certificate(authority.issue("node", days=(-5, 5))))
    assert soon.ok and soon.warning and "CN=node" in soon.found
    ended = check_certificates(with_certificate(authority.issue(days=(-5, -1))))
    assert not ended.ok and "has expired" in ended.found


def test_the_earliest_end_counts(authority: Authority) -> None:
    long, ended = authority.issue(days=(-5, 90)), authority.issue(days=(-5, -1))
    settings = Settings(http={"tls": long.settings()}, dimse={"tls": long.settings()}, hl7={"tls": ended.settings()})
    assert not check_certificates(settings).ok


def test_an_unusable_file_is_named(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue()
    assert "dimse.tls.client_ca" in check_certificates(with_certificate(issued, client_ca=issued.key)).found
    other = check_certificates(with_certificate(Issued(issued.certificate, authority.issue().key, "")))
    assert not other.ok and "dimse.tls.key" in other.found
    missing = check_certificates(with_certificate(Issued(tmp_path / "none.pem", issued.key, "")))
    assert not missing.ok and "none.pem" in missing.found


def test_a_key_that_everybody_may_read_is_warned_of(authority: Authority) -> None:
    issued = authority.issue(days=(-1, 90))
    issued.key.chmod(0o644)
    found = check_certificates(with_certificate(issued))
    assert found.warning and str(issued.key) in found.found


def test_callers_in_the_open_are_warned_of() -> None:
    def callers(peers: dict[str, dict[str, object]] | None = None, **dimse: object) -> str:
        found = check_callers(Settings(peers=peers or {}, dimse=dimse))
        assert found.ok
        return found.found if found.warning else ""

    assert not callers()
    assert "without TLS" in callers(bind="0.0.0.0:104")
    assert "accept_unknown" in callers(bind="0.0.0.0:104", accept_unknown=True)
    tls = {"bind": "0.0.0.0:2762", "certificate": "c", "key": "k"}
    near = {"near": {"ae_title": "NEAR", "addresses": ["10.0.0.1"]}}
    assert not callers(near, tls=tls)
    assert "AE title, which anybody can take: far" in callers({**near, "far": {"ae_title": "FAR"}}, tls=tls)
    assert "LISTED" in callers(near, tls=tls, calling_ae_titles=["LISTED"])
