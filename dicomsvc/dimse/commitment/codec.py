"""Action Information and Event Information as bytes, and back (PS3.4 J.3.2.1.1, J.3.3.1.1; PS3.5 7).

A request may name tens of thousands of instances, and anybody may send eight megabytes of something else: an object for
each element would cost seconds and gigabytes. So the bytes are walked in place, each head once, within bounds.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

from pydicom.uid import ImplicitVRLittleEndian

from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.dimse.commitment.model import ActionInformation, EventInformation, FailureReason, Reference
from dicomsvc.errors import BadRequest, NotParseable, TooLarge

LARGEST_BYTES: Final = 8 << 20
"""Longest of these data sets that is read; one of 50,000 instances may have that."""
MOST_REFERENCES: Final = 50_000

_RETRIEVE_AE_TITLE: Final = 0x00080054
_REFERENCED_SOP_CLASS_UID: Final = 0x00081150
_REFERENCED_SOP_INSTANCE_UID: Final = 0x00081155
_TRANSACTION_UID: Final = 0x00081195
_FAILURE_REASON: Final = 0x00081197
_FAILED_SOP_SEQUENCE: Final = 0x00081198
_REFERENCED_SOP_SEQUENCE: Final = 0x00081199
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD

_TAG_AND_LENGTH = Struct("<HHI")
_SHORT_LENGTH = Struct("<H")
_LONG_LENGTH = Struct("<I")
_UNDEFINED: Final = 0xFFFFFFFF
_LONG_VRS: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_DEEPEST: Final = 8
_MOST_HEADS: Final = 8 * MOST_REFERENCES
_MOST_ELEMENTS: Final = 100

_Elements = dict[int, tuple[int, int]]


def decode_action(encoded: bytes, transfer_syntax: str) -> ActionInformation:
    """Return what an N-ACTION asks for.

    Raises
    ------
    NotParseable
        When the bytes are no data set in the transfer syntax.
    BadRequest
        When a UID is missing or malformed, or no instance is named.
    TooLarge
        When more than `MOST_REFERENCES` instances are named.
    """
    walk = _Walk(encoded, transfer_syntax)
    ds = walk.whole()
    items = walk.items(ds, _REFERENCED_SOP_SEQUENCE)
    if not items:
        raise BadRequest("the Referenced SOP Sequence is missing or empty")
    references = tuple(dict.fromkeys(walk.reference(item) for item in items))
    return ActionInformation(walk.uid(ds, _TRANSACTION_UID, "Transaction UID"), references)


def decode_event(encoded: bytes, transfer_syntax: str) -> EventInformation:
    """Return what an N-EVENT-REPORT tells; it raises as `decode_action` does."""
    walk = _Walk(encoded, transfer_syntax)
    ds = walk.whole()
    return EventInformation(
        walk.uid(ds, _TRANSACTION_UID, "Transaction UID"),
        tuple(walk.reference(item) for item in walk.items(ds, _REFERENCED_SOP_SEQUENCE)),
        tuple((walk.reference(item), walk.failure_reason(item)) for item in walk.items(ds, _FAILED_SOP_SEQUENCE)),
    )


def encode_action(action: ActionInformation, transfer_syntax: str) -> bytes:
    """Return the Action Information of a request."""
    put = _Writer(transfer_syntax)
    return put.uid(_TRANSACTION_UID, action.transaction_uid) + put.sequence(
        _REFERENCED_SOP_SEQUENCE, (put.reference(reference) for reference in action.references)
    )


def encode_event(event: EventInformation, retrieve_ae_title: str, transfer_syntax: str) -> bytes:
    """Return the Event Information; ``retrieve_ae_title`` is from where the instances can be retrieved."""
    put = _Writer(transfer_syntax)
    encoded = put.element(_RETRIEVE_AE_TITLE, b"AE", _even(retrieve_ae_title.encode("ascii", "replace"), b" "))
    encoded += put.uid(_TRANSACTION_UID, event.transaction_uid)
    if event.failed:
        encoded += put.sequence(
            _FAILED_SOP_SEQUENCE,
            (
                put.reference(reference) + put.element(_FAILURE_REASON, b"US", _SHORT_LENGTH.pack(reason))
                for reference, reason in event.failed
            ),
        )
    if event.committed:
        encoded += put.sequence(_REFERENCED_SOP_SEQUENCE, (put.reference(reference) for reference in event.committed))
    return encoded


class _Walk:
    """Finds elements by their place in the bytes; counts what it looks at."""

    def __init__(self, encoded: bytes, transfer_syntax: str) -> None:
        self._data = encoded
        self._implicit = transfer_syntax == ImplicitVRLittleEndian
        self._left = _MOST_HEADS

    def whole(self) -> _Elements:
        """Return the places of the outermost elements."""
        return self._elements(0, len(self._data), 0, delimited=False)[0]

    def items(self, ds: _Elements, tag: int) -> list[_Elements]:
        """Return the items of a sequence; none when it is missing."""
        start, end = ds.get(tag, (0, 0))
        found: list[_Elements] = []
        while start < end:
            if len(found) >= MOST_REFERENCES:
                raise TooLarge(f"more than {MOST_REFERENCES} instances are named")
            item_tag, length, start = self._head(start, end)
            if item_tag != _ITEM:
                raise NotParseable("a sequence holds something else than items")
            delimited = length == _UNDEFINED
            item, start = self._elements(start, end if delimited else self._end(start, length, end), 1, delimited)
            found.append(item)
        return found

    def reference(self, item: _Elements) -> Reference:
        return Reference(
            self.uid(item, _REFERENCED_SOP_CLASS_UID, "Referenced SOP Class UID"),
            self.uid(item, _REFERENCED_SOP_INSTANCE_UID, "Referenced SOP Instance UID"),
        )

    def uid(self, ds: _Elements, tag: int, name: str) -> str:
        start, end = ds.get(tag, (0, 0))
        value = self._data[start : min(end, start + 66)].rstrip(b"\0 ").decode("ascii", "replace")
        if not is_valid_uid(value):
            raise BadRequest(f"the {name} is missing or no UID")
        return value

    def failure_reason(self, item: _Elements) -> int:
        start, end = item.get(_FAILURE_REASON, (0, 0))
        value = int.from_bytes(self._data[start:end], "little") if end - start == 2 else 0
        # A reason of nought would read as "committed".
        return value or FailureReason.PROCESSING_FAILURE

    def _elements(self, start: int, end: int, depth: int, delimited: bool) -> tuple[_Elements, int]:
        """Return the places of the elements from ``start`` to ``end`` or to an item's end, and what comes after."""
        if depth > _DEEPEST:
            raise NotParseable("the data set is nested too deep")
        found: _Elements = {}
        while start < end:
            tag, length, start = self._head(start, end)
            if tag == _ITEM_END and delimited:
                return found, start
            if length == _UNDEFINED:
                value, start = start, self._after_sequence(start, end, depth)
                found[tag] = value, start - _TAG_AND_LENGTH.size
            else:
                value, start = start, self._end(start, length, end)
                found[tag] = value, start
            if len(found) > _MOST_ELEMENTS:
                raise NotParseable("the data set has more elements than any of its kind")
        if delimited:
            raise NotParseable("an item does not end")
        return found, start

    def _after_sequence(self, start: int, end: int, depth: int) -> int:
        while start < end:
            tag, length, start = self._head(start, end)
            if tag == _SEQUENCE_END:
                return start
            if tag != _ITEM:
                raise NotParseable("a sequence holds something else than items")
            if length == _UNDEFINED:
                start = self._elements(start, end, depth + 1, delimited=True)[1]
            else:
                start = self._end(start, length, end)
        raise NotParseable("a sequence does not end")

    def _head(self, start: int, end: int) -> tuple[int, int, int]:
        """Return tag, length and where the value starts."""
        self._left -= 1
        if self._left < 0:
            raise TooLarge("the data set has too many elements")
        if start + _TAG_AND_LENGTH.size > end:
            raise NotParseable("an element is cut short")
        group, element, length = _TAG_AND_LENGTH.unpack_from(self._data, start)
        value = start + _TAG_AND_LENGTH.size
        if self._implicit or group == 0xFFFE:
            return group << 16 | element, length, value
        if self._data[start + 4 : start + 6] not in _LONG_VRS:
            return group << 16 | element, length >> 16, value
        if value + _LONG_LENGTH.size > end:
            raise NotParseable("an element is cut short")
        return group << 16 | element, _LONG_LENGTH.unpack_from(self._data, value)[0], value + _LONG_LENGTH.size

    @staticmethod
    def _end(start: int, length: int, end: int) -> int:
        if start + length > end:
            raise NotParseable("an element is longer than what holds it")
        return start + length


class _Writer:
    """Writes elements in one transfer syntax."""

    def __init__(self, transfer_syntax: str) -> None:
        self._implicit = transfer_syntax == ImplicitVRLittleEndian

    def element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        head = tag >> 16, tag & 0xFFFF
        if self._implicit:
            return _TAG_AND_LENGTH.pack(*head, len(value)) + value
        if vr in _LONG_VRS:
            return _TAG_AND_LENGTH.pack(*head, int.from_bytes(vr, "little")) + _LONG_LENGTH.pack(len(value)) + value
        return _TAG_AND_LENGTH.pack(*head, int.from_bytes(vr, "little") | len(value) << 16) + value

    def uid(self, tag: int, uid: str) -> bytes:
        return self.element(tag, b"UI", _even(uid.encode("ascii"), b"\0"))

    def reference(self, reference: Reference) -> bytes:
        return self.uid(_REFERENCED_SOP_CLASS_UID, reference.sop_class_uid) + self.uid(
            _REFERENCED_SOP_INSTANCE_UID, reference.sop_instance_uid
        )

    def sequence(self, tag: int, items: Iterable[bytes]) -> bytes:
        value = b"".join(_TAG_AND_LENGTH.pack(0xFFFE, 0xE000, len(item)) + item for item in items)
        return self.element(tag, b"SQ", value)


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value
