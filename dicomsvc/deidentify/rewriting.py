"""The walk over a data set that writes another one (PS3.5 7): front to back, each element by its action.

The data set has been walked before by `dicomsvc.dicom.part10.parse_instance`, which refuses what is broken, too deep or
cut short; this walk looks at all of that again. Sequences go out with undefined lengths. A sequence of which nothing
is left is left out; an item of which nothing is left stays, since others count items.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from mmap import mmap
from typing import Final

from dicomsvc.deidentify.layout import Layout
from dicomsvc.deidentify.rules import Action, Rules
from dicomsvc.deidentify.safe_private import SAFE, safe_vr
from dicomsvc.deidentify.values import ItemScope, Values
from dicomsvc.dicom.charset import CharacterSet
from dicomsvc.dicom.dictionary import dictionary_vr
from dicomsvc.dicom.elements import MAX_DEPTH
from dicomsvc.dicom.encoding import (
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    OFFSET_TABLES,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    SPECIFIC_CHARACTER_SET,
    UNDEFINED,
    Encoding,
    Head,
)
from dicomsvc.dicom.fragments import walk_fragments
from dicomsvc.errors import NotParseable

CHUNK: Final = 1 << 20
_LARGE: Final = 1 << 16
_CONCEPT_NAME_CODE_SEQUENCE: Final = 0x0040A043
_SEQUENCE_ACTIONS: Final = (Action.ITEMS, Action.EMPTY, Action.ANONYMOUS_CODE)
Write = Callable[[bytes], object]
PixelWriter = Callable[[Head, str], int]
"""Writes the pixel data element and returns where the one that came ends."""


@dataclass(slots=True)
class _State:
    buffer: bytearray = field(default_factory=bytearray)
    written: int = 0
    epoch: int = 0
    muted: int = 0


class Rewriter:
    """Writes one data set."""

    def __init__(
        self,
        data: mmap,
        fd: int,
        write: Write,
        rules: Rules,
        values: Values,
        marks: Iterable[tuple[int, bytes]],
        *,
        keep_safe_private: bool,
        true_tables: frozenset[int],
        pixels: PixelWriter,
        anonymous_code: bytes,
    ) -> None:
        self._data = data
        self._fd = fd
        self._write = write
        self._rules = rules
        self._values = values
        self._marks = list(marks)
        self._marked = frozenset(tag for tag, _ in self._marks)
        self._keep_safe_private = keep_safe_private
        self._true_tables = true_tables
        self._pixels = pixels
        self._anonymous_code = anonymous_code
        self._state = _State()
        self._layouts: dict[Encoding, Layout] = {}

    def run(self, position: int, encoding: Encoding) -> None:
        """Rewrite the data set from ``position`` to the end of the file.

        Raises
        ------
        NotParseable
            When its structure is broken.
        """
        scope = ItemScope(CharacterSet((), _ignore), encoding)
        self._elements(position, len(self._data), False, scope, {})
        self._marks_before(1 << 32)
        self._flush()

    def _elements(self, position: int, end: int, delimited: bool, scope: ItemScope, creators: dict[int, str]) -> int:
        data, encoding = self._data, scope.encoding
        while position < end:
            key = data[position : position + 8]
            head = encoding.heads.get(key) or encoding.head(key)
            tag = head.tag
            if tag == ITEM_DELIMITER and delimited:
                return position + 8
            if tag >> 16 == 0xFFFE:
                raise NotParseable("an item or delimiter stands where an element should")
            if tag == 0 and not scope.depth:
                return end
            if not scope.depth and self._marks and self._marks[0][0] <= tag:
                self._marks_before(tag)
            length = head.length
            if length < 0:
                length = encoding.length_at(data[position + 8 : position + 12])
            position = self._element(head, position + head.header, length, end, scope, creators)
        if delimited or position > end:
            raise NotParseable("the data set is cut short inside an item")
        return position

    def _element(
        self, head: Head, value: int, length: int, end: int, scope: ItemScope, creators: dict[int, str]
    ) -> int:
        tag = head.tag
        if length != UNDEFINED and value + length > end:
            raise NotParseable("the data set is cut short inside an element")
        if tag in PIXEL_DATA and not scope.depth:
            self._flush()
            return self._pixels(head, "OW" if scope.encoding.implicit else head.vr or "OW")
        vr, action = self._decide(head, tag, scope, creators, value, length)
        if length == UNDEFINED:
            if head.vr not in ("SQ", "UN", None) or tag in PIXEL_DATA:
                return walk_fragments(self._fd, value, end).end
            inner = scope.encoding if head.vr == "SQ" else IMPLICIT_LITTLE
            return self._sequence(head, vr, action, value, end, False, scope, inner)
        stop = value + length
        if action is Action.REMOVE or tag & 0xFFFF == 0 or tag >> 16 in (0x0000, 0x0002):
            return stop
        if vr == "SQ":
            self._defined_sequence(head, action, value, stop, scope)
        elif action is Action.KEEP and length > _LARGE:
            self._copy(tag, vr, value, stop, scope)
        else:
            self._value(tag, vr, action, self._data[value:stop], scope)
        return stop

    def _decide(
        self, head: Head, tag: int, scope: ItemScope, creators: dict[int, str], value: int, length: int
    ) -> tuple[str, Action]:
        """Return the VR that an element goes out with, and what is done with it."""
        if tag >> 16 & 1:
            return self._decide_private(head, tag, creators, value, length)
        vr = head.vr or "UN"
        if vr == "UN":
            known = dictionary_vr(tag)
            if known is None or scope.encoding.endian == ">":
                return vr, Action.REMOVE
            vr = "US" if known.startswith("US or") else known
        action = self._rules.action(tag, vr)
        if tag in OFFSET_TABLES:
            action = Action.KEEP if not scope.depth and tag in self._true_tables else Action.REMOVE
        elif tag in PIXEL_DATA or (not scope.depth and tag in self._marked):
            action = Action.REMOVE
        elif vr == "SQ":
            action = action if action in _SEQUENCE_ACTIONS else Action.REMOVE
        elif length == UNDEFINED or action in (Action.ITEMS, Action.ANONYMOUS_CODE):
            action = Action.REMOVE
        return vr, action

    def _decide_private(
        self, head: Head, tag: int, creators: dict[int, str], value: int, length: int
    ) -> tuple[str, Action]:
        number = tag & 0xFFFF
        if not self._keep_safe_private or length == UNDEFINED:
            return "UN", Action.REMOVE
        if 0x10 <= number <= 0xFF:
            creator = self._data[value : value + min(length, 64)].decode("latin-1").strip(" \0")
            if creator not in SAFE or length > 64:
                return "LO", Action.REMOVE
            creators[tag >> 16 << 8 | number] = creator
            return "LO", Action.KEEP
        vr = safe_vr(creators.get(tag >> 8, ""), tag)
        if vr is None or head.vr not in (vr, None, "UN"):
            return "UN", Action.REMOVE
        return vr, {"DS": Action.NUMBER_TEXT, "IS": Action.NUMBER_TEXT, "CS": Action.CODE_STRING}.get(vr, Action.KEEP)

    def _value(self, tag: int, vr: str, action: Action, raw: bytes, scope: ItemScope) -> None:
        if vr.startswith(("US or", "OB or")):
            vr = "OW"
        made = self._values.make(action, tag, vr, raw, scope)
        if tag == SPECIFIC_CHARACTER_SET and made is not None:
            terms = tuple(term.strip(" \0") for term in raw.decode("latin-1").split("\\")[:16])
            scope.charset = CharacterSet(terms, _ignore)
        if made is not None:
            self._emit(self._layout(scope.encoding).element(tag, vr, made))

    def _copy(self, tag: int, vr: str, value: int, stop: int, scope: ItemScope) -> None:
        """Copy a large value piece by piece."""
        length = stop - value
        self._emit(self._layout(scope.encoding).head(tag, vr, length + length % 2))
        if self._state.muted:
            return
        self._flush()
        for start in range(value, stop, CHUNK):
            self._write(self._data[start : min(stop, start + CHUNK)])
        if length % 2:
            self._state.buffer += b"\0"

    def _defined_sequence(self, head: Head, action: Action, value: int, stop: int, scope: ItemScope) -> None:
        if head.vr != "UN":
            self._sequence(head, "SQ", action, value, stop, True, scope, scope.encoding)
            return
        # PS3.5 6.2.2: it may be a sequence in Implicit VR Little Endian; where it is none nothing of it goes out.
        state = self._state
        start, epoch, written, muted = len(state.buffer), state.epoch, state.written, state.muted
        try:
            self._sequence(head, "UN", action, value, stop, True, scope, IMPLICIT_LITTLE)
        except NotParseable:
            if state.epoch != epoch:
                raise
            del state.buffer[start:]
            state.written, state.muted = written, muted

    def _sequence(
        self,
        head: Head,
        vr: str,
        action: Action,
        position: int,
        end: int,
        defined: bool,
        scope: ItemScope,
        inner: Encoding,
    ) -> int:
        """Rewrite the items up to ``end``, or to the sequence delimiter before it; return where they end."""
        if scope.depth >= MAX_DEPTH:
            raise NotParseable(f"sequences are nested more than {MAX_DEPTH} deep")
        state, layout = self._state, self._layout(inner)
        start, epoch, written = len(state.buffer), state.epoch, state.written
        outer = self._layout(scope.encoding)
        if action is Action.ANONYMOUS_CODE:
            self._emit(self._anonymous_code if scope.encoding is inner else b"")
        elif action is Action.EMPTY:
            self._emit(outer.head(head.tag, "SQ", 0))
        dropped = action is not Action.ITEMS
        state.muted += dropped
        self._open(outer.head(head.tag, "UN" if head.vr == "UN" else "SQ", UNDEFINED))
        number = 0
        while position < end:
            tag, length = inner.item_head(self._data[position : position + 8])
            position += 8
            if tag == SEQUENCE_DELIMITER and not defined:
                break
            if tag != ITEM:
                raise NotParseable("a sequence holds something that is no item")
            number += 1
            position = self._item(position, length, end, scope, inner, head.tag)
        else:
            if not defined:
                raise NotParseable("the data set is cut short inside a sequence")
        self._open(layout.sequence_end)
        state.muted -= dropped
        if not dropped and number and state.written == written and state.epoch == epoch:
            del state.buffer[start:]
        return position

    def _item(self, position: int, length: int, end: int, scope: ItemScope, inner: Encoding, tag: int) -> int:
        layout = self._layout(inner)
        child = ItemScope(scope.charset, inner, scope.depth + 1)
        self._open(layout.item)
        if length == UNDEFINED:
            position = self._elements(position, end, True, child, {})
        elif length > end - position:
            raise NotParseable("the data set is cut short inside an item")
        else:
            position = self._elements(position, position + length, False, child, {})
        self._open(layout.item_end)
        if tag == _CONCEPT_NAME_CODE_SEQUENCE:
            scope.concept = child.scheme, child.code_value
        return position

    def _layout(self, encoding: Encoding) -> Layout:
        found = self._layouts.get(encoding)
        if found is None:
            found = self._layouts[encoding] = Layout(encoding)
        return found

    def _marks_before(self, tag: int) -> None:
        while self._marks and self._marks[0][0] < tag:
            self._emit(self._marks.pop(0)[1])

    def _open(self, data: bytes) -> None:
        if not self._state.muted:
            self._state.buffer += data

    def _emit(self, data: bytes) -> None:
        state = self._state
        if state.muted or not data:
            return
        if len(state.buffer) > CHUNK:
            self._flush()
        state.buffer += data
        state.written += 1

    def _flush(self) -> None:
        if self._state.buffer:
            self._write(bytes(self._state.buffer))
            self._state.buffer.clear()
            self._state.epoch += 1


def _ignore(fault: str) -> None:
    """Faults of character sets were noted when the object came."""
