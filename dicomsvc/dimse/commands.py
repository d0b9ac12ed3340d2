"""Command sets: the elements of group 0000 that head each message, in Implicit VR Little Endian (PS3.7 6.3, E.1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from dicomsvc.dimse.failures import ProtocolViolation
from dicomsvc.dimse.pdu import INVALID_PARAMETER

# Command Field (PS3.7 E.1-1); a response has the highest bit set.
C_STORE_RQ: Final = 0x0001
C_GET_RQ: Final = 0x0010
C_FIND_RQ: Final = 0x0020
C_MOVE_RQ: Final = 0x0021
C_ECHO_RQ: Final = 0x0030
N_EVENT_REPORT_RQ: Final = 0x0100
N_ACTION_RQ: Final = 0x0130
N_CREATE_RQ: Final = 0x0140
C_CANCEL_RQ: Final = 0x0FFF
RESPONSE: Final = 0x8000

SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
CANCELLED: Final = 0xFE00
NOT_AUTHORIZED: Final = 0x0124
UNRECOGNIZED_OPERATION: Final = 0x0211

AFFECTED_SOP_CLASS_UID: Final = 0x0002
REQUESTED_SOP_CLASS_UID: Final = 0x0003
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120
MOVE_DESTINATION: Final = 0x0600
_PRIORITY: Final = 0x0700
_COMMAND_DATA_SET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_ERROR_COMMENT: Final = 0x0902
AFFECTED_SOP_INSTANCE_UID: Final = 0x1000
REQUESTED_SOP_INSTANCE_UID: Final = 0x1001
EVENT_TYPE_ID: Final = 0x1002
ACTION_TYPE_ID: Final = 0x1008
REMAINING_SUBOPERATIONS: Final = 0x1020
COMPLETED_SUBOPERATIONS: Final = 0x1021
FAILED_SUBOPERATIONS: Final = 0x1022
WARNING_SUBOPERATIONS: Final = 0x1023
MOVE_ORIGINATOR_AE_TITLE: Final = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID: Final = 0x1031
_NO_DATA_SET: Final = 0x0101
_ERROR_COMMENT_CHARACTERS: Final = 64
_PADDED_WITH_BLANKS: Final = frozenset({_ERROR_COMMENT, MOVE_DESTINATION, MOVE_ORIGINATOR_AE_TITLE})
_WITH_PRIORITY: Final = frozenset({C_STORE_RQ, C_GET_RQ, C_FIND_RQ, C_MOVE_RQ})

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

    def number(self, element: int) -> int | None:
        """Return an element of group 0000 of VR US; None when it is not there."""
        return self._number(element)

    def text(self, element: int) -> str:
        """Return an element of group 0000 of VR UI or AE, without its padding; "" when it is not there."""
        return self._text(element).strip()

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
    elements: Mapping[int, int | str],
    *,
    has_data_set: bool = True,
) -> bytes:
    """Encode a request (PS3.7 9.3, 10.3); ``elements`` beside the three that all requests have, by element number."""
    all_elements = {
        **elements,
        _COMMAND_FIELD: command_field,
        _MESSAGE_ID: message_id,
        _COMMAND_DATA_SET_TYPE: 0 if has_data_set else _NO_DATA_SET,
    }
    if command_field in _WITH_PRIORITY:
        all_elements.setdefault(_PRIORITY, 0)
    return _encode(all_elements)


def encode_response(
    request: Command,
    status: int,
    comment: str = "",
    *,
    elements: Mapping[int, int | str] | None = None,
    has_data_set: bool = False,
) -> bytes:
    """Encode the response to a request (PS3.7 9.3, 10.3, annex C).

    The SOP class and instance that the request names, affected or requested, are the response's affected ones.
    ``comment`` becomes the Error Comment; it must not hold an attribute of a patient.
    """
    all_elements: dict[int, int | str] = {
        **(elements or {}),
        _COMMAND_FIELD: request.command_field | RESPONSE,
        _MESSAGE_ID_BEING_RESPONDED_TO: request.message_id,
        _COMMAND_DATA_SET_TYPE: 0 if has_data_set else _NO_DATA_SET,
        _STATUS: status,
    }
    if sop_class_uid := request.affected_sop_class_uid or request.text(REQUESTED_SOP_CLASS_UID):
        all_elements.setdefault(AFFECTED_SOP_CLASS_UID, sop_class_uid)
    if sop_instance_uid := request.affected_sop_instance_uid or request.text(REQUESTED_SOP_INSTANCE_UID):
        all_elements.setdefault(AFFECTED_SOP_INSTANCE_UID, sop_instance_uid)
    if comment:
        all_elements[_ERROR_COMMENT] = comment[:_ERROR_COMMENT_CHARACTERS]
    return _encode(all_elements)


def _encode(elements: Mapping[int, int | str]) -> bytes:
    encoded = b"".join(_element(number, value) for number, value in sorted(elements.items()))
    return _ELEMENT.pack(0, 0, 4) + len(encoded).to_bytes(4, "little") + encoded


def _element(number: int, value: int | str) -> bytes:
    if isinstance(value, int):
        raw = value.to_bytes(2, "little")
    else:
        raw = value.encode("ascii", "replace")
        if len(raw) % 2:
            raw += b" " if number in _PADDED_WITH_BLANKS else b"\x00"
    return _ELEMENT.pack(0, number, len(raw)) + raw
