"""A peer that can do wrong: PDUs and messages made by hand, for the tests of the DICOM service."""

import contextlib
import socket
from collections.abc import Iterator, Sequence

from dicomsvc.dimse import commands, pdu
from dicomsvc.dimse.channel import pdu_and_pdv_header
from tests.instances import VL_WHOLE_SLIDE

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
COMMAND, LAST = 1, 2
DEFAULT_CONTEXTS = (
    pdu.ProposedContext(1, VERIFICATION, (EXPLICIT_LITTLE,)),
    pdu.ProposedContext(3, VL_WHOLE_SLIDE, (JPEG_BASELINE,)),
)


def associate_request(
    *, called: str = "DICOMSVC", calling: str = "PEER", contexts: Sequence[pdu.ProposedContext] = DEFAULT_CONTEXTS
) -> bytes:
    user = pdu.UserInformation(16384, "1.2.3")
    return pdu.encode_associate_request(pdu.AssociateRequest(called, calling, tuple(contexts), user))


def echo_request(context_id: int = 1) -> bytes:
    command = commands.encode_request(
        commands.C_ECHO_RQ, 7, {commands.AFFECTED_SOP_CLASS_UID: VERIFICATION}, has_data_set=False
    )
    return pdu_and_pdv_header(context_id, len(command), COMMAND | LAST) + command


def store_request(sop_instance_uid: str, sop_class_uid: str = VL_WHOLE_SLIDE, context_id: int = 3) -> bytes:
    command = commands.encode_request(
        commands.C_STORE_RQ,
        9,
        {commands.AFFECTED_SOP_CLASS_UID: sop_class_uid, commands.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid},
    )
    return pdu_and_pdv_header(context_id, len(command), COMMAND | LAST) + command


def data_set(content: bytes, context_id: int = 3, fragment: int = 16000) -> bytes:
    pdus = []
    for start in range(0, len(content), fragment):
        part = content[start : start + fragment]
        last = LAST if start + len(part) == len(content) else 0
        pdus.append(pdu_and_pdv_header(context_id, len(part), last) + part)
    return b"".join(pdus)


def data_set_of(part10_file: bytes) -> bytes:
    """Return what follows the File Meta Information."""
    group_length = int.from_bytes(part10_file[140:144], "little")
    return part10_file[144 + group_length :]


class Wire:
    """A raw connection to the service."""

    def __init__(self, port: int, timeout: float = 10) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_pdu(self) -> tuple[int, bytes]:
        """Return the type and body of the next PDU; type 0 when the service closed the connection."""
        head = self._exactly(6)
        if head is None:
            return 0, b""
        body = self._exactly(int.from_bytes(head[2:], "big"))
        return head[0], b"" if body is None else body

    def response(self) -> commands.Command:
        kind, body = self.read_pdu()
        assert kind == pdu.P_DATA_TF, f"PDU type {kind}"
        return commands.decode_command(body[6:])

    def associate(self) -> pdu.AssociateAccept:
        self.send(associate_request())
        kind, body = self.read_pdu()
        assert kind == pdu.A_ASSOCIATE_AC
        return pdu.decode_associate_accept(memoryview(body))

    def _exactly(self, count: int) -> bytes | None:
        received = b""
        while len(received) < count:
            try:
                part = self.socket.recv(count - len(received))
            except ConnectionResetError:
                return None
            if not part:
                return None
            received += part
        return received

    def close(self) -> None:
        self.socket.close()


@contextlib.contextmanager
def wire(port: int, timeout: float = 10) -> Iterator[Wire]:
    opened = Wire(port, timeout)
    try:
        yield opened
    finally:
        opened.close()
