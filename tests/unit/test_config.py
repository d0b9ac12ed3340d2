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


def test_a_dicom_port_that_others_reach_needs_a_list_of_callers() -> None:
    with pytest.raises(ConfigurationError, match="calling_ae_titles"):
        load_settings({"dimse": {"bind": "0.0.0.0:104"}})
    settings = load_settings({"dimse": {"bind": "0.0.0.0:104", "calling_ae_titles": ["SCANNER"]}})
    assert settings.dimse.calling_ae_titles == ("SCANNER",)


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
