"""The DICOM Conformance Statement is what the service does: every line of it is proposed, and what it lacks too."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary
from pynetdicom import AE, build_context

from dicomsvc.config import DimseSettings, Settings, load_settings
from dicomsvc.conformance import Line, as_markdown, asked, served, statement
from dicomsvc.conformance.services import sop_classes
from dicomsvc.dimse import DimseServer, PeerFailure, commands, pdu
from dicomsvc.dimse.channel import pdu_and_pdv_header
from dicomsvc.dimse.getting import get
from dicomsvc.dimse.proposals import USUAL_SOP_CLASSES
from dicomsvc.ingest.dimse import store_instance
from dicomsvc.service.dimse import SERVICES
from dicomsvc.store import Store
from tests.conftest import REPOSITORY
from tests.integration.get_provider import Association, get_provider
from tests.unit.dimse.wire import Wire, data_set, wire

DEFLATED = "1.2.840.10008.1.2.1.99"
MOST_CONTEXTS = 128
REQUESTS = {
    "C-ECHO": commands.C_ECHO_RQ,
    "C-STORE": commands.C_STORE_RQ,
    "C-FIND": commands.C_FIND_RQ,
    "C-MOVE": commands.C_MOVE_RQ,
    "C-GET": commands.C_GET_RQ,
    "N-ACTION": commands.N_ACTION_RQ,
}
ADDITIONAL_SYNTAXES = {"1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112"}


@pytest.fixture
def port(settings: Settings, store: Store) -> Iterator[int]:
    server = DimseServer(DimseSettings(bind="127.0.0.1:0"), SERVICES, store)
    server.start()
    yield server.port
    server.stop(2)


def associate(
    peer: Wire, contexts: Sequence[tuple[str, str]], roles: Sequence[pdu.RoleSelection] = ()
) -> pdu.AssociateAccept:
    """Propose each pair of abstract and transfer syntax in a context of its own."""
    proposed = tuple(
        pdu.ProposedContext(2 * number + 1, abstract, (transfer,))
        for number, (abstract, transfer) in enumerate(contexts)
    )
    user = pdu.UserInformation(16384, "1.2.3", roles=tuple(roles))
    peer.send(pdu.encode_associate_request(pdu.AssociateRequest("DICOMSVC", "PEER", proposed, user)))
    kind, body = peer.read_pdu()
    assert kind == pdu.A_ASSOCIATE_AC
    return pdu.decode_associate_accept(memoryview(body))


def results(port: int, contexts: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Propose each pair of abstract and transfer syntax by pynetdicom; return the results (PS3.8 table 9-18)."""
    found = {}
    for start in range(0, len(contexts), MOST_CONTEXTS):
        part = contexts[start : start + MOST_CONTEXTS]
        proposed = [build_context(abstract, transfer) for abstract, transfer in part]
        association = AE(ae_title="PEER").associate("127.0.0.1", port, contexts=proposed)
        answered = {each.context_id: each for each in (*association.accepted_contexts, *association.rejected_contexts)}
        for number, pair in enumerate(part):
            found[pair] = answered[2 * number + 1].result
        association.abort()
    return found


def transfer_syntaxes() -> set[str]:
    return {uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"} | ADDITIONAL_SYNTAXES


def test_the_page_in_the_documents_is_the_present_statement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DICOMSVC_CONFIG", str(tmp_path / "none.toml"))
    present = as_markdown(statement(load_settings()))
    kept = (REPOSITORY / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert kept == present, "run `dicomsvc conformance > docs/conformance.md`"


def test_every_line_is_accepted_in_each_of_its_transfer_syntaxes(port: int) -> None:
    contexts = [(line.sop_class_uid, syntax) for line in served() for syntax in line.transfer_syntaxes]
    assert len(served()) > 200
    found = results(port, list(dict.fromkeys(contexts)))
    assert {pair for pair, result in found.items() if result != pdu.ACCEPTED} == set()


def test_a_sop_class_that_is_not_listed_is_refused(port: int) -> None:
    listed = {line.sop_class_uid for line in served()}
    others = [uid for uid in sop_classes() if uid not in listed]
    assert len(others) > 50
    found = results(port, [(uid, syntax) for uid in others for syntax in served()[0].transfer_syntaxes])
    assert set(found.values()) == {pdu.ABSTRACT_SYNTAX_NOT_SUPPORTED}


def test_a_transfer_syntax_that_is_not_listed_is_refused(port: int) -> None:
    contexts = [
        (line.sop_class_uid, syntax)
        for line in served()
        for syntax in sorted(transfer_syntaxes() - set(line.transfer_syntaxes))
        if line.operation != "C-STORE" or line.sop_class_uid == served()[-1].sop_class_uid or syntax == DEFLATED
    ]
    found = results(port, list(dict.fromkeys(contexts)))
    assert set(found.values()) == {pdu.TRANSFER_SYNTAXES_NOT_SUPPORTED}


def test_the_first_transfer_syntax_of_a_line_that_is_proposed_is_chosen(port: int) -> None:
    for line in {line.operation: line for line in served()}.values():
        with wire(port) as peer:
            proposed = (pdu.ProposedContext(1, line.sop_class_uid, tuple(reversed(line.transfer_syntaxes))),)
            user = pdu.UserInformation(16384, "1.2.3")
            peer.send(pdu.encode_associate_request(pdu.AssociateRequest("DICOMSVC", "PEER", proposed, user)))
            _, body = peer.read_pdu()
            [context] = pdu.decode_associate_accept(memoryview(body)).contexts
        assert context.transfer_syntax == line.transfer_syntaxes[0], line.name


def test_the_roles_of_a_line_are_what_the_statement_says(port: int) -> None:
    lines = list({line.sop_class_uid: line for line in served()}.values())
    for start in range(0, len(lines), MOST_CONTEXTS):
        part = lines[start : start + MOST_CONTEXTS]
        with wire(port) as peer:
            roles = [pdu.RoleSelection(line.sop_class_uid, True, True) for line in part]
            accept = associate(peer, [(line.sop_class_uid, line.transfer_syntaxes[0]) for line in part], roles)
        answered = {role.sop_class_uid: (role.scu, role.scp) for role in accept.user.roles}
        assert answered == {line.sop_class_uid: (True, line.peer_may_provide) for line in part}


def answer(port: int, line: Line) -> int | None:
    """Return the status of a request of a line whose data set is none."""
    with wire(port) as peer:
        associate(peer, [(line.sop_class_uid, line.transfer_syntaxes[0])])
        uids = {commands.AFFECTED_SOP_CLASS_UID: line.sop_class_uid, commands.AFFECTED_SOP_INSTANCE_UID: "1.2.3"}
        with_data_set = line.operation != "C-ECHO"
        request = commands.encode_request(REQUESTS[line.operation], 1, uids, has_data_set=with_data_set)
        peer.send(pdu_and_pdv_header(1, len(request), 3) + request)
        if with_data_set:
            peer.send(data_set(b"\0" * 8, context_id=1))
        return peer.response().status


def test_the_operation_of_each_line_is_answered_by_its_service(port: int) -> None:
    of_each = {(line.operation, line.sop_class_uid): line for line in served() if line.operation != "C-STORE"}
    stored = [line for line in served() if line.operation == "C-STORE"]
    for line in (*of_each.values(), *stored[:: len(stored) // 10]):
        status = answer(port, line)
        assert status is not None and status != commands.UNRECOGNIZED_OPERATION, line
        if line.operation != "C-FIND":
            assert (status == commands.SUCCESS) == (line.operation == "C-ECHO"), line


def test_what_is_asked_for_is_told(port: int) -> None:
    operations = {"C-ECHO", "C-STORE", "C-FIND", "C-MOVE", "C-GET", "N-ACTION", "N-CREATE"}
    assert {line.operation for line in asked()} == operations
    provided = {(line.sop_class_uid, line.transfer_syntaxes) for line in served() if line.operation == "C-STORE"}
    assert {(line.sop_class_uid, line.transfer_syntaxes) for line in asked() if line.operation == "C-STORE"} == provided


def test_a_get_proposes_its_line_and_storage_with_the_role_of_the_provider(store: Store) -> None:
    seen: list[pdu.AssociateRequest] = []

    def script(association: Association) -> None:
        seen.append(association.request)
        association.accept(get=False)
        association.ends_with()

    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", "1.2.3"
    with get_provider(script) as peer, pytest.raises(PeerFailure):
        get(peer, keys, store, store_instance)
    [request] = seen
    first, *storage = request.contexts
    [line] = [line for line in asked() if line.operation == "C-GET"]
    assert (first.abstract_syntax, first.transfer_syntaxes) == (line.sop_class_uid, line.transfer_syntaxes)
    [syntaxes] = {line.transfer_syntaxes for line in asked() if line.operation == "C-STORE"}
    assert {(each.abstract_syntax, syntax) for each in storage for syntax in each.transfer_syntaxes} == {
        (sop_class, syntax) for sop_class in USUAL_SOP_CLASSES for syntax in syntaxes
    }
    roles = {role.sop_class_uid: (role.scu, role.scp) for role in request.user.roles}
    assert roles == dict.fromkeys(USUAL_SOP_CLASSES, (False, True))


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["text", "json"])
def test_the_command_prints_it(arguments: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dicomsvc", "conformance", *arguments]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=REPOSITORY).stdout
    if arguments:
        document = json.loads(printed)
        assert document["title"] == "DICOM Conformance Statement"
        assert [section["title"] for section in document["sections"]][2:4] == ["Networking", "Media Storage"]
    else:
        assert printed.startswith("# DICOM Conformance Statement\n")
