"""The walk over a data set that writes another one (PS3.5 7): front to back, each element by its action.

The data set has been walked before by `dicomsvc.dicom.part10.parse_instance`, which refuses what is broken, too deep or
cut short; this walk looks at all of that again. Sequences go out with undefined lengths. A sequence of which nothing
is left is left out; an item of which nothing is left stays, since others count items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from dicomsvc.deidentify.layout import Layout
from dicomsvc.deidentify.output import CHUNK, Output, Write
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

_LARGE: Final = 1 << 16
_CONCEPT_NAME_CODE_SEQUENCE: Final = 0x0040A043
_SEQUENCE_ACTIONS: Final = (Action.ITEMS, Action.EMPTY, Action.ANONYMOUS_CODE)
PixelWriter = Callable[[Head, str], int]
"""Writes the pixel data element and returns where the one that came ends."""


@dataclass(frozen=True, slots=True)
class _Extent:
    """Where the items of a sequence lie: up to ``end`` when its length is defined, else to the delimiter before it."""

    start: int
    end: int
    defined: bool
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with one object."""

    rules: Rules
    values: Values
    marks: tuple[tuple[int, bytes], ...]
    """Top level elements that are written anew, by tag in ascending order."""
    true_tables: frozenset[int]
    """Extended offset tables that agree with the items and stay."""
    pixels: PixelWriter
    anonymous_code: bytes
    """Person Identification Code Sequence that identifies nobody."""
    keep_safe_private: bool


class Rewriter:
    """Writes one data set of a mapped file."""

    def __init__(self, data: mmap, fd: int, write: Write, plan: Plan) -> None:
        self._data = data
        self._fd = fd
        self._plan = plan
        self._marks = list(plan.marks)
        self._marked = frozenset(tag for tag, _ in plan.marks)
        self._output = Output(write)
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
        self._output.hand_on()

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
            self._output.hand_on()
            return self._plan.pixels(head, "OW" if scope.encoding.implicit else head.vr or "OW")
        vr, action = self._decide(head, tag, scope, creators, value, length)
        if length == UNDEFINED:
            if head.vr not in ("SQ", "UN", None) or tag in PIXEL_DATA:
                return walk_fragments(self._fd, value, end).end
            inner = scope.encoding if head.vr == "SQ" else IMPLICIT_LITTLE
            return self._sequence(tag, head.vr or "UN", action, _Extent(value, end, False, inner), scope)
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
        action = self._plan.rules.action(tag, vr)
        if tag in OFFSET_TABLES:
            action = Action.KEEP if not scope.depth and tag in self._plan.true_tables else Action.REMOVE
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
        if not self._plan.keep_safe_private or length == UNDEFINED:
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
        made = self._plan.values.make(action, tag, vr, raw, scope)
        if tag == SPECIFIC_CHARACTER_SET and made is not None:
            terms = tuple(term.strip(" \0") for term in raw.decode("latin-1").split("\\")[:16])
            scope.charset = CharacterSet(terms, _ignore)
        if made is not None:
            self._output.element(self._layout(scope.encoding).element(tag, vr, made))

    def _copy(self, tag: int, vr: str, value: int, stop: int, scope: ItemScope) -> None:
        """Copy a large value piece by piece."""
        length = stop - value
        self._output.element(self._layout(scope.encoding).head(tag, vr, length + length % 2))
        self._output.large(self._data[start : min(stop, start + CHUNK)] for start in range(value, stop, CHUNK))
        self._output.frame(b"\0" * (length % 2))

    def _defined_sequence(self, head: Head, action: Action, value: int, stop: int, scope: ItemScope) -> None:
        if head.vr != "UN":
            self._sequence(head.tag, "SQ", action, _Extent(value, stop, True, scope.encoding), scope)
            return
        # PS3.5 6.2.2: it may be a sequence in Implicit VR Little Endian; where it is none nothing of it goes out.
        checkpoint = self._output.checkpoint()
        try:
            self._sequence(head.tag, "UN", action, _Extent(value, stop, True, IMPLICIT_LITTLE), scope)
        except NotParseable:
            if not self._output.roll_back(checkpoint):
                raise

    def _sequence(self, tag: int, vr: str, action: Action, extent: _Extent, scope: ItemScope) -> int:
        """Rewrite a sequence; return where it ends."""
        if scope.depth >= MAX_DEPTH:
            raise NotParseable(f"sequences are nested more than {MAX_DEPTH} deep")
        output, outer = self._output, self._layout(scope.encoding)
        if action is Action.ANONYMOUS_CODE and scope.encoding is extent.encoding:
            output.element(self._plan.anonymous_code)
        elif action is Action.EMPTY:
            output.element(outer.head(tag, "SQ", 0))
        dropped = action is not Action.ITEMS
        output.muted += dropped
        checkpoint = output.checkpoint()
        output.frame(outer.head(tag, vr, UNDEFINED))
        end, number = self._items(tag, extent, scope)
        output.frame(self._layout(extent.encoding).sequence_end)
        if number and not dropped and not output.has_elements_since(checkpoint):
            output.roll_back(checkpoint)
        output.muted -= dropped
        return end

    def _items(self, tag: int, extent: _Extent, scope: ItemScope) -> tuple[int, int]:
        """Rewrite items; return where they end, a delimiter included, and their number."""
        position, number = extent.start, 0
        while position < extent.end:
            found, length = extent.encoding.item_head(self._data[position : position + 8])
            position += 8
            if found == SEQUENCE_DELIMITER and not extent.defined:
                return position, number
            if found != ITEM:
                raise NotParseable("a sequence holds something that is no item")
            number += 1
            position = self._item(tag, position, length, extent, scope)
        if not extent.defined:
            raise NotParseable("the data set is cut short inside a sequence")
        return position, number

    def _item(self, tag: int, position: int, length: int, extent: _Extent, scope: ItemScope) -> int:
        layout, end = self._layout(extent.encoding), extent.end
        child = ItemScope(scope.charset, extent.encoding, scope.depth + 1)
        self._output.frame(layout.item)
        if length == UNDEFINED:
            position = self._elements(position, end, True, child, {})
        elif length > end - position:
            raise NotParseable("the data set is cut short inside an item")
        else:
            position = self._elements(position, position + length, False, child, {})
        self._output.frame(layout.item_end)
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
            self._output.element(self._marks.pop(0)[1])


def _ignore(fault: str) -> None:
    """Faults of character sets were noted when the object came."""
