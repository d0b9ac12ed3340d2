"""Two nodes that send each other what they get; rules that have slides analysed; a DICOMweb service behind TLS."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from dicomsvc.config import DatabaseSettings, Settings
from dicomsvc.dimse import DimseServer
from dicomsvc.jobs import Jobs
from dicomsvc.objects.derived import SYNTHETIC
from dicomsvc.routing.admission import order_analyses
from dicomsvc.routing.forwards import Forwards, ForwardState
from dicomsvc.service.dimse import SERVICES
from dicomsvc.service.routing import analysis_order
from dicomsvc.store import Store
from tests.certificates import Authority
from tests.integration.commitment_peer import free_port
from tests.integration.routed import Carrier, opened, put, route, series_of, with_routing


@pytest.fixture
def other_database(database_server: str) -> Iterator[str]:
    """The URL of one more fresh database."""
    name = "test_of_the_other_node"
    maintenance = database_server.replace("/postgres?", "/template1?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE postgres')
    yield database_server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def node(settings: Settings, name: str, other: str, ports: dict[str, int], *, back: bool) -> Iterator[Store]:
    rule = {"name": "on", "send": [other], "stable_seconds": 0, "back": back}
    routed = with_routing(settings, peers={other: ports[other]}, rules=[rule])
    tree = routed.model_dump()
    tree["dimse"] |= {"bind": f"127.0.0.1:{ports[name]}", "ae_title": name}
    with opened(Settings(**tree)) as store:
        server = DimseServer(store.settings.dimse, SERVICES, store)
        server.start()
        try:
            yield store
        finally:
            server.stop(2)


@pytest.mark.parametrize("back", [False, True])
def test_two_nodes_that_send_each_other_all_they_get_come_to_rest(
    settings: Settings, other_database: str, folder: Path, *, back: bool
) -> None:
    other_settings = settings.model_copy(
        update={"data": folder / "other", "database": DatabaseSettings(url=SecretStr(other_database))}
    )
    ports = {"A": free_port(), "B": free_port()}
    with (
        node(settings, "A", "B", ports, back=back) as first,
        node(other_settings, "B", "A", ports, back=back) as second,
    ):
        put(first, *series_of(2))
        put(second, *series_of(1), source="analysis")
        for _ in range(4):
            for store in (first, second):
                Carrier(store).carry_all()
        made = [len(Forwards(store.engine).search()) for store in (first, second)]
        for store in (first, second):
            Carrier(store).carry_all()
            assert {each.state for each in Forwards(store.engine).search()} == {ForwardState.DONE}
        assert (
            [len(Forwards(store.engine).search()) for store in (first, second)] == made == ([2, 2] if back else [1, 1])
        )
        assert [len(store.changes()) for store in (first, second)] == [3, 3]


def test_a_rule_has_slides_analysed_but_not_what_a_model_made(settings: Settings) -> None:
    rules = [
        {"name": "count", "kind": "image", "analyze": ["nuclei-classical"], "stable_seconds": 0},
        {"name": "wrong", "kind": "image", "analyze": ["no-such-model"], "stable_seconds": 0},
    ]
    with opened(with_routing(settings, rules=rules)) as store:
        [slide], [made] = series_of(1), series_of(1)
        made.DerivationDescription = f"{SYNTHETIC} stain"
        put(store, slide)
        put(store, made, source="analysis")
        route(store)
        order_analyses(store.engine, analysis_order(store))
        by_rule = {(each.rule, each.series_instance_uid): each for each in Forwards(store.engine).search()}
        asked = by_rule["count", str(slide.SeriesInstanceUID)]
        [item] = Jobs(store.engine).get_all([asked.work_item or ""])
        assert (asked.state, item.kind, item.inputs["model"]) == (ForwardState.DONE, "analyze", "nuclei-classical")
        assert item.inputs["series_instance_uid"] == str(slide.SeriesInstanceUID)
        assert by_rule["count", str(made.SeriesInstanceUID)].work_item is None
        unknown = by_rule["wrong", str(slide.SeriesInstanceUID)]
        assert (unknown.state, "no-such-model" in unknown.reason) == (ForwardState.DEAD, True)
        assert len(Jobs(store.engine).search()) == 1


@contextmanager
def https(certificate: Path, key: Path) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield httpd.server_address[1]
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def test_a_web_service_is_called_by_tls_and_only_where_its_certificate_is_known(
    settings: Settings, folder: Path
) -> None:
    known, unknown = Authority(folder), Authority(folder, "Other CA")
    issued = known.issue()
    with https(issued.certificate, issued.key) as port:
        destinations = {
            "good": {"url": f"https://localhost:{port}/dicomweb", "ca": str(known.certificate)},
            "bad": {"url": f"https://localhost:{port}/dicomweb", "ca": str(unknown.certificate)},
        }
        rule = {"name": "web", "send": ["good", "bad"], "stable_seconds": 0}
        with opened(with_routing(settings, rules=[rule], destinations=destinations)) as store:
            put(store, *series_of(2))
            good, bad = Carrier(store).carry_all()
            assert (good.state, good.sent) == (ForwardState.DONE, 2)
            assert (bad.state, bad.waiting) == (ForwardState.PAUSING, 2)
            assert "TLS failed" in bad.reason and "certificate is not accepted" in bad.reason
