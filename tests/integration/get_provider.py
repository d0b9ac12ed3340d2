"""An archive that serves C-GET as a script tells it, also against the rules; PDUs and messages made by hand."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from pydicom import Dataset

from dicomsvc.dimse import Peer, commands, pdu
from dicomsvc.dimse.channel import pdu_and_pdv_header
from dicomsvc.dimse.commands import Command
from dicomsvc.dimse.data_set import decode_data_set
from dicomsvc.dimse.information_models import STUDY_ROOT_FIND, STUDY_ROOT_GET
from tests.instances import VL_WHOLE_SLIDE, part10
from tests.unit.dimse.wire import COMMAND, JPEG_BASELINE, LAST, data_set, data_set_of

AE_TITLE = "ARCHIVE"
GET_CONTEXT = 1
_SECONDS = 20


def identifier(*uids: str) -> Dataset:
    """Return what names a study; a study and a series; a study, a series and an instance."""
    ds = Dataset()
    ds.QueryRetrieveLevel = ("STUDY", "SERIES", "IMAGE")[len(uids) - 1]
    for keyword, uid in zip(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"), uids, strict=False):
        setattr(ds, keyword, uid)
    return ds


class Gone(Exception):
    """The requestor closed the connection."""


@dataclass
class Association:
    """One association with the requestor; ``accepted``: contexts by abstract and transfer syntax."""

    connection: socket.socket
    request: pdu.AssociateRequest
    accepted: dict[tuple[str, str], int] = field(default_factory=dict)

    def accept(self, *, get: bool = True, roles: Mapping[bool, bool] | None = None) -> None:
        """Accept all contexts; ``roles``: what a proposal of each SCP role is answered with, by default itself."""
        results = []
        for context in self.request.contexts:
            refused = context.abstract_syntax == STUDY_ROOT_GET and not get
            results.append(pdu.ContextResult(context.context_id, 3 if refused else 0, context.transfer_syntaxes[0]))
            if not refused:
                self.accepted[context.abstract_syntax, context.transfer_syntaxes[0]] = context.context_id
        answer = {True: True} if roles is None else roles
        selected = tuple(
            pdu.RoleSelection(role.sop_class_uid, role.scu, answer[role.scp])
            for role in self.request.user.roles
            if role.scp in answer
        )
        user = pdu.UserInformation(16384, "1.2.3", roles=selected)
        accept = pdu.AssociateAccept(self.request.called_ae_title, self.request.calling_ae_title, tuple(results), user)
        self.connection.sendall(pdu.encode_associate_accept(accept))

    def read(self) -> tuple[int, bytes]:
        """Return the next PDU."""
        head = self._exactly(6)
        return head[0], self._exactly(int.from_bytes(head[2:], "big"))

    def command(self) -> Command:
        kind, body = self.read()
        assert kind == pdu.P_DATA_TF, f"PDU {kind}"
        return commands.decode_command(body[6:])

    def take_request(self) -> Dataset:
        """Read the C-GET request; return its Identifier."""
        assert self.command().command_field == commands.C_GET_RQ
        kind, body = self.read()
        assert kind == pdu.P_DATA_TF
        return decode_data_set(body[6:], "1.2.840.10008.1.2.1")

    def begin(self, ds: Dataset, *, named: str | None = None, context_id: int | None = None) -> bytes:
        """Send a C-STORE request; return its data set, which is still to be sent."""
        used = self.context_id if context_id is None else context_id
        elements = {
            commands.AFFECTED_SOP_CLASS_UID: str(ds.SOPClassUID),
            commands.AFFECTED_SOP_INSTANCE_UID: named or str(ds.SOPInstanceUID),
        }
        self._send(commands.encode_request(commands.C_STORE_RQ, 9, elements), used)
        return data_set(data_set_of(part10(ds)), used)

    def store(self, ds: Dataset, *, named: str | None = None, context_id: int | None = None) -> int | None:
        """Send an instance, under its UID or another one; return the status it is answered with."""
        self.connection.sendall(self.begin(ds, named=named, context_id=context_id))
        return self.command().status

    @property
    def context_id(self) -> int:
        return self.accepted[VL_WHOLE_SLIDE, JPEG_BASELINE]

    def respond(self, status: int, comment: str = "", *, encoded: bytes = b"", **counts: int) -> None:
        """Send a response to the C-GET, with the numbers of ``remaining``, ``completed``, ... sub-operations.

        ``encoded``: its Identifier.
        """
        request = commands.decode_command(commands.encode_request(commands.C_GET_RQ, 1, {}))
        numbers = {_COUNTS[name]: count for name, count in counts.items()}
        response = commands.encode_response(request, status, comment, elements=numbers, has_data_set=bool(encoded))
        self._send(response, GET_CONTEXT)
        if encoded:
            self.connection.sendall(data_set(encoded, GET_CONTEXT))

    def send_command(self, encoded: bytes) -> None:
        self._send(encoded, GET_CONTEXT)

    def abort(self) -> None:
        self.connection.sendall(pdu.encode_abort())

    def ends_with(self) -> int:
        """Return the type of the PDU that the requestor ends with; a release is answered."""
        kind, _ = self.read()
        if kind == pdu.A_RELEASE_RQ:
            self.connection.sendall(b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00")
        return kind

    def _send(self, encoded: bytes, context_id: int) -> None:
        self.connection.sendall(pdu_and_pdv_header(context_id, len(encoded), COMMAND | LAST) + encoded)

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            part = self.connection.recv(count - len(received))
            if not part:
                raise Gone
            received += part
        return received


_COUNTS = {
    "remaining": commands.REMAINING_SUBOPERATIONS,
    "completed": commands.COMPLETED_SUBOPERATIONS,
    "failed": commands.FAILED_SUBOPERATIONS,
    "warnings": commands.WARNING_SUBOPERATIONS,
}
Script = Callable[[Association], None]


@contextlib.contextmanager
def get_provider(script: Script) -> Iterator[Peer]:
    """Run ``script`` with each association for C-GET; queries are rejected. What it asserts fails the test."""
    failures: list[BaseException] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    done = threading.Event()

    def serve() -> None:
        try:
            while not done.is_set():
                _serve_one(listener, script)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield Peer(
            "127.0.0.1",
            listener.getsockname()[1],
            AE_TITLE,
            "DICOMSVC",
            pdu_timeout_seconds=_SECONDS,
            response_timeout_seconds=_SECONDS,
        )
    finally:
        done.set()
        thread.join(_SECONDS)
        listener.close()
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def _serve_one(listener: socket.socket, script: Script) -> None:
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        return
    with connection:
        connection.settimeout(_SECONDS)
        association = Association(connection, pdu.AssociateRequest("", "", (), pdu.UserInformation(0)))
        kind, body = association.read()
        assert kind == pdu.A_ASSOCIATE_RQ
        association.request = pdu.decode_associate_request(memoryview(body))
        if association.request.contexts[0].abstract_syntax == STUDY_ROOT_FIND:
            connection.sendall(pdu.encode_rejection(pdu.LOCAL_LIMIT_EXCEEDED))
        else:
            script(association)
