"""The PDUs that make and end an association, as bytes (PS3.8 9.3). P-DATA-TF is read and written in `channel`.

Decoders take what a peer sent and raise `ProtocolViolation`, nothing else, when it is malformed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from dicomsvc.dimse.failures import ProtocolViolation

A_ASSOCIATE_RQ: Final = 0x01
A_ASSOCIATE_AC: Final = 0x02
A_ASSOCIATE_RJ: Final = 0x03
P_DATA_TF: Final = 0x04
A_RELEASE_RQ: Final = 0x05
A_RELEASE_RP: Final = 0x06
A_ABORT: Final = 0x07

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"

# Results of a proposed presentation context (PS3.8 table 9-18).
ACCEPTED: Final = 0
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4

# Reasons of an A-ABORT by the service provider (PS3.8 table 9-26).
REASON_NOT_SPECIFIED: Final = 0
UNRECOGNIZED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
UNRECOGNIZED_PARAMETER: Final = 4
INVALID_PARAMETER: Final = 6

_HEADER = Struct(">BxI")
_ITEM = Struct(">BxH")
_ASSOCIATE_FIXED_BYTES = 68
_MAX_CONTEXTS = 128
_MAX_ROLES = 256


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as the requestor proposes it."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextResult:
    """The acceptor's answer to one proposed presentation context; `result` 0 means accepted."""

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """Which roles the requestor of the association proposes to take for a SOP class, or is allowed (PS3.7 D.3.3.4)."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class UserInformation:
    """What either side tells about itself (PS3.8 annex D, PS3.7 D.3.3)."""

    maximum_length: int
    """Longest P-DATA-TF that the side wants to get, without its six header bytes; 0: no limit."""
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    roles: tuple[RoleSelection, ...] = ()


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ."""

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC."""

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[ContextResult, ...]
    user: UserInformation


@dataclass(frozen=True, slots=True)
class Rejection:
    """A-ASSOCIATE-RJ: result, source and reason of PS3.8 table 9-21."""

    result: int
    source: int
    reason: int


APPLICATION_CONTEXT_NOT_SUPPORTED: Final = Rejection(1, 1, 2)
CALLING_AE_TITLE_NOT_RECOGNIZED: Final = Rejection(1, 1, 3)
CALLED_AE_TITLE_NOT_RECOGNIZED: Final = Rejection(1, 1, 7)
PROTOCOL_VERSION_NOT_SUPPORTED: Final = Rejection(1, 2, 2)
LOCAL_LIMIT_EXCEEDED: Final = Rejection(2, 3, 2)


def decode_associate_request(body: memoryview) -> AssociateRequest:
    """Decode an A-ASSOCIATE-RQ (PS3.8 table 9-11) from what follows its PDU header."""
    version, called, calling = _fixed_fields(body)
    application_context = ""
    contexts: list[ProposedContext] = []
    user = UserInformation(maximum_length=0)
    for item_type, value in _items(body[_ASSOCIATE_FIXED_BYTES:]):
        if item_type == 0x10:
            application_context = _uid(value)
        elif item_type == 0x20:
            contexts.append(_proposed_context(value))
        elif item_type == 0x50:
            user = _decode_user(value)
    identifiers = {context.context_id for context in contexts}
    if not 0 < len(contexts) <= _MAX_CONTEXTS or len(identifiers) != len(contexts):
        raise ProtocolViolation("no, too many or equally numbered presentation contexts", INVALID_PARAMETER)
    return AssociateRequest(called, calling, tuple(contexts), user, application_context, version)


def decode_associate_accept(body: memoryview) -> AssociateAccept:
    """Decode an A-ASSOCIATE-AC (PS3.8 table 9-17) from what follows its PDU header."""
    _, called, calling = _fixed_fields(body)
    contexts: list[ContextResult] = []
    user = UserInformation(maximum_length=0)
    for item_type, value in _items(body[_ASSOCIATE_FIXED_BYTES:]):
        if item_type == 0x21:
            _require(len(value) >= 4, "a presentation context is cut short")
            syntaxes = [_uid(part) for kind, part in _items(value[4:]) if kind == 0x40]
            contexts.append(ContextResult(value[0], value[2], syntaxes[0] if syntaxes else ""))
        elif item_type == 0x50:
            user = _decode_user(value)
    return AssociateAccept(called, calling, tuple(contexts), user)


def decode_rejection(body: memoryview) -> Rejection:
    """Decode an A-ASSOCIATE-RJ (PS3.8 table 9-21) from what follows its PDU header."""
    _require(len(body) >= 4, "A-ASSOCIATE-RJ is cut short")
    return Rejection(body[1], body[2], body[3])


def encode_associate_request(request: AssociateRequest) -> bytes:
    contexts = b"".join(
        _item(
            0x20,
            bytes((context.context_id, 0, 0, 0))
            + _item(0x30, context.abstract_syntax.encode("ascii"))
            + b"".join(_item(0x40, syntax.encode("ascii")) for syntax in context.transfer_syntaxes),
        )
        for context in request.contexts
    )
    return _encode_associate(A_ASSOCIATE_RQ, request.called_ae_title, request.calling_ae_title, contexts, request.user)


def encode_associate_accept(accept: AssociateAccept) -> bytes:
    contexts = b"".join(
        _item(
            0x21,
            bytes((context.context_id, 0, context.result, 0)) + _item(0x40, context.transfer_syntax.encode("ascii")),
        )
        for context in accept.contexts
    )
    return _encode_associate(A_ASSOCIATE_AC, accept.called_ae_title, accept.calling_ae_title, contexts, accept.user)


def encode_rejection(rejection: Rejection) -> bytes:
    return _pdu(A_ASSOCIATE_RJ, bytes((0, rejection.result, rejection.source, rejection.reason)))


def encode_release_request() -> bytes:
    return _pdu(A_RELEASE_RQ, bytes(4))


def encode_release_reply() -> bytes:
    return _pdu(A_RELEASE_RP, bytes(4))


def encode_abort(reason: int | None = None) -> bytes:
    """Encode an A-ABORT: by the service provider for `reason`, else by the service user."""
    return _pdu(A_ABORT, bytes((0, 0, 0, 0)) if reason is None else bytes((0, 0, 2, reason)))


def _encode_associate(kind: int, called: str, calling: str, contexts: bytes, user: UserInformation) -> bytes:
    fixed = b"\x00\x01\x00\x00" + _ae_title(called) + _ae_title(calling) + bytes(32)
    return _pdu(
        kind, fixed + _item(0x10, APPLICATION_CONTEXT.encode("ascii")) + contexts + _item(0x50, _encode_user(user))
    )


def _encode_user(user: UserInformation) -> bytes:
    encoded = _item(0x51, user.maximum_length.to_bytes(4, "big"))
    encoded += _item(0x52, user.implementation_class_uid.encode("ascii"))
    if user.implementation_version_name:
        encoded += _item(0x55, user.implementation_version_name.encode("ascii"))
    return encoded + b"".join(_item(0x54, _encode_role(role)) for role in user.roles)


def _encode_role(role: RoleSelection) -> bytes:
    uid = role.sop_class_uid.encode("ascii")
    return len(uid).to_bytes(2, "big") + uid + bytes((role.scu, role.scp))


def _decode_role(value: memoryview) -> RoleSelection:
    length = int.from_bytes(value[:2], "big")
    _require(len(value) >= 2 and len(value) == length + 4, "a role selection is cut short")
    return RoleSelection(_uid(value[2 : 2 + length]), value[-2] == 1, value[-1] == 1)


def _decode_user(value: memoryview) -> UserInformation:
    maximum_length, class_uid, version_name = 0, "", ""
    roles: list[RoleSelection] = []
    for item_type, part in _items(value):
        if item_type == 0x51:
            _require(len(part) == 4, "the maximum length has no four bytes")
            maximum_length = int.from_bytes(part, "big")
        elif item_type == 0x52:
            class_uid = _uid(part)
        elif item_type == 0x55:
            version_name = printable(bytes(part))
        elif item_type == 0x54:
            roles.append(_decode_role(part))
    _require(len(roles) <= _MAX_ROLES, "too many role selections")
    return UserInformation(maximum_length, class_uid, version_name, tuple(roles))


def _proposed_context(value: memoryview) -> ProposedContext:
    _require(len(value) >= 4 and value[0] % 2 == 1, "a presentation context has no odd identifier")
    abstract_syntax, transfer_syntaxes = "", []
    for item_type, part in _items(value[4:]):
        if item_type == 0x30:
            abstract_syntax = _uid(part)
        elif item_type == 0x40:
            transfer_syntaxes.append(_uid(part))
    _require(bool(abstract_syntax and transfer_syntaxes), "a presentation context lacks a syntax")
    return ProposedContext(value[0], abstract_syntax, tuple(transfer_syntaxes))


def _fixed_fields(body: memoryview) -> tuple[int, str, str]:
    _require(len(body) >= _ASSOCIATE_FIXED_BYTES, "the association PDU is cut short")
    return int.from_bytes(body[:2], "big"), printable(bytes(body[4:20])), printable(bytes(body[20:36]))


def _items(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    offset, end = 0, len(data)
    while offset < end:
        _require(offset + 4 <= end, "an item's header is cut short")
        item_type, length = _ITEM.unpack_from(data, offset)
        offset += 4
        _require(offset + length <= end, "an item is longer than what holds it")
        yield item_type, data[offset : offset + length]
        offset += length


def printable(text: bytes) -> str:
    """Return a peer's text as trimmed ASCII in which anything else is a question mark, fit for logs and headers."""
    return "".join(chr(c) if 32 <= c < 127 else "?" for c in text.strip(b"\x00 "))


def _uid(value: Iterable[int]) -> str:
    text = bytes(value).rstrip(b"\x00 ")
    _require(0 < len(text) <= 64 and text.isascii(), "a UID is empty, too long or not ASCII")
    return text.decode("ascii")


def _ae_title(title: str) -> bytes:
    return title.encode("ascii", "replace")[:16].ljust(16)


def _item(item_type: int, value: bytes) -> bytes:
    return _ITEM.pack(item_type, len(value)) + value


def _pdu(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(kind, len(body)) + body


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ProtocolViolation(message, INVALID_PARAMETER)
