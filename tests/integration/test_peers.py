"""Peers: who is let in, what they may, how they are added and called."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from dicomsvc.audit import Party
from dicomsvc.config import DimseSettings, PeerSettings, Permission, Settings
from dicomsvc.dimse import DimseServer, Peer, PeerFailure, echo, send_files
from dicomsvc.dimse.peer_book import PeerBook
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.errors import BadRequest, Conflict, NotFound, OutOfResources
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from dicomsvc.store.tables import audit
from tests.conftest import RunningService, require_program, start_service
from tests.instances import write_instances
from tests.waiting import eventually

ADMIN = Party("ana", "127.0.0.1")
Serve = Callable[..., DimseServer]


@pytest.fixture
def serve(settings: Settings) -> Iterator[Serve]:
    opened: list[tuple[DimseServer, Store]] = []

    def start(peers: dict[str, dict[str, object]] | None = None, **dimse: object) -> DimseServer:
        configured = settings.model_copy(
            update={
                "peers": {name: PeerSettings(**values) for name, values in (peers or {}).items()},
                "dimse": DimseSettings(**{"bind": "127.0.0.1:0", **dimse}),
            }
        )
        store = Store(configured)
        server = DimseServer(configured.dimse, SERVICES, store)
        server.start()
        opened.append((server, store))
        return server

    yield start
    for server, store in opened:
        server.stop(2)
        store.close()


def as_caller(server: DimseServer, ae_title: str) -> Peer:
    return Peer("127.0.0.1", server.port, "DICOMSVC", ae_title)


def may_associate(server: DimseServer, ae_title: str) -> bool:
    try:
        echo(as_caller(server, ae_title))
    except PeerFailure as refused:
        assert "does not know our AE title" in refused.message
        return False
    return True


def test_on_loopback_with_nobody_configured_anybody_may_associate(serve: Serve) -> None:
    assert may_associate(serve(), "WHOEVER")


def test_once_a_peer_is_configured_only_peers_may_associate(serve: Serve) -> None:
    server = serve({"scanner": {"ae_title": "SCANNER"}})
    assert may_associate(server, "SCANNER")
    assert not may_associate(server, "WHOEVER")
    assert server.counts().rejected == {3: 1}


def test_in_the_open_nobody_may_associate_who_is_not_configured(serve: Serve) -> None:
    server = serve(bind="0.0.0.0:0")
    assert not may_associate(server, "WHOEVER")
    assert may_associate(serve(bind="0.0.0.0:0", accept_unknown=True), "WHOEVER")


def test_listed_callers_need_no_peer(serve: Serve) -> None:
    server = serve({"scanner": {"ae_title": "SCANNER"}}, calling_ae_titles=["LISTED"])
    assert may_associate(server, "LISTED")
    assert may_associate(server, "SCANNER")
    assert not may_associate(server, "OTHER")


def test_a_peer_calls_from_its_addresses_only(serve: Serve) -> None:
    server = serve(
        {
            "near": {"ae_title": "NEAR", "addresses": ["10.9.0.0/16", "127.0.0.0/8"]},
            "far": {"ae_title": "FAR", "addresses": ["10.9.0.1"]},
        },
        calling_ae_titles=["FAR"],
    )
    assert may_associate(server, "NEAR")
    assert not may_associate(server, "FAR")


@pytest.mark.peer
def test_echoscu_sees_the_reason_of_the_rejection(serve: Serve) -> None:
    server = serve({"scanner": {"ae_title": "SCANNER"}})
    command = [require_program("echoscu"), "-v", "-aet", "WHOEVER", "127.0.0.1", str(server.port)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    assert ended.returncode != 0
    assert "Calling AE Title Not Recognized" in ended.stdout + ended.stderr
    command[3] = "SCANNER"
    assert subprocess.run(command, check=False, capture_output=True, timeout=20).returncode == 0


def test_a_peer_that_may_not_store_gets_0124_and_may_go_on(serve: Serve, tmp_path: Path) -> None:
    write_instances(tmp_path, 2)
    server = serve(
        {"viewer": {"ae_title": "VIEWER", "may": ["query"]}, "scanner": {"ae_title": "SCANNER", "may": ["store"]}}
    )
    paths = sorted(tmp_path.iterdir())
    refused = list(send_files(paths, as_caller(server, "VIEWER")))
    assert [result.status for result in refused] == [0x0124, 0x0124]
    assert server.counts().failed == {0x0124: 2}
    assert server.counts().associations == 1
    taken = list(send_files(paths, as_caller(server, "SCANNER")))
    assert [result.status for result in taken] == [0, 0]


def test_unknown_callers_may_do_what_the_settings_say(serve: Serve, tmp_path: Path) -> None:
    write_instances(tmp_path, 1)
    server = serve(unknown_may=["query"])
    assert [result.status for result in send_files(sorted(tmp_path.iterdir()), as_caller(server, "X"))] == [0x0124]


def test_a_peer_added_at_run_time_is_let_in_within_seconds(serve: Serve, store: Store) -> None:
    server = serve({"scanner": {"ae_title": "SCANNER"}})
    book = PeerBook(store.engine, store.settings)
    assert not may_associate(server, "NEW")
    book.add("new", {"ae_title": "NEW", "may": ["store"]}, who=ADMIN)
    assert eventually(lambda: may_associate(server, "NEW"))
    book.remove("new", who=ADMIN)
    assert eventually(lambda: not may_associate(server, "NEW"))


def test_a_database_that_is_gone_stops_no_echo(
    settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dicomsvc.dimse import peers

    server = serve({"scanner": {"ae_title": "SCANNER"}})
    assert may_associate(server, "SCANNER")
    gone = OutOfResources("the database does not answer; try again later")

    def hang(engine: object) -> dict[str, PeerSettings]:
        time.sleep(3)
        raise gone

    monkeypatch.setattr(peers, "read_peers", hang)
    monkeypatch.setattr(peers, "_FRESH_SECONDS", 0.0)
    time.sleep(3.1)  # what is known is no longer fresh
    for _ in range(5):
        started = time.monotonic()
        assert may_associate(server, "SCANNER")
        assert time.monotonic() - started < 2
    assert not may_associate(server, "WHOEVER")


def test_the_settings_win_over_the_table(settings: Settings, store: Store) -> None:
    book = PeerBook(store.engine, settings)
    book.add("pacs", {"ae_title": "OLD", "host": "old.example.org"}, who=ADMIN)
    book.add("other", {"ae_title": "PACS", "host": "other.example.org"}, who=ADMIN)
    book.add("third", {"ae_title": "THIRD"}, who=ADMIN)
    configured = settings.model_copy(update={"peers": {"pacs": PeerSettings(ae_title="PACS", host="new.example.org")}})
    known = KnownPeers(store.engine, configured)
    assert [peer.name for peer in known.all()] == ["pacs", "third"]
    found = known.by_ae_title("PACS")
    assert found is not None and found.host == "new.example.org"
    assert known.by_ae_title("OLD") is None
    assert known.by_name("other") is None
    hidden = {(entry.name, entry.configured): entry.hidden_by for entry in PeerBook(store.engine, configured).entries()}
    assert hidden == {
        ("other", False): "pacs",
        ("pacs", True): None,
        ("pacs", False): "pacs",
        ("third", False): None,
    }


def test_an_ae_title_is_unique_over_settings_and_table(settings: Settings, store: Store) -> None:
    configured = settings.model_copy(update={"peers": {"pacs": PeerSettings(ae_title="PACS")}})
    book = PeerBook(store.engine, configured)
    book.add("a", {"ae_title": "A"}, who=ADMIN)
    with pytest.raises(Conflict, match="peer pacs of the settings"):
        book.add("b", {"ae_title": "PACS"}, who=ADMIN)
    with pytest.raises(Conflict):
        book.add("b", {"ae_title": "A"}, who=ADMIN)
    with pytest.raises(Conflict):
        book.add("a", {"ae_title": "B"}, who=ADMIN)
    with pytest.raises(Conflict, match=r"\[peers\.pacs\]"):
        book.change("pacs", {"port": 105}, who=ADMIN)
    with pytest.raises(Conflict, match=r"\[peers\.pacs\]"):
        book.remove("pacs", who=ADMIN)
    with pytest.raises(NotFound):
        book.remove("nobody", who=ADMIN)
    with pytest.raises(BadRequest, match="profile"):
        book.add("b", {"ae_title": "B", "deidentify": "nonsense"}, who=ADMIN)


def test_how_a_peer_is_called(settings: Settings, store: Store) -> None:
    book = PeerBook(store.engine, settings)
    book.add(
        "pacs",
        {"ae_title": "PACS", "host": "pacs.example.org", "calling_ae_title": "LAB", "may": ["move_destination"]},
        who=ADMIN,
    )
    book.add("caller", {"ae_title": "CALLER"}, who=ADMIN)
    known = KnownPeers(store.engine, settings)
    pacs, caller = known.by_name("pacs"), known.by_name("caller")
    assert pacs is not None and caller is not None
    assert pacs.may == {Permission.MOVE_DESTINATION}
    call = known.call(pacs)
    assert (call.host, call.port, call.called_ae_title, call.calling_ae_title, call.tls) == (
        *("pacs.example.org", 104, "PACS", "LAB"),
        None,
    )
    with pytest.raises(BadRequest, match="has no host"):
        known.call(caller)


def test_who_changes_peers_is_recorded(settings: Settings, store: Store) -> None:
    book = PeerBook(store.engine, settings)
    book.add("pacs", {"ae_title": "PACS"}, who=ADMIN)
    book.change("pacs", {"port": 105}, who=ADMIN)
    with pytest.raises(NotFound):
        book.remove("nobody", who=ADMIN)
    book.remove("pacs", who=ADMIN)
    with store.engine.connect() as connection:
        rows = connection.execute(select(audit).where(audit.c.who == "ana").order_by(audit.c.id)).mappings().all()
    assert [row["address"] for row in rows] == ["127.0.0.1"] * 3
    told = [str(dict(row)) for row in rows]
    assert all(word in text for word, text in zip(("is added", "is changed", "is removed"), told, strict=True)), told


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with tempfile.TemporaryDirectory(prefix="dicomsvc-peers-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        toml = folder / "dicomsvc.toml"
        toml.write_text('[peers.self]\nae_title = "DICOMSVC"\nhost = "127.0.0.1"\nport = 1\nmay = ["store"]\n')
        running = start_service(folder / "data", environment={"DICOMSVC_CONFIG": str(toml)})
        yield running
        running.process.terminate()
        assert running.process.wait(40) == 0, running.log.read_text()


def command(service: RunningService, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dicomsvc", *arguments, "--data", str(service.data)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_peers_by_rest(service: RunningService) -> None:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        assert [peer["name"] for peer in client.get("/api/peers").json()] == ["self"]
        new = {"name": "loop", "ae_title": "LOOP", "host": "127.0.0.1", "port": service.dimse_port, "may": ["query"]}
        answer = client.post("/api/peers", json=new)
        assert answer.status_code == 201, answer.text
        assert answer.json()["written_in"] == "database"
        assert client.get("/api/peers/loop").json() == answer.json()
        assert client.post("/api/peers/loop/echo").json()["seconds"] >= 0
        changed = client.patch("/api/peers/loop", json={"port": 1, "may": ["store", "query"]})
        assert changed.json() == {**answer.json(), "port": 1, "may": ["query", "store"]}
        unreachable = client.post("/api/peers/loop/echo")
        assert unreachable.status_code == 502 and "127.0.0.1:1" in unreachable.json()["error"]
        assert client.delete("/api/peers/loop").status_code == 204
        assert client.get("/api/peers/loop").status_code == 404


def test_wrong_peers_are_refused_by_rest_with_what_is_wrong(service: RunningService) -> None:
    with httpx.Client(base_url=service.url, timeout=30) as client:

        def refused(status: int, says: str, **peer: object) -> None:
            answer = client.post("/api/peers", json={"name": "x", "ae_title": "X", **peer})
            assert (answer.status_code, says in answer.json()["error"]) == (status, True), answer.text

        refused(409, "[peers.self]", name="self")
        refused(409, "peer self of the settings", ae_title="DICOMSVC")
        refused(400, "ae_title", ae_title="A\\B")
        refused(400, "addresses", addresses=["10.0.0.0/33"])
        refused(400, "certificates", certificates=["1234"])
        refused(400, "name", name="a b")
        refused(400, "host", host=".example.org")
        refused(400, "host", host="exa mple")
        refused(400, "deidentify", deidentify="nonsense")
        refused(422, "may", may=["eat"])
        assert client.patch("/api/peers/self", json={"port": 3}).status_code == 409
        assert client.delete("/api/peers/self").status_code == 409
        assert client.patch("/api/peers/nobody", json={"port": 3}).status_code == 404
        huge = client.post("/api/peers", content=b"[" * (2 << 20), headers={"Content-Type": "application/json"})
        assert huge.status_code == 413


@pytest.mark.slow
def test_peers_by_command(service: RunningService, tmp_path: Path) -> None:
    write_instances(tmp_path, 1)
    port = str(service.dimse_port)
    added = command(
        service, "peers", "add", "here", "--ae", "HERE", "--host", "127.0.0.1", "--port", port, "--calling", "HERE",
        *("--may", "store", "--may", "query", "--address", "127.0.0.1", "--json"),
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    assert json.loads(added.stdout)["may"] == ["query", "store"]
    listed = command(service, "peers", "list")
    assert "HERE" in listed.stdout and "127.0.0.1:" + port in listed.stdout
    assert "(none)" in command(service, "peers", "show", "here").stdout
    # The service learns of it while it waits for nobody.
    assert eventually(lambda: command(service, "echo", "here").returncode == 0)
    sent = command(service, "send", "here", str(tmp_path))
    assert sent.returncode == 0 and "1 of 1 files stored by HERE@127.0.0.1" in sent.stdout
    again = command(service, "peers", "add", "here", "--ae", "THERE")
    assert again.returncode == 1 and "there is a peer here" in again.stderr
    assert command(service, "peers", "remove", "here").returncode == 0
    unknown = command(service, "echo", "here")
    assert unknown.returncode == 1 and "there is no peer 'here'" in unknown.stderr
    assert command(service, "echo", f"127.0.0.1:{port}", "--calling", "DICOMSVC").returncode == 0
