"""Webhooks go where they may and nowhere else, whatever a resolver or a server says."""

import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dicomsvc.config import RoutingSettings
from dicomsvc.errors import NotAllowed, PeerFailure
from dicomsvc.routing.addresses import checked_addresses
from dicomsvc.routing.forwards import Forward, ForwardState
from dicomsvc.routing.http import HttpClient, Patience, Url
from dicomsvc.routing.webhooks import SIGNATURE_HEADER, TIMESTAMP_HEADER, post_webhook

SECRET = "a secret of sixteen or more"
HOST = "hooks.example.org"


def routing(url: str = f"https://{HOST}/in", **hosts: tuple[str, ...]) -> RoutingSettings:
    listed = {name.replace("_", "."): networks for name, networks in hosts.items()} or {HOST: ()}
    return RoutingSettings(webhooks={"his": {"url": url, "secret": SECRET}}, webhook_hosts=listed)


def record(**changes: Any) -> Forward:
    values: dict[str, Any] = dict.fromkeys(Forward.__dataclass_fields__, 0)
    values |= {
        "id": 7,
        "rule": "r",
        "destination": "his",
        "study_instance_uid": "1.2",
        "series_instance_uid": "1.2.3",
        "state": ForwardState.RUNNING,
        "instances": 4,
        "created": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return Forward(**values | changes)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "not an address",
    ],
)
def test_a_host_that_resolves_into_a_closed_network_is_not_connected_to(address: str) -> None:
    with pytest.raises(NotAllowed):
        checked_addresses(HOST, 443, routing(), lambda host, port: [address])
    with pytest.raises(NotAllowed):
        checked_addresses(HOST, 443, routing(), lambda host, port: ["93.184.216.34", address])


def test_public_addresses_and_listed_networks_are_connected_to() -> None:
    public = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]
    assert checked_addresses(HOST, 443, routing(), lambda host, port: public) == tuple(public)
    listed = routing(hooks_example_org=("10.1.0.0/16", "::1/128"))
    assert checked_addresses(HOST, 443, listed, lambda host, port: ["10.1.2.3", "::1"]) == ("10.1.2.3", "::1")
    with pytest.raises(NotAllowed):
        checked_addresses(HOST, 443, listed, lambda host, port: ["10.2.0.1"])


def test_a_host_that_is_not_listed_is_never_asked_for() -> None:
    def asked(host: str, port: int) -> list[str]:
        raise AssertionError("it was resolved")

    with pytest.raises(NotAllowed):
        checked_addresses("other.example.org", 443, routing(), asked)


def test_a_name_that_cannot_be_resolved_may_be_tried_again() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror("unknown")

    with pytest.raises(PeerFailure):
        checked_addresses(HOST, 443, routing(), unknown)


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield httpd.server_address[1]
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def local(port: int) -> RoutingSettings:
    return routing(f"http://{HOST}:{port}/in?x=1", hooks_example_org=("127.0.0.1/32",))


def test_a_webhook_says_what_is_there_and_is_signed() -> None:
    got: dict[str, Any] = {}

    def take(request: BaseHTTPRequestHandler, body: bytes) -> None:
        got.update(path=request.path, headers=dict(request.headers), body=body)
        request.send_response(204)
        request.end_headers()

    with server(take) as port:
        assert post_webhook(record(), local(port), resolver=lambda host, _: ["127.0.0.1"]) == 204
    assert got["path"] == "/in?x=1"
    assert got["headers"]["Host"] == f"{HOST}:{port}"
    assert json.loads(got["body"]) == {
        "event": "series-stable",
        "rule": "r",
        "delivery": 7,
        "at": "2026-01-02T00:00:00+00:00",
        "study_instance_uid": "1.2",
        "series_instance_uid": "1.2.3",
        "instances": 4,
    }
    signed = got["headers"][TIMESTAMP_HEADER].encode() + b"." + got["body"]
    assert got["headers"][SIGNATURE_HEADER] == "sha256=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()


def test_the_connection_is_made_to_the_address_that_was_checked_with_one_look_up() -> None:
    """A resolver that says something else the second time (DNS rebinding) is not asked a second time."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])

    def take(request: BaseHTTPRequestHandler, body: bytes) -> None:
        request.send_response(200)
        request.end_headers()

    with server(take) as port:
        assert post_webhook(record(), local(port), resolver=lambda host, _: next(answers)) == 200
    assert next(answers) == ["127.0.0.2"]


def test_no_redirect_is_followed() -> None:
    paths: list[str] = []

    def redirect(request: BaseHTTPRequestHandler, body: bytes) -> None:
        paths.append(request.path)
        request.send_response(307)
        request.send_header("Location", "/elsewhere")
        request.end_headers()

    with server(redirect) as port:
        assert post_webhook(record(), local(port), resolver=lambda host, _: ["127.0.0.1"]) == 307
    assert paths == ["/in?x=1"]


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    def flood(request: BaseHTTPRequestHandler, body: bytes) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while True:
                request.wfile.write(bytes(65536))
        except OSError:
            pass

    with server(flood) as port:
        assert post_webhook(record(), local(port), resolver=lambda host, _: ["127.0.0.1"]) == 200


def test_an_answer_that_drips_is_cut_off() -> None:
    def drip(request: BaseHTTPRequestHandler, body: bytes) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + bytes(1000):
                request.wfile.write(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass

    with server(drip) as port:
        started = time.monotonic()
        url = Url.parse(f"http://{HOST}:{port}/")
        with HttpClient(url, ["127.0.0.1"], patience=Patience(5, 5, 1.0)) as client, pytest.raises(PeerFailure):
            client.post("/", {}, [b"{}"], 2, most=10)
        assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "hosts, url",
    [
        ({"other.example.org": ()}, f"https://{HOST}/in"),
        ({HOST: ("10.0.0.0/33",)}, f"https://{HOST}/in"),
        ({HOST: ()}, f"ftp://{HOST}/in"),
        ({HOST: ()}, f"https://user:password@{HOST}/in"),
        ({HOST: ()}, f"https://{HOST}@169.254.169.254/in"),
    ],
)
def test_settings_that_would_let_a_webhook_go_elsewhere_are_refused(hosts: dict[str, Any], url: str) -> None:
    with pytest.raises(ValueError):
        RoutingSettings(webhooks={"his": {"url": url, "secret": SECRET}}, webhook_hosts=hosts)
