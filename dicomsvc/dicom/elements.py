"""The walk over an untrusted data set (PS3.5 7): once, without recursion into values that repeat, in bounded memory.

The walk writes DICOM JSON text piece by piece. Elements and short sequences that occur again, byte for byte, are
converted once: most of the per-frame functional groups of a slide are such repetitions.
"""

from mmap import mmap
from typing import Final

from dicomsvc.dicom.attributes import AttributeCollector
from dicomsvc.dicom.charset import CharacterSet
from dicomsvc.dicom.dictionary import IMPLICIT_SIGNED, dictionary_vr, label, private_vr
from dicomsvc.dicom.encoding import (
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    OFFSET_TABLES,
    PIXEL_DATA,
    PIXEL_REPRESENTATION,
    SEQUENCE_DELIMITER,
    SPECIFIC_CHARACTER_SET,
    UNDEFINED,
    Encoding,
    Head,
)
from dicomsvc.dicom.fragments import walk_fragments
from dicomsvc.dicom.json import CUT, BulkRange, MetadataBuilder
from dicomsvc.dicom.scope import Context, PixelElement, Scope
from dicomsvc.dicom.values import BINARY, element_text
from dicomsvc.errors import NotParseable

MAX_DEPTH: Final = 32
MAX_BULK_VALUES: Final = 1 << 18
INLINE_BYTES: Final = 64
"""Largest O* or UN value that stands in the metadata itself."""
TEXT_BYTES: Final = 1 << 20
"""Largest value of another VR that does."""
_MEMO_ELEMENT = 256
_MEMO_SEQUENCE = 512
_MEMO_BYTES = 1 << 24
_MEMO_OVERHEAD = 250
_MAX_ELEMENTS = 1 << 16
_FLUSH_PIECES = 1 << 14
_FLUSH_BYTES = 1 << 22
_UNKNOWN_SEQUENCE_BYTES = 1 << 20
_MAX_WARNINGS = 50
_MAX_CONTEXTS = 64
_MAX_PADDING = 1 << 20
_CUT_SHORT = "the data set is cut short inside an element"


class Walker:
    """Walks one data set of a mapped file.

    After `walk`, `bulk`, `pixels` and `warnings` hold what was found beside the JSON that went to `builder` and
    `attributes`.
    """

    def __init__(
        self, data: mmap, fd: int, builder: MetadataBuilder, attributes: AttributeCollector, max_header_bytes: int
    ) -> None:
        self.bulk: dict[str, BulkRange] = {}
        self.pixels: PixelElement | None = None
        self.warnings: dict[str, None] = {}
        self._data = data
        self._fd = fd
        self._builder = builder
        self._attributes = attributes
        self._limit = max_header_bytes
        self._max_header_bytes = max_header_bytes
        self._out: list[str] = []
        self._out_bytes = 0
        self._flushed = False
        self._held = 0
        self._memo_bytes = 0
        self._fault_tag = 0
        self._contexts: dict[tuple[bool, tuple[str, ...], str], Context] = {}

    def warn(self, text: str) -> None:
        """Note a fault that does not stop us; the text holds no values."""
        if len(self.warnings) < _MAX_WARNINGS:
            self.warnings[text] = None

    def walk(self, position: int, encoding: Encoding) -> None:
        """Walk the data set from `position` to the end of the file.

        Raises
        ------
        NotParseable
            When its structure is broken or cut short, or it is deeper or larger than the limits.
        """
        self._limit = position + self._max_header_bytes
        scope = Scope(self._context(encoding, (), "US"))
        self._elements(position, len(self._data), False, scope)
        self._settle()

    def _fault(self, text: str) -> None:
        self.warn(f"{label(self._fault_tag)}: {text}")

    def _context(self, encoding: Encoding, terms: tuple[str, ...], signed: str) -> Context:
        key = (encoding.implicit, terms, signed)
        found = self._contexts.get(key)
        if found is None:
            if len(self._contexts) >= _MAX_CONTEXTS:
                self._contexts.clear()
            found = Context(encoding, CharacterSet(terms, self._fault), signed)
            self._contexts[key] = found
        return found

    def _elements(self, position: int, end: int, delimited: bool, scope: Scope) -> int:
        """Walk elements up to `end`, or to the item delimiter that stands before it; return where they end."""
        data, out = self._data, self._out
        context = scope.context
        heads, memo = context.encoding.heads, context.memo
        last = -1
        tags: list[int] = []
        seen: set[int] | None = None
        while position < end:
            key = data[position : position + 8]
            head = heads.get(key)
            if head is None:
                self._check_limit(position)
                if len(tags) > _MAX_ELEMENTS:
                    raise NotParseable(f"a data set or item has more than {_MAX_ELEMENTS} elements")
                head = context.encoding.head(key)
            tag = head.tag
            if tag <= last or seen is not None:
                seen = self._out_of_order(tag, tags, seen)
            last = tag
            tags.append(tag)
            size = head.size
            if size:
                stop = position + size
                if stop > end:
                    raise NotParseable(_CUT_SHORT)
                element = data[position:stop]
                text = memo.get(element)
                out.append(self._plain(head, element, scope) if text is None else text)
                position = stop
            elif tag == ITEM_DELIMITER and delimited:
                return position + 8
            else:
                position = self._special(head, position, end, scope)
                if scope.context is not context:
                    context = scope.context
                    heads, memo = context.encoding.heads, context.memo
        if delimited or position > end:
            raise NotParseable("the data set is cut short inside an item")
        return position

    def _out_of_order(self, tag: int, tags: list[int], seen: set[int] | None) -> set[int]:
        if seen is None:
            seen = set(tags)
            self.warn("elements are not in ascending order")
        if tag in seen:
            # Readers differ in which of the two they believe.
            raise NotParseable(f"element {label(tag)} occurs twice")
        seen.add(tag)
        return seen

    def _check_limit(self, position: int) -> None:
        if position > self._limit:
            raise NotParseable(f"the data set without bulk data is larger than {self._max_header_bytes} bytes")

    def _plain(self, head: Head, element: bytes, scope: Scope) -> str:
        context, vr = scope.context, head.vr or "UN"
        if vr == IMPLICIT_SIGNED:
            vr = context.signed
        self._fault_tag = head.tag
        value = element[head.header :]
        text = f"{head.name}{element_text(vr, value, context.charset, context.encoding.endian, self._fault)},"
        if len(element) <= _MEMO_ELEMENT:
            self._remember(context, element, text)
        self._relieve(len(text), scope)
        return text

    def _relieve(self, size: int, scope: Scope) -> None:
        """Hand over what waits when, with `size` more, it is much."""
        self._out_bytes += size
        if self._out_bytes > _FLUSH_BYTES:
            if not scope.depth:
                self._settle()
            elif not self._held:
                self._flush()

    def _remember(self, context: Context, element: bytes, text: str) -> None:
        self._memo_bytes += len(element) + len(text) + _MEMO_OVERHEAD
        if self._memo_bytes > _MEMO_BYTES:
            self._memo_bytes = 0
            for each in self._contexts.values():
                each.memo.clear()
        context.memo[element] = text

    def _special(self, head: Head, position: int, end: int, scope: Scope) -> int:
        """Take an element that is not plain; return where it ends."""
        self._check_limit(position)
        if scope.depth:
            return self._element(head, position, end, scope)
        self._settle()
        stop = self._element(head, position, end, scope)
        self._settle(head.tag)
        return stop

    def _settle(self, tag: int = 0) -> None:
        """Hand over the text of finished top level elements."""
        if not self._out:
            return
        text = "".join(self._out)
        self._builder.write(text)
        if tag and not self._flushed:
            self._attributes.add(tag, text)
        elif not tag:
            for piece in self._out:
                self._attributes.add(0, piece)
        self._out.clear()
        self._out_bytes = 0
        self._flushed = False

    def _flush(self) -> None:
        """Hand over a part of a top level sequence that is too long to be kept as a whole.

        The last piece stays: an item's end takes the comma off it.
        """
        last = self._out.pop()
        self._builder.write("".join(self._out))
        self._out[:] = (last,)
        self._out_bytes = 0
        self._flushed = True

    def _element(self, head: Head, position: int, end: int, scope: Scope) -> int:
        tag, value = head.tag, position + head.header
        encoding = scope.context.encoding
        length = head.length
        if length < 0:
            length = encoding.length_at(self._data[position + 8 : position + 12])
        if tag >> 16 == 0xFFFE:
            raise NotParseable("an item or delimiter stands where an element should")
        if tag == 0 and not scope.depth:
            return self._padding(position, end)
        vr = head.vr or private_vr(tag, scope.creators.get(tag >> 8))
        if vr == IMPLICIT_SIGNED:
            vr = scope.context.signed
        if length == UNDEFINED:
            return self._undefined(head, vr, value, end, scope)
        stop = value + length
        if stop > end:
            raise NotParseable("pixel data is cut short" if tag in PIXEL_DATA else _CUT_SHORT)
        if tag & 0xFFFF == 0 or tag >> 16 == 0x0002:
            return stop  # PS3.18 F.2.2: no group lengths, no File Meta Information
        if tag in PIXEL_DATA and not scope.depth:
            self._pixels(PixelElement(tag, value, length, None))
            self._bulk_value(head, vr, BulkRange(value, length, vr), scope)
        elif vr == "UN" and not encoding.implicit and encoding.endian == "<":
            self._unknown(head, value, stop, scope)
        elif vr == "SQ":
            self._defined_sequence(head, position, value, stop, scope)
        else:
            self._value(head, vr, value, stop, scope)
        return stop

    def _padding(self, position: int, end: int) -> int:
        if end - position > _MAX_PADDING or any(self._data[position:end]):
            raise NotParseable("the data set is followed by something else")
        self.warn("the data set is followed by padding that is no element")
        return end

    def _undefined(self, head: Head, vr: str, value: int, end: int, scope: Scope) -> int:
        if vr == "SQ":
            return self._sequence(head, value, end, False, scope, scope.context)
        if vr == "UN":
            # PS3.5 6.2.2: a sequence in Implicit VR Little Endian.
            context = self._context(IMPLICIT_LITTLE, scope.context.charset.terms, scope.context.signed)
            return self._sequence(head, value, end, False, scope, context)
        if vr not in BINARY or scope.context.encoding.endian == ">":
            raise NotParseable(f"element {label(head.tag)} has no length")
        fragments = walk_fragments(self._fd, value, end)
        length = fragments.end - value
        if head.tag in PIXEL_DATA and not scope.depth:
            self._pixels(PixelElement(head.tag, value, length, fragments))
        self._bulk_value(head, vr, BulkRange(value, length, vr, True), scope)
        return fragments.end

    def _pixels(self, element: PixelElement) -> None:
        if self.pixels is not None:
            self.warn("there is more than one pixel data element")
        self.pixels = element

    def _value(self, head: Head, vr: str, value: int, stop: int, scope: Scope) -> None:
        size = stop - value
        if size > (INLINE_BYTES if vr in BINARY else TEXT_BYTES) or (head.tag in OFFSET_TABLES and not scope.depth):
            self._bulk_value(head, vr, BulkRange(value, size, vr), scope)
            return
        context, tag = scope.context, head.tag
        raw = self._data[value:stop]
        self._fault_tag = tag
        text = element_text(vr, raw, context.charset, context.encoding.endian, self._fault)
        self._out.append(f"{head.name}{text},")
        if scope.depth:
            self._relieve(len(text), scope)
        if tag == SPECIFIC_CHARACTER_SET:
            terms = tuple(term.strip(" \0") for term in raw.decode("latin-1").split("\\")[:16])
            scope.context = self._context(context.encoding, terms, context.signed)
        elif tag == PIXEL_REPRESENTATION:
            signed = "SS" if any(raw) else "US"
            scope.context = self._context(context.encoding, context.charset.terms, signed)
        elif tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            creator = raw[:64].decode("latin-1").strip(" \0")
            scope.creators[tag >> 16 << 8 | tag & 0xFF] = creator

    def _unknown(self, head: Head, value: int, stop: int, scope: Scope) -> None:
        """Take a UN value as what the dictionaries know it to be (PS3.5 6.2.2), else as it is."""
        tag = head.tag
        if tag >> 16 & 1:
            vr = private_vr(tag, scope.creators.get(tag >> 8))
        else:
            vr = dictionary_vr(tag) or "UN"
        if vr == IMPLICIT_SIGNED:
            vr = scope.context.signed
        if vr != "SQ" or stop - value > _UNKNOWN_SEQUENCE_BYTES:
            self._value(head, "UN" if vr == "SQ" else vr, value, stop, scope)
            return
        context = self._context(IMPLICIT_LITTLE, scope.context.charset.terms, scope.context.signed)
        pieces, bulk = len(self._out), len(self.bulk)
        self._held += 1
        try:
            self._sequence(head, value, stop, True, scope, context)
        except NotParseable:
            del self._out[pieces:]
            for path in list(self.bulk)[bulk:]:
                del self.bulk[path]
            self._value(head, "UN", value, stop, scope)
        finally:
            self._held -= 1

    def _defined_sequence(self, head: Head, position: int, value: int, stop: int, scope: Scope) -> None:
        context, out = scope.context, self._out
        if stop - value > _MEMO_SEQUENCE or not scope.depth:
            self._sequence(head, value, stop, True, scope, context)
            return
        element = self._data[position:stop]
        text = context.memo.get(element)
        if text is None:
            pieces, bulk = len(out), len(self.bulk)
            self._held += 1
            try:
                self._sequence(head, value, stop, True, scope, context)
            finally:
                self._held -= 1
            text = "".join(out[pieces:])
            del out[pieces:]
            if len(self.bulk) == bulk:
                self._remember(context, element, text)
        out.append(text)

    def _sequence(self, head: Head, position: int, end: int, defined: bool, scope: Scope, context: Context) -> int:
        """Walk the items up to `end`, or to the sequence delimiter that stands before it; return where they end."""
        if scope.depth >= MAX_DEPTH:
            raise NotParseable(f"sequences are nested more than {MAX_DEPTH} deep")
        data, out, encoding = self._data, self._out, context.encoding
        start = f'{head.name}{{"vr":"SQ","Value":[{{'
        path = f"{scope.path}{head.tag:08X}/"
        number = 0
        while position < end:
            tag, length = encoding.item_head(data[position : position + 8])
            position += 8
            if tag == SEQUENCE_DELIMITER and not defined:
                break
            if tag != ITEM:
                raise NotParseable(f"sequence {label(head.tag)} holds something that is no item")
            number += 1
            out.append(start)
            start = ",{"
            position = self._item(position, length, end, Scope(context, scope.depth + 1, f"{path}{number}/"))
            if len(out) > _FLUSH_PIECES and not self._held:
                self._flush()
        else:
            if not defined:
                raise NotParseable("the data set is cut short inside a sequence")
        if position > end:
            raise NotParseable("the data set is cut short inside a sequence")
        out.append("]}," if number else f'{head.name}{{"vr":"SQ"}},')
        return position

    def _item(self, position: int, length: int, end: int, scope: Scope) -> int:
        out = self._out
        self._check_limit(position)
        if length == UNDEFINED:
            position = self._elements(position, end, True, scope)
        elif length > end - position:
            raise NotParseable("the data set is cut short inside an item")
        else:
            position = self._elements(position, position + length, False, scope)
        if out[-1].endswith(","):
            out[-1] = out[-1][:-1]
        out.append("}")
        return position

    def _bulk_value(self, head: Head, vr: str, where: BulkRange, scope: Scope) -> None:
        path = f"{scope.path}{head.tag:08X}"
        if len(self.bulk) >= MAX_BULK_VALUES:
            raise NotParseable(f"the data set has more than {MAX_BULK_VALUES} bulk values")
        self.bulk[path] = where
        self._limit += where.length
        self._out.append(f'{head.name}{{"vr":"{vr}","BulkDataURI":"{CUT}/bulkdata/{path}"}},')
