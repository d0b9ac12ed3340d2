import pytest

from dicomsvc.config import Settings, is_loopback, load_settings, split_address
from dicomsvc.errors import ConfigurationError


def test_all_defaults_run_on_loopback_without_a_file() -> None:
    settings = Settings()
    assert is_loopback(settings.http.bind)
    assert is_loopback(settings.dimse.bind)


@pytest.mark.parametrize("bind", ["0.0.0.0:80", "10.0.0.1:80", "[::]:80", "127.0.0.1.example.org:80"])
def test_an_address_that_others_reach_needs_authentication(bind: str) -> None:
    with pytest.raises(ConfigurationError, match="dicomsvc token"):
        load_settings({"http": {"bind": bind}})
    token = {"someone": "0" * 64}
    assert load_settings({"http": {"bind": bind}, "auth": {"tokens": token}}).http.bind == bind


def test_a_port_with_tls_needs_a_certificate_and_its_key() -> None:
    with pytest.raises(ConfigurationError, match=r"dimse\.tls\.certificate"):
        load_settings({"dimse": {"tls": {"bind": "127.0.0.1:2762"}}})
    with pytest.raises(ConfigurationError, match="`certificate` and `key`"):
        load_settings({"http": {"tls": {"certificate": "a.pem"}}})
    with pytest.raises(ConfigurationError, match="client_ca"):
        load_settings({"http": {"tls": {"certificate": "a", "key": "b", "require_client_certificate": True}}})


def test_a_peer_is_refused_when_it_is_wrong_and_the_message_says_where() -> None:
    def refused(match: str, **peer: object) -> None:
        with pytest.raises(ConfigurationError, match=match):
            load_settings({"peers": {"pacs": {"ae_title": "PACS", **peer}}})

    refused(r"peers\.pacs\.ae_title", ae_title="SEVENTEEN LETTERS")
    refused(r"peers\.pacs\.may", may=["delete"])
    refused(r"peers\.pacs\.addresses", addresses=["10.0.0.300"])
    refused("64 hex digits", certificates=["12:34"])
    refused(r"peers\.pacs\.port", port=0)
    two = {"pacs": {"ae_title": "PACS"}, "archive": {"ae_title": "PACS"}}
    with pytest.raises(ConfigurationError, match=r"peers\.archive has the AE title PACS"):
        load_settings({"peers": two})
    with pytest.raises(ConfigurationError, match="a name has up to 64 letters"):
        load_settings({"peers": {"my pacs": {"ae_title": "PACS"}}})


def test_a_fingerprint_may_be_written_with_colons() -> None:
    settings = load_settings({"peers": {"pacs": {"ae_title": "PACS", "certificates": [":".join(["AB"] * 32)]}}})
    assert settings.peers["pacs"].certificates == ("ab" * 32,)


def test_reports_are_taken_from_others_only_when_they_are_named() -> None:
    assert load_settings().hl7.bind is None
    with pytest.raises(ConfigurationError, match=r"hl7\.peers"):
        load_settings({"hl7": {"bind": "0.0.0.0:2575"}})
    settings = load_settings({"hl7": {"bind": "0.0.0.0:2575", "peers": ["10.1.2.3"]}})
    assert settings.hl7.peers == ("10.1.2.3",)


def test_a_misspelt_setting_is_named(tmp_path, monkeypatch) -> None:
    file = tmp_path / "dicomsvc.toml"
    file.write_text("[dimse]\nport = 104\n")
    monkeypatch.setenv("DICOMSVC_CONFIG", str(file))
    with pytest.raises(ConfigurationError, match=r"dimse\.port"):
        load_settings()


def test_arguments_go_before_environment_before_file(tmp_path, monkeypatch) -> None:
    file = tmp_path / "dicomsvc.toml"
    file.write_text('[dimse]\nae_title = "FILE"\nidle_timeout_seconds = 7\nmax_associations = 3\n')
    monkeypatch.setenv("DICOMSVC_CONFIG", str(file))
    monkeypatch.setenv("DICOMSVC_DIMSE__AE_TITLE", "ENVIRONMENT")
    monkeypatch.setenv("DICOMSVC_DIMSE__MAX_ASSOCIATIONS", "4")
    dimse = load_settings({"dimse": {"ae_title": "ARGUMENT"}}).dimse
    assert (dimse.ae_title, dimse.max_associations, dimse.idle_timeout_seconds) == ("ARGUMENT", 4, 7)


@pytest.mark.parametrize("bind", ["localhost", "localhost:http", "127.0.0.1:99999", ":"])
def test_an_address_without_a_port_is_refused(bind: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address(bind)


def test_ipv6_addresses_lose_their_brackets() -> None:
    assert split_address("[::1]:104") == ("::1", 104)
