"""The trail sent by syslog over TLS: to a collector of ours, and to rsyslog."""

import contextlib
import logging
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lxml import etree

from dicomsvc.audit import Outcome, Party, Query, SecurityAlert, record
from dicomsvc.audit.sending import Sender
from dicomsvc.audit.syslog import frame
from dicomsvc.audit.trail import Keeper, Link, audit_event, link_of
from dicomsvc.audit.upkeep import AuditUpkeep
from dicomsvc.config import AuditSettings, Settings
from dicomsvc.errors import PeerFailure
from dicomsvc.store import Store
from tests.certificates import Authority

ADA = Party("ada", "10.0.0.8")
SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).parents[1] / "data" / "audit-message.rng"))
MESSAGE = re.compile(
    rb"<(8[45])>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\S+) dicomsvc (\d+) DICOM\+RFC3881 - \xef\xbb\xbf(.*)",
    re.DOTALL,
)


class Listener:
    """A collector: takes messages with their length before them (RFC 5425) until `stop`."""

    def __init__(self, context: ssl.SSLContext, port: int = 0) -> None:
        self.messages: list[bytes] = []
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(accepted, server_side=True) as self._connection:
                    self._read(self._connection.makefile("rb"))
            except OSError:
                continue

    def _read(self, stream: object) -> None:
        while True:
            length = b""
            while not length.endswith(b" "):
                byte = stream.read(1)  # type: ignore[attr-defined]
                if not byte:
                    return
                length += byte
            self.messages.append(stream.read(int(length)))  # type: ignore[attr-defined]

    def stop(self) -> None:
        for end in (self._listener, self._connection):
            if end is not None:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(end, socket.SHUT_RDWR)
                end.close()
        self._thread.join(10)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    own = authority.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def listen(context: ssl.SSLContext) -> Iterator[Callable[..., Listener]]:
    started: list[Listener] = []

    def start(port: int = 0) -> Listener:
        started.append(Listener(context, port))
        return started[-1]

    yield start
    for listener in started:
        listener.stop()


@pytest.fixture
def audit_settings(authority: Authority) -> Callable[[int], AuditSettings]:
    own = authority.issue("pacs")
    return lambda port: AuditSettings(
        collector=f"localhost:{port}", ca=authority.certificate, **own.settings(), timeout_seconds=10
    )


def note(store: Store, *numbers: int) -> None:
    for number in numbers:
        record(store.engine, Query(user=ADA, subject="/dicomweb/studies", query=b"PatientID=MARKER-%d" % number))
    Keeper(store.engine, store.settings).keep(everything=True)


def links(store: Store) -> list[Link]:
    with store.engine.connect() as connection:
        return [link_of(row) for row in connection.execute(audit_event.select().order_by(audit_event.c.id))]


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_messages_go_out_whole_in_their_order_and_once(
    store: Store, listen: Callable[..., Listener], audit_settings: Callable[[int], AuditSettings]
) -> None:
    listener = listen()
    sender = Sender(store.engine, audit_settings(listener.port))
    note(store, *range(250))
    record(store.engine, SecurityAlert(kind="NodeAuthentication", subject="urn:x", outcome=Outcome.MINOR_FAILURE))
    note(store)
    assert (sender.counters()["dicomsvc_audit_unsent"], sender.send(), sender.send(), sender.send()) == (
        251,
        200,
        51,
        0,
    )
    wait_until(lambda: len(listener.messages) == 251)
    assert [re.fullmatch(MESSAGE, each).group(5).decode() for each in listener.messages] == [  # type: ignore[union-attr]
        link.message for link in links(store)
    ]
    for each in listener.messages:
        found = re.fullmatch(MESSAGE, each)
        assert found is not None
        assert found.group(3) == socket.gethostname().encode()
        assert SCHEMA.validate(etree.fromstring(found.group(5)))
    assert [each[:4] for each in listener.messages[-2:]] == [b"<85>", b"<84>"]
    assert sender.counters() == {
        "dicomsvc_audit_sent_total": 251,
        "dicomsvc_audit_unsent": 0,
        "dicomsvc_audit_unsent_seconds": 0,
    }
    # Another process goes on where this one was.
    sender.close()
    note(store, 1)
    again = Sender(store.engine, audit_settings(listener.port))
    assert again.send() == 1
    again.close()


def test_while_the_collector_is_down_nothing_is_lost_and_it_catches_up_in_order(
    store: Store, listen: Callable[..., Listener], audit_settings: Callable[[int], AuditSettings]
) -> None:
    first = listen()
    sender = Sender(store.engine, audit_settings(first.port))
    note(store, 1, 2)
    assert sender.send() == 2
    wait_until(lambda: len(first.messages) == 2)
    first.stop()
    note(store, 3, 4, 5)
    for _ in range(2):
        with pytest.raises(PeerFailure):
            sender.send()
    assert sender.counters()["dicomsvc_audit_unsent"] == 3
    assert sender.counters()["dicomsvc_audit_unsent_seconds"] > 0
    second = listen(first.port)
    assert sender.send() == 3
    wait_until(lambda: len(second.messages) == 3)
    sender.close()
    told = b"".join(first.messages + second.messages)
    assert [message.partition(b"\xef\xbb\xbf")[2].decode() for message in first.messages + second.messages] == [
        link.message for link in links(store)
    ]
    assert told.count(b"<AuditMessage>") == 5


def test_the_worker_keeps_and_sends_by_itself_and_logs_nothing_of_a_patient(
    store: Store,
    settings: Settings,
    listen: Callable[..., Listener],
    audit_settings: Callable[[int], AuditSettings],
    free_port: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = settings.model_copy(update={"audit": audit_settings(free_port)})
    upkeep = AuditUpkeep(store.engine, settings, anchor_seconds=0)
    upkeep.start()
    try:
        record(store.engine, Query(user=ADA, subject="/dicomweb/studies", query=b"PatientName=MARKER"))
        wait_until(lambda: "the audit collector" in caplog.text)
        listener = listen(free_port)
        wait_until(lambda: len(listener.messages) == 1)
        wait_until(lambda: upkeep.counters()["dicomsvc_audit_unsent"] == 0)
    finally:
        upkeep.stop()
    assert upkeep.counters()["dicomsvc_audit_events_total"] == 1
    assert (store.layout.root / "audit-anchors").read_text().startswith("1:")
    assert "MARKER" not in caplog.text
    assert "ada" not in caplog.text


def test_a_collector_with_another_authoritys_certificate_gets_nothing(
    store: Store, listen: Callable[..., Listener], tmp_path: Path
) -> None:
    listener = listen()
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "Other CA")
    note(store, 1)
    sender = Sender(
        store.engine,
        AuditSettings(collector=f"localhost:{listener.port}", ca=other.certificate, **other.issue().settings()),
    )
    with pytest.raises(PeerFailure, match="certificate is not accepted"):
        sender.send()
    assert listener.messages == []
    assert sender.counters()["dicomsvc_audit_unsent"] == 1


def test_two_senders_do_not_send_at_the_same_time(
    store: Store, listen: Callable[..., Listener], audit_settings: Callable[[int], AuditSettings]
) -> None:
    listener = listen()
    note(store, *range(100))
    senders = [Sender(store.engine, audit_settings(listener.port)) for _ in range(3)]

    def send(sender: Sender) -> None:
        while sender.counters()["dicomsvc_audit_unsent"]:
            sender.send()
        sender.close()

    threads = [threading.Thread(target=send, args=(sender,)) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(sender.sent for sender in senders) == 100
    wait_until(lambda: len(listener.messages) >= 100)
    assert len(listener.messages) == 100


def test_a_frame_tells_its_length_in_octets(store: Store) -> None:
    record(store.engine, Query(user=Party("王医生"), subject="/x", query=b""))
    note(store)
    [link] = links(store)
    length, _, message = frame(link, "host").partition(b" ")
    assert int(length) == len(message)
    assert "王医生".encode() in message


@pytest.mark.peer
def test_rsyslog_takes_the_trail(
    store: Store, authority: Authority, audit_settings: Callable[[int], AuditSettings], free_port: int, folder: Path
) -> None:
    program = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
    if program is None or not list(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so")):
        pytest.skip("rsyslog with rsyslog-gnutls is not installed (`make setup-test`)")
    own = authority.issue()
    configuration = folder / "rsyslog.conf"
    configuration.write_text(
        f"""
        global(workDirectory="{folder}" maxMessageSize="64k" defaultNetstreamDriver="gtls"
          defaultNetstreamDriverCAFile="{authority.certificate}"
          defaultNetstreamDriverCertFile="{own.certificate}" defaultNetstreamDriverKeyFile="{own.key}")
        module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
        input(type="imtcp" address="127.0.0.1" port="{free_port}")
        template(name="whole" type="string" string="%syslogfacility-text% %msgid% %app-name% %msg%\\n")
        action(type="omfile" file="{folder}/received" template="whole")
        """
    )
    with (folder / "rsyslog.log").open("w") as log:
        daemon = subprocess.Popen(
            [program, "-n", "-f", str(configuration), "-i", str(folder / "pid")], stdout=log, stderr=log
        )
    try:
        sender = Sender(store.engine, audit_settings(free_port))
        note(store, *range(30))

        def sent() -> bool:
            try:
                return sender.send() == 30
            except PeerFailure:
                return False

        wait_until(sent)
        received = folder / "received"
        wait_until(lambda: received.exists() and received.read_bytes().count(b"\n") == 30)
        sender.close()
    finally:
        daemon.terminate()
        daemon.wait(20)
    lines = received.read_bytes().splitlines()
    head = b"authpriv DICOM+RFC3881 dicomsvc "
    assert all(line.startswith(head) for line in lines)
    bodies = [line.removeprefix(head).removeprefix(b"\xef\xbb\xbf").decode() for line in lines]
    assert bodies == [link.message for link in links(store)]
