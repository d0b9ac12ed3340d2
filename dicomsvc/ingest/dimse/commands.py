"""Command sets: the elements of group 0000 that head each message, in Implicit VR Little Endian (PS3.7 6.3, E.1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from dicomsvc.ingest.dimse.failures import ProtocolViolation
from dicomsvc.ingest.dimse.pdu import INVALID_PARAMETER

# Command Field (PS3.7 E.1-1); a response has the highest bit set.
C_STORE_RQ: Final = 0x0001
C_GET_RQ: Final = 0x0010
C_FIND_RQ: Final = 0x0020
C_MOVE_RQ: Final = 0x0021
C_ECHO_RQ: Final = 0x0030
N_EVENT_REPORT_RQ: Final = 0x0100
N_ACTION_RQ: Final = 0x0130
C_CANCEL_RQ: Final = 0x0FFF
RESPONSE: Final = 0x8000

SUCCESS: Final = 0x0000
UNRECOGNIZED_OPERATION: Final = 0x0211

AFFECTED_SOP_CLASS_UID: Final = 0x0002
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120
_PRIORITY: Final = 0x0700
_COMMAND_DATA_SET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_ERROR_COMMENT: Final = 0x0902
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
_NO_DATA_SET: Final = 0x0101
_ERROR_COMMENT_CHARACTERS: Final = 64

_ELEMENT = Struct("<HHI")


@dataclass(frozen=True, slots=True)
class Command:
    """A command set, by the element numbers of group 0000."""

    command_field: int
    elements: Mapping[int, bytes] = field(repr=False)

    @property
    def message_id(self) -> int:
        return self._number(_MESSAGE_ID) or 0

    @property
    def message_id_being_responded_to(self) -> int | None:
        return self._number(_MESSAGE_ID_BEING_RESPONDED_TO)

    @property
    def status(self) -> int | None:
        return self._number(_STATUS)

    @property
    def has_data_set(self) -> bool:
        return self._number(_COMMAND_DATA_SET_TYPE) != _NO_DATA_SET

    @property
    def expects_response(self) -> bool:
        return not self.command_field & RESPONSE and self.command_field != C_CANCEL_RQ

    @property
    def affected_sop_class_uid(self) -> str:
        return self._text(AFFECTED_SOP_CLASS_UID)

    @property
    def affected_sop_instance_uid(self) -> str:
        return self._text(AFFECTED_SOP_INSTANCE_UID)

    @property
    def error_comment(self) -> str:
        return self._text(_ERROR_COMMENT)

    def _number(self, element: int) -> int | None:
        value = self.elements.get(element)
        return int.from_bytes(value, "little") if value is not None and len(value) == 2 else None

    def _text(self, element: int) -> str:
        return self.elements.get(element, b"").rstrip(b"\x00 ").decode("ascii", "replace")


def decode_command(encoded: bytes) -> Command:
    """Decode a command set.

    Raises
    ------
    ProtocolViolation
        When it is cut short, holds another group, or lacks the Command Field or the Command Data Set Type.
    """
    elements: dict[int, bytes] = {}
    offset = 0
    while offset < len(encoded):
        if offset + _ELEMENT.size > len(encoded):
            raise ProtocolViolation("the command set is cut short", INVALID_PARAMETER)
        group, element, length = _ELEMENT.unpack_from(encoded, offset)
        offset += _ELEMENT.size
        if group != 0 or offset + length > len(encoded):
            raise ProtocolViolation("the command set is malformed", INVALID_PARAMETER)
        elements[element] = encoded[offset : offset + length]
        offset += length
    for required in (_COMMAND_FIELD, _COMMAND_DATA_SET_TYPE):
        if len(elements.get(required, b"")) != 2:
            raise ProtocolViolation("the command set lacks a required element", INVALID_PARAMETER)
    return Command(int.from_bytes(elements[_COMMAND_FIELD], "little"), elements)


def encode_request(
    command_field: int,
    message_id: int,
    sop_class_uid: str,
    sop_instance_uid: str | None = None,
) -> bytes:
    """Encode a C-ECHO-RQ, or a C-STORE-RQ (medium priority, data set follows) when an instance is named."""
    elements: dict[int, int | str] = {
        AFFECTED_SOP_CLASS_UID: sop_class_uid,
        _COMMAND_FIELD: command_field,
        _MESSAGE_ID: message_id,
    }
    if sop_instance_uid is None:
        elements[_COMMAND_DATA_SET_TYPE] = _NO_DATA_SET
    else:
        elements |= {_PRIORITY: 0, _COMMAND_DATA_SET_TYPE: 0, AFFECTED_SOP_INSTANCE_UID: sop_instance_uid}
    return _encode(elements)


def encode_response(request: Command, status: int, comment: str = "") -> bytes:
    """Encode the response to a request, without a data set (PS3.7 9.3, annex C).

    ``comment`` becomes the Error Comment; it must not hold an attribute of a patient.
    """
    elements: dict[int, int | str] = {
        _COMMAND_FIELD: request.command_field | RESPONSE,
        _MESSAGE_ID_BEING_RESPONDED_TO: request.message_id,
        _COMMAND_DATA_SET_TYPE: _NO_DATA_SET,
        _STATUS: status,
    }
    if request.affected_sop_class_uid:
        elements[AFFECTED_SOP_CLASS_UID] = request.affected_sop_class_uid
    if request.affected_sop_instance_uid:
        elements[AFFECTED_SOP_INSTANCE_UID] = request.affected_sop_instance_uid
    if comment:
        elements[_ERROR_COMMENT] = comment[:_ERROR_COMMENT_CHARACTERS]
    return _encode(dict(sorted(elements.items())))


def _encode(elements: Mapping[int, int | str]) -> bytes:
    encoded = b"".join(_element(number, value) for number, value in elements.items())
    return _ELEMENT.pack(0, 0, 4) + len(encoded).to_bytes(4, "little") + encoded


def _element(number: int, value: int | str) -> bytes:
    if isinstance(value, int):
        raw = value.to_bytes(2, "little")
    else:
        raw = value.encode("ascii", "replace")
        if len(raw) % 2:
            raw += b" " if number == _ERROR_COMMENT else b"\x00"
    return _ELEMENT.pack(0, number, len(raw)) + raw
