"""Orders over MLLP from a client that is not ours (``hl7.client.MLLPClient``) into the worklist."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import hl7
import pytest
from hl7.client import MLLPClient
from sqlalchemy import text

from dicomsvc.config import Hl7Settings, Settings
from dicomsvc.errors import ConfigurationError
from dicomsvc.hl7.handlers import Handlers
from dicomsvc.hl7.mllp import MllpListener
from dicomsvc.pacs.worklist.entry import Status
from dicomsvc.pacs.worklist.messages import OrderMessages
from dicomsvc.pacs.worklist.repository import Entry, Filter
from dicomsvc.pacs.worklist.service import Worklist
from dicomsvc.service.hl7 import Hl7Service
from dicomsvc.store import Store
from tests.unit.pacs.worklist_messages import PID, header, message, obr, oml, orc, sac, spm


class Node:
    """A listener that takes orders, and the worklist that it fills."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.listener = MllpListener(("127.0.0.1", 0), Handlers(OrderMessages(store).rows()))
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self.listener.start(), self._loop).result(20)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.listener.stop(2), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def send(self, content: bytes) -> hl7.Message:
        with MLLPClient("127.0.0.1", self.listener.port) as client:
            frame = client.send_message(content)
        return hl7.parse(frame[1:-2].decode("utf-8", "replace"))

    def entries(self) -> list[Entry]:
        return Worklist(self.store, "tests").listed(Filter(), 1000)[1]

    def only(self) -> Entry:
        (entry,) = self.entries()
        return entry


@pytest.fixture
def node(store: Store) -> Iterator[Node]:
    started = Node(store)
    yield started
    started.stop()


def code(answer: hl7.Message) -> str:
    return str(answer.segment("MSA")[1])


def condition(answer: hl7.Message) -> str:
    return str(answer.segment("ERR")[3]).partition("^")[0]


def test_order_is_answered_with_orl_once_its_entry_is_kept(node: Node) -> None:
    answer = node.send(oml())
    assert (str(answer.segment("MSH")[9]), code(answer)) == ("ORL^O22^ORL_O22", "AA")
    assert str(answer.segment("PID")[3]).endswith("P-1^^^HOSP^MR")
    assert [str(answer.segment("ORC")[field]) for field in (1, 2, 3)] == ["OK", "PL-1^LIS", "S26-100^LAB"]
    entry = node.only()
    assert (entry.content.container.identifier, entry.status, entry.source) == (
        "S26-100-A-1",
        Status.SCHEDULED,
        "hl7",
    )
    assert entry.content.study_instance_uid and entry.content.specimens[0].uid


def test_each_kind_of_order_has_its_own_answer(node: Node) -> None:
    o33 = message(header("OML^O33^OML_O33", "M-33"), PID, spm(), sac(), orc(), obr())
    answer = node.send(o33)
    assert str(answer.segment("MSH")[9]) == "ORL^O34^ORL_O34"
    assert [str(segment[0]) for segment in answer] == ["MSH", "MSA", "PID", "SPM", "SAC", "ORC"]
    answer = node.send(message(header("ORM^O01", "M-1"), PID, orc(placer="PL-9"), obr("PL-9")))
    assert (str(answer.segment("MSH")[9]), code(answer)) == ("ORR^O02^ORR_O02", "AA")


def test_sender_that_asks_for_an_accept_acknowledgement_gets_a_plain_ack(node: Node) -> None:
    answer = node.send(oml(asks="AL|NE"))
    assert (str(answer.segment("MSH")[9]), code(answer)) == ("ACK^O21^ACK", "CA")
    assert [str(segment[0]) for segment in answer] == ["MSH", "MSA"]


def test_same_message_again_does_nothing_and_is_answered_alike(node: Node) -> None:
    first, second = node.send(oml()), node.send(oml())
    assert (code(first), code(second)) == ("AA", "AA")
    assert str(second.segment("ORC")[1]) == "OK"
    assert node.only().revision == 1


def test_resent_message_does_not_undo_a_later_change(node: Node) -> None:
    node.send(oml(control_id="1"))
    node.send(oml(orc("CA"), control_id="2"))
    assert code(node.send(oml(control_id="1"))) == "AA"
    assert node.only().status is Status.CANCELLED


def test_same_order_in_another_message_is_the_same_entry(node: Node) -> None:
    node.send(oml(control_id="1"))
    kept = node.only()
    assert code(node.send(oml(control_id="2"))) == "AA"
    assert node.only() == kept


def test_changed_order_keeps_its_uids_and_its_barcode(node: Node) -> None:
    node.send(oml(control_id="1"))
    before = node.only()
    answer = node.send(oml(orc("XO"), obr(service="PAS^Periodic acid Schiff^L"), control_id="2"))
    assert str(answer.segment("ORC")[1]) == "XR"
    after = node.only()
    assert (after.uid, after.revision) == (before.uid, 2)
    assert after.content.procedure.description == "Periodic acid Schiff"
    assert after.content.container == before.content.container
    assert after.content.study_instance_uid == before.content.study_instance_uid
    assert after.content.specimens == before.content.specimens
    assert after.start == before.start


def test_barcode_and_case_that_come_later_are_added_to_the_order(node: Node) -> None:
    node.send(oml(orc(filler=""), obr(filler=""), control_id="1"))
    before = node.only()
    assert before.content.key == ("", "PL-1", "", "")
    node.send(oml(orc("XO"), obr(), spm(), sac("A-1"), sac("A-2"), control_id="2"))
    entries = node.entries()
    assert sorted(entry.content.key for entry in entries) == [
        ("S26-100", "PL-1", "", "A-1"),
        ("S26-100", "PL-1", "", "A-2"),
    ]
    assert before.uid in {entry.uid for entry in entries}
    assert {entry.content.study_instance_uid for entry in entries} == {before.content.study_instance_uid}


def test_cancelled_slide_leaves_the_others_and_a_cancelled_order_all(node: Node) -> None:
    node.send(oml(orc(), obr(), spm(), sac("A-1"), sac("A-2"), control_id="1"))
    assert str(node.send(oml(orc("CA"), obr(), spm(), sac("A-1"), control_id="2")).segment("ORC")[1]) == "CR"
    assert {entry.content.container.identifier: entry.status for entry in node.entries()} == {
        "A-1": Status.CANCELLED,
        "A-2": Status.SCHEDULED,
    }
    node.send(oml(orc("CA", filler=""), control_id="3"))
    assert {entry.status for entry in node.entries()} == {Status.CANCELLED}
    node.send(oml(orc(), obr(), spm(), sac("A-1"), control_id="4"))
    assert {entry.status for entry in node.entries()} == {Status.CANCELLED, Status.SCHEDULED}


def test_status_of_an_order_is_followed(node: Node) -> None:
    node.send(oml(control_id="1"))
    for number, (said, status) in enumerate({"IP": Status.STARTED, "CM": Status.COMPLETED}.items(), 2):
        assert code(node.send(oml(orc("SC", status=said), control_id=str(number)))) == "AA"
        assert node.only().status is status
    answer = node.send(oml(orc("CA"), control_id="9"))
    assert (code(answer), node.only().status) == ("AE", Status.COMPLETED)


def test_unknown_order_cannot_be_cancelled(node: Node) -> None:
    answer = node.send(oml(orc("CA")))
    assert (code(answer), condition(answer)) == ("AE", "204")
    assert node.entries() == []


def test_order_of_another_patient_is_refused(node: Node) -> None:
    node.send(oml(control_id="1"))
    answer = node.send(oml(orc("XO"), obr(), control_id="2").replace(b"P-1^", b"P-2^"))
    assert (code(answer), str(answer.segment("ERR")[2])) == ("AE", "PID^1^3")
    assert node.only().content.patient.id == "P-1"


def test_all_orders_of_a_message_or_none(node: Node) -> None:
    answer = node.send(oml(orc(), obr(), sac("A-1"), orc("CA", placer="PL-7", filler="S26-7")))
    assert code(answer) == "AE"
    assert node.entries() == []
    assert code(node.send(oml(orc(), obr(), sac("A-1")))) == "AA"


@pytest.mark.parametrize(("charset", "codec"), [("GB 18030-2000", "gb18030"), ("UNICODE UTF-8", "utf-8")])
def test_chinese_names_come_in_any_character_set_and_go_out_in_utf_8(node: Node, charset: str, codec: str) -> None:
    pid = "PID|1||P-㐀^^^HOSP^MR||欧阳^小明||19600203|F"
    content = message(header("OML^O21", charset=charset), pid, orc(), obr(service="HE^苏木精^L"), sac(), codec=codec)
    with socket.create_connection(("127.0.0.1", node.listener.port), timeout=20) as peer:
        peer.sendall(b"\x0b" + content + b"\x1c\r")
        answer = peer.recv(65536)
    assert "欧阳^小明".encode(codec) in answer and b"MSA|AA" in answer
    entry = node.only()
    assert (entry.content.patient.name, entry.content.patient.id) == ("欧阳^小明", "P-㐀")
    assert entry.content.procedure.description == "苏木精"


def test_missing_patient_is_an_error_with_its_place_and_nothing_of_the_message(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    answer = node.send(message(header("OML^O21"), "PID|1||||Quillfeather^Ann", orc(), obr(), sac()))
    assert (code(answer), condition(answer), str(answer.segment("ERR")[2])) == ("AE", "101", "PID^1^3")
    assert "Quillfeather" not in str(answer) + caplog.text


@pytest.mark.parametrize(
    ("kind", "expected"), [("ADT^A01", "200"), ("OML^O35", "201"), ("OML", "201"), ("ORU^R01", "200")]
)
def test_other_messages_are_rejected(node: Node, kind: str, expected: str) -> None:
    answer = node.send(message(header(kind), PID, orc()))
    assert (code(answer), condition(answer)) == ("AR", expected)


def test_database_that_does_not_answer_is_an_error_and_the_message_can_come_again(node: Node) -> None:
    with node.store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE worklist_entry RENAME TO gone"))
    assert code(node.send(oml())) == "AE"
    with node.store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO worklist_entry"))
    assert code(node.send(oml())) == "AA"
    assert node.only().revision == 1


def test_many_senders_at_once_make_one_entry_an_order(node: Node) -> None:
    contents = [oml(control_id=str(number)) for number in range(8)]
    threads = [threading.Thread(target=node.send, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert node.only().content.key == ("S26-100", "PL-1", "", "S26-100-A-1")


def test_orders_are_taken_where_the_part_for_reports_is_not_installed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ConfigurationError("reports need an extra")

    monkeypatch.setattr("dicomsvc.service.hl7.require_languages", missing)
    listening = settings.model_copy(update={"hl7": Hl7Settings(bind="127.0.0.1:0")})
    with Store(listening) as store:
        service = Hl7Service(store)
        service.start()
        host, _, port = service.address.rpartition(":")
        with MLLPClient(host, int(port)) as client:
            assert b"MSA|AA" in client.send_message(oml())
            refused = client.send_message(message(header("ORU^R01"), PID, "OBR|1||F-1", "OBX|1|TX|||Benign."))
        service.stop()
        assert b"MSA|AE" in refused and b"not taken here" in refused
        assert service.counters()["hl7_answers_aa"] == 1
