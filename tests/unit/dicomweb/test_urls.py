import pytest

from dicomsvc.config import HttpSettings
from dicomsvc.dicomweb.urls import dicomweb_root, instance_url


def root(headers: dict[str, str], client: str = "203.0.113.9", **settings: object) -> str:
    scope = {
        "scheme": "http",
        "server": ("10.1.1.1", 8080),
        "client": (client, 40000),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    return dicomweb_root(scope, HttpSettings.model_validate(settings))


def test_the_configured_root_wins() -> None:
    assert root({"host": "other"}, public_url="https://slides.example.org/x/") == (
        "https://slides.example.org/x/dicomweb"
    )


def test_the_host_header_is_used() -> None:
    assert root({"host": "pacs.example.org:8042"}) == "http://pacs.example.org:8042/dicomweb"
    assert root({"host": "[::1]:8042"}) == "http://[::1]:8042/dicomweb"


def test_a_port_that_the_client_left_out_is_added() -> None:
    assert root({"host": "10.1.1.1"}) == "http://10.1.1.1:8080/dicomweb"
    assert root({"host": "pacs"}) == "http://pacs/dicomweb"
    assert root({"host": "10.1.1.1", "x-forwarded-proto": "https"}, "127.0.0.1") == "https://10.1.1.1/dicomweb"


@pytest.mark.parametrize("host", ["", 'a"b', "a/b", "a b", "user@evil", "a:999999", "\r\nx"])
def test_a_malformed_host_is_replaced_by_our_own_address(host: str) -> None:
    assert root({"host": host}) == "http://10.1.1.1:8080/dicomweb"


def test_forwarding_headers_of_a_stranger_are_ignored() -> None:
    headers = {"host": "pacs", "x-forwarded-host": "evil", "forwarded": "host=evil;proto=https"}
    assert root(headers) == "http://pacs/dicomweb"


def test_forwarding_headers_of_a_trusted_proxy_are_believed() -> None:
    headers = {"host": "inside", "x-forwarded-host": "pacs.org", "x-forwarded-proto": "https"}
    assert root(headers, "127.0.0.1") == "https://pacs.org/dicomweb"
    assert root({**headers, "x-forwarded-prefix": "/imaging/"}, "127.0.0.1") == ("https://pacs.org/imaging/dicomweb")
    assert root({"host": "in", "forwarded": 'for=1.2.3.4;host="pacs.org:444";proto=https'}, "127.0.0.1") == (
        "https://pacs.org:444/dicomweb"
    )


def test_a_network_of_proxies_can_be_trusted() -> None:
    headers = {"host": "inside", "x-forwarded-host": "pacs.org"}
    assert root(headers, "10.2.3.4", trusted_proxies=("10.0.0.0/8",)) == "http://pacs.org/dicomweb"


def test_a_forged_entry_before_the_proxys_own_is_not_believed() -> None:
    assert root({"host": "in", "x-forwarded-host": "evil, pacs.org"}, "127.0.0.1") == "http://pacs.org/dicomweb"
    forged = "for=9.9.9.9;host=evil;proto=https, for=203.0.113.9;host=pacs.org;proto=https"
    assert root({"host": "in", "forwarded": forged}, "127.0.0.1") == "https://pacs.org/dicomweb"


def test_a_chain_of_trusted_proxies_is_followed_to_its_outer_end() -> None:
    chain = "for=203.0.113.9;host=pacs.org;proto=https, for=127.0.0.1;host=inner"
    assert root({"host": "in", "forwarded": chain}, "127.0.0.1") == "https://pacs.org/dicomweb"


@pytest.mark.parametrize("prefix", ["//evil.org", '/a"b', "javascript:", "/a/../b?"])
def test_a_strange_prefix_is_left_out(prefix: str) -> None:
    assert root({"host": "in", "x-forwarded-prefix": prefix}, "127.0.0.1") == "http://in/dicomweb"


def test_an_instance_has_its_place_below_the_root() -> None:
    assert instance_url("http://h/dicomweb", "1", "2", "3") == "http://h/dicomweb/studies/1/series/2/instances/3"
