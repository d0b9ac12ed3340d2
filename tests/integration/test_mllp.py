"""ORU^R01 over MLLP from a client that is not ours (``hl7.client.MLLPClient``), and from peers that misbehave."""

import asyncio
import base64
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import hl7
import pytest
from hl7.client import MLLPClient

from dicomsvc.errors import OutOfResources
from dicomsvc.hl7.handlers import Handler, Handlers
from dicomsvc.hl7.mllp import Limits, MllpListener
from dicomsvc.reports.hl7.writing import Route, oru_message
from dicomsvc.reports.intake.mllp import Receive, ReportMessages
from dicomsvc.reports.intake.received import Answer, Outcome, ReceivedReport, ReportStatus
from tests.unit.reports.exchange_case import CASE, REPORT, TEXT, pdf, rtf

Answers = Callable[[ReceivedReport], Outcome]


def reports(receive: Receive) -> Handlers:
    return Handlers({("ORU", "R01"): Handler(ReportMessages(receive).handle)})


class Peer:
    """A listener on its own event loop, and what it received."""

    def __init__(self, answers: Answers | None = None, limits: Limits | None = None) -> None:
        self.received: list[ReceivedReport] = []
        self._known: set[str | None] = set()
        self._answers = answers or self._kept
        self.listener = MllpListener(("127.0.0.1", 0), reports(self._receive), limits)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._run(self.listener.start())

    def _run(self, coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)  # type: ignore[arg-type]

    async def _receive(self, report: ReceivedReport) -> Outcome:
        self.received.append(report)
        return self._answers(report)

    def _kept(self, report: ReceivedReport) -> Outcome:
        known = report.message_key in self._known
        self._known.add(report.message_key)
        return Outcome(Answer.DUPLICATE if known else Answer.ACCEPTED)

    def stop(self) -> None:
        self._run(self.listener.stop(5))
        self._loop.call_soon_threadsafe(self._loop.stop)

    def send(self, message: bytes) -> hl7.Message:
        """Send one message by the client of the hl7 package; its answer is parsed by that package too."""
        with MLLPClient("127.0.0.1", self.listener.port) as client:
            return answer_of(client.send_message(message))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.listener.port), timeout=20)


def answer_of(frame: bytes) -> hl7.Message:
    assert frame.startswith(b"\x0b") and frame.endswith(b"\x1c\r")
    return hl7.parse(frame[1:-2].decode("utf-8", "replace"))


def code_of(answer: hl7.Message) -> tuple[str, str]:
    return str(answer.segment("MSA")[1]), str(answer.segment("MSA")[2])


@contextlib.contextmanager
def listening(answers: Answers | None = None, limits: Limits | None = None) -> Iterator[Peer]:
    peer = Peer(answers, limits)
    try:
        yield peer
    finally:
        peer.stop()


@pytest.fixture
def peer() -> Iterator[Peer]:
    with listening() as found:
        yield found


def oru(
    text: str, control_id: str = "1", charset: str = "UNICODE UTF-8", codec: str = "utf-8", kind: str = "TX"
) -> bytes:
    return (
        rf"MSH|^~\&|LIS|PATH|DS|HOSP|20260102030405||ORU^R01^ORU_R01|{control_id}|P|2.5.1||||||{charset}"
        f"\rPID|1||P-1^^^HOSP^MR\rOBR|1|PL-1|S26-1|88305|||20260101|||||||||||||||20260101||||F"
        f"\rOBX|1|{kind}|D^Diagnosis||{text}||||||F\r"
    ).encode(codec)


@pytest.mark.parametrize(
    ("charset", "codec"), [("UNICODE UTF-8", "utf-8"), ("GB 18030-2000", "gb18030"), ("", "utf-8")]
)
def test_chinese_report_arrives_whole_and_is_accepted(peer: Peer, charset: str, codec: str) -> None:
    words = "左肾透明细胞型肾细胞癌，WHO/ISUP 2级，切缘阴性"
    assert code_of(peer.send(oru(words, "M-1", charset, codec))) == ("AA", "M-1")
    (report,) = peer.received
    assert (report.text, report.report_id, report.control_id, report.sender) == (words, "S26-1", "M-1", "LIS^PATH")


def test_what_we_send_goes_round(peer: Peer) -> None:
    assert code_of(peer.send(oru_message(REPORT, CASE, Route(), "C-9"))) == ("AA", "C-9")
    assert peer.received[0].text.startswith(TEXT.rstrip())


def test_pdf_and_rtf_are_read_from_the_message(peer: Peer) -> None:
    for number, (kind, content) in enumerate({"AP^PDF": pdf("Grade 2"), "TEXT^RTF": rtf("左肾癌")}.items()):
        data = f"LIS^{kind}^Base64^{base64.b64encode(content).decode()}"
        assert code_of(peer.send(oru(data, str(number), kind="ED")))[0] == "AA"
    assert [report.text.strip() for report in peer.received] == ["Grade 2", "左肾癌"]


def test_scanned_pdf_is_answered_with_the_reason(peer: Peer) -> None:
    answer = peer.send(oru(f"LIS^AP^PDF^Base64^{base64.b64encode(pdf(None)).decode()}", kind="ED"))
    assert code_of(answer)[0] == "AE"
    assert "no text layer" in str(answer.segment("ERR")[8])
    assert peer.received == []


def test_cancelled_report_is_passed_on_as_cancelled(peer: Peer) -> None:
    message = oru("x").replace(b"||||F\rOBX", b"||||X\rOBX").replace(b"||x||||||F", b"||x||||||X")
    assert code_of(peer.send(message))[0] == "AA"
    assert peer.received[0].status is ReportStatus.CANCELLED


def test_message_that_comes_twice_is_accepted_twice_and_known_the_second_time(peer: Peer) -> None:
    assert [code_of(peer.send(oru("Benign.", "7"))) for _ in range(2)] == [("AA", "7"), ("AA", "7")]
    first, second = peer.received
    assert first.message_key == second.message_key
    assert code_of(peer.send(oru("Another text.", "7"))) == ("AA", "7")
    assert peer.received[2].message_key != first.message_key


def test_rejected_report_is_an_error_with_the_reason() -> None:
    with listening(lambda report: Outcome(Answer.REJECTED, "unknown accession issuer")) as peer:
        answer = peer.send(oru("Benign."))
        assert code_of(answer) == ("AE", "1")
        assert str(answer.segment("ERR")[8]) == "unknown accession issuer"


@pytest.mark.parametrize("error", [OutOfResources("disk full: secret"), RuntimeError("secret report text")])
def test_receiver_that_fails_is_an_error_that_tells_nothing_of_the_report(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(report: ReceivedReport) -> Outcome:
        raise error

    with listening(fail) as peer:
        answer = peer.send(oru("Benign."))
        assert code_of(answer)[0] == "AE"
        assert "secret" not in str(answer) + caplog.text
        assert peer.listener.counts.answers == {"AE": 1}


def test_garbage_is_rejected_and_the_next_message_taken(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    with peer.connect() as peer_socket:
        for garbage in (b"\x0bgarbage \xff\xfe patient name\x1c\r", b"GET / HTTP/1.1\r\n\r\n\x1c\r"):
            peer_socket.sendall(garbage)
            assert code_of(answer_of(peer_socket.recv(65536))) == ("AR", "")
        peer_socket.sendall(b"noise\x0b" + oru("Benign.", "2") + b"\x1c\r")
        assert code_of(answer_of(peer_socket.recv(65536))) == ("AA", "2")
    assert "patient" not in caplog.text


def test_framing_without_start_and_carriage_return_is_understood(peer: Peer) -> None:
    with peer.connect() as peer_socket:
        peer_socket.sendall(oru("Benign.", "3") + b"\x1c")
        assert code_of(answer_of(peer_socket.recv(65536))) == ("AA", "3")
        for byte in b"\r\n\x0b" + oru("Benign.", "4") + b"\x1c\r":
            peer_socket.sendall(bytes([byte]))
        assert code_of(answer_of(peer_socket.recv(65536))) == ("AA", "4")


def test_messages_sent_in_one_go_are_answered_in_order(peer: Peer) -> None:
    frames = b"".join(b"\x0b" + oru("Benign.", str(number)) + b"\x1c\r" for number in range(20))
    with peer.connect() as peer_socket:
        peer_socket.sendall(frames)
        answers = b""
        while answers.count(b"\x1c\r") < 20:
            answers += peer_socket.recv(65536)
    said = [code_of(answer_of(part + b"\x1c\r")) for part in answers.split(b"\x1c\r")[:-1]]
    assert said == [("AA", str(number)) for number in range(20)]


@pytest.mark.parametrize(
    ("header", "code"),
    [("ADT^A01", "200"), ("ORU^R30", "201")],
)
def test_other_messages_are_rejected(peer: Peer, header: str, code: str) -> None:
    answer = peer.send(oru("x").replace(b"ORU^R01^ORU_R01", header.encode()))
    assert code_of(answer) == ("AR", "1")
    assert str(answer.segment("ERR")[3]).startswith(code)


def test_message_without_a_control_id_is_an_error(peer: Peer) -> None:
    assert code_of(peer.send(oru("x", ""))) == ("AE", "")


def test_sender_that_wants_no_answer_gets_none(peer: Peer) -> None:
    silent = oru("Benign.", "5").replace(b"|2.5.1||||||", b"|2.5.1|||NE|NE||")
    with peer.connect() as peer_socket:
        peer_socket.sendall(b"\x0b" + silent + b"\x1c\r\x0b" + oru("Benign.", "6") + b"\x1c\r")
        assert code_of(answer_of(peer_socket.recv(65536))) == ("AA", "6")
    assert len(peer.received) == 2


def test_message_of_ten_megabytes_is_taken(peer: Peer) -> None:
    begun = time.monotonic()
    with peer.connect() as peer_socket:
        peer_socket.sendall(b"\x0b" + oru("A kidney of 300 g. " * 550_000, "8") + b"\x1c\r")
        assert code_of(answer_of(peer_socket.recv(65536))) == ("AA", "8")
    assert len(peer.received[0].text) > 10_000_000
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("filler", [b"|", b"\\", b"~", b"\r", b"\x0b", b"A|\r"])
def test_ten_megabytes_of_garbage_are_answered_in_time(peer: Peer, filler: bytes) -> None:
    begun = time.monotonic()
    with peer.connect() as peer_socket:
        peer_socket.sendall(b"\x0b" + oru("Benign.", "9") + filler * (10_000_000 // len(filler)) + b"\x1c\r")
        assert code_of(answer_of(peer_socket.recv(65536)))[0] in ("AA", "AE", "AR")
    assert time.monotonic() - begun < 20
    assert code_of(peer.send(oru("Benign.", "10"))) == ("AA", "10")


def test_message_past_the_limit_is_rejected_and_the_connection_closed() -> None:
    with listening(limits=Limits(message_bytes=100_000)) as peer, peer.connect() as peer_socket:
        with contextlib.suppress(OSError):
            peer_socket.sendall(b"\x0bMSH|" + b"x" * 1_000_000)
        answer = b""
        with contextlib.suppress(OSError):
            while data := peer_socket.recv(65536):
                answer += data
        assert answer == b"" or code_of(answer_of(answer))[0] == "AR"
        assert code_of(peer.send(oru("Benign.", "11"))) == ("AA", "11")


def test_bytes_of_all_connections_together_are_bounded() -> None:
    with listening(limits=Limits(all_bytes=300_000)) as peer:
        sockets = [peer.connect() for _ in range(4)]
        for peer_socket in sockets:
            with contextlib.suppress(OSError):
                peer_socket.sendall(b"\x0bMSH|" + b"x" * 150_000)
        closed = 0
        for peer_socket in sockets:
            peer_socket.settimeout(1)
            with contextlib.suppress(TimeoutError):
                try:
                    peer_socket.recv(65536)
                    closed += 1
                except ConnectionError:
                    closed += 1
            peer_socket.close()
        assert 1 <= closed < 4


def test_slow_and_idle_peers_are_let_go() -> None:
    with listening(limits=Limits(idle_seconds=0.3, message_seconds=0.3)) as peer:
        with peer.connect() as idle:
            assert idle.recv(1) == b""
        with peer.connect() as slow:
            with contextlib.suppress(OSError):
                for _ in range(50):
                    slow.sendall(b"\x0bMSH")
                    time.sleep(0.02)
            with contextlib.suppress(OSError):
                assert slow.recv(1) == b""


def test_connections_past_the_limit_are_closed_and_others_served() -> None:
    with listening(limits=Limits(connections=1)) as peer, peer.connect() as first:
        first.sendall(b"\x0b" + oru("Benign.", "12") + b"\x1c\r")
        assert code_of(answer_of(first.recv(65536))) == ("AA", "12")
        with peer.connect() as second:
            assert second.recv(1) == b""
        assert peer.listener.counts.refused_connections == 1


def test_message_being_answered_is_answered_before_the_listener_stops() -> None:
    begun = threading.Event()

    def slowly(report: ReceivedReport) -> Outcome:
        begun.set()
        time.sleep(0.3)
        return Outcome(Answer.ACCEPTED)

    peer = Peer(slowly)
    with peer.connect() as busy, peer.connect():
        busy.sendall(b"\x0b" + oru("Benign.", "13") + b"\x1c\r")
        assert begun.wait(5)
        peer.stop()
        assert code_of(answer_of(busy.recv(65536))) == ("AA", "13")
        assert busy.recv(1) == b""


def test_port_in_use_is_told() -> None:
    with listening() as peer:

        async def receive(report: ReceivedReport) -> Outcome:
            return Outcome(Answer.ACCEPTED)

        second = MllpListener(("127.0.0.1", peer.listener.port), reports(receive))
        with pytest.raises(OutOfResources, match="MLLP"):
            asyncio.run(second.start())
