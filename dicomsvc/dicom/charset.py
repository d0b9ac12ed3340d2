"""Text of a data set in the repertoires that Specific Character Set (0008,0005) names (PS3.5 6.1, PS3.3 C.12.1.1.2)."""

import re
from collections.abc import Callable
from typing import Final

from pydicom.charset import CODES_TO_ENCODINGS, STAND_ALONE_ENCODINGS, default_encoding, python_encoding

_ESCAPE = b"\x1b"
_FRAGMENTS = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
_FOUR_BYTE_ESCAPES = (b"\x1b$(", b"\x1b$)")
# Python's codecs that read the escape sequence themselves.
_READ_ESCAPES = frozenset({"iso2022_jp", "iso2022_jp_2"})
# PS3.5 6.1.2.5.3: what follows one of these is in the initial repertoire again.
_TEXT_DELIMITERS = re.compile(rb"[\\\n\f\r\t]")
_NAME_DELIMITERS = re.compile(rb"[\\^=\n\f\r\t]")
UNDECODABLE: Final = "a text is not encoded as SpecificCharacterSet says"


def _encoding(term: str) -> str | None:
    """Return Python's codec for a defined term, also for one written with other separators."""
    if term in python_encoding:
        return str(python_encoding[term])
    if re.match(r"ISO.IR", term):
        term = "ISO_IR" + term[6:]
    elif re.match(r"ISO.2022.IR.", term):
        term = "ISO 2022 IR " + term[12:]
    found = python_encoding.get(term)
    return None if found is None else str(found)


class CharacterSet:
    """The repertoire that is in force in a data set or item; `fault` is told what could not be decoded."""

    __slots__ = ("_encodings", "_fault", "terms")

    def __init__(self, terms: tuple[str, ...], fault: Callable[[str], None]) -> None:
        self.terms = terms
        self._fault = fault
        initial, *extensions = terms or ("",)
        first = _encoding(initial)
        if first is None or (extensions and initial in STAND_ALONE_ENCODINGS):
            fault("SpecificCharacterSet: a term is unknown or not allowed where it stands")
            extensions = []
        self._encodings = [first or str(default_encoding)]
        for term in extensions:
            encoding = None if term in STAND_ALONE_ENCODINGS else _encoding(term)
            if encoding is None:
                fault("SpecificCharacterSet: a term is unknown or not allowed where it stands")
            else:
                self._encodings.append(encoding)

    def decode(self, value: bytes, *, name: bool = False) -> str:
        """Decode a value with all its delimiters; what is not in the repertoire becomes U+FFFD."""
        if _ESCAPE not in value:
            return value.decode("ascii") if value.isascii() else self._strictly(value, self._encodings[0])
        delimiters = _NAME_DELIMITERS if name else _TEXT_DELIMITERS
        return "".join(self._fragment(part, delimiters) for part in _FRAGMENTS.findall(value))

    def _fragment(self, fragment: bytes, delimiters: re.Pattern[bytes]) -> str:
        if not fragment.startswith(_ESCAPE):
            return self._strictly(fragment, self._encodings[0])
        size = 4 if fragment.startswith(_FOUR_BYTE_ESCAPES) else 3
        encoding = CODES_TO_ENCODINGS.get(fragment[:size])
        if encoding is None or (encoding not in self._encodings and encoding != default_encoding):
            self._fault(UNDECODABLE)
            return fragment[size:].decode(self._encodings[0], "replace")
        if encoding in _READ_ESCAPES:
            return self._strictly(fragment, encoding)
        text = fragment[size:]
        delimiter = delimiters.search(text)
        stop = len(text) if delimiter is None else delimiter.start()
        return self._strictly(text[:stop], encoding) + self._strictly(text[stop:], self._encodings[0])

    def _strictly(self, value: bytes, encoding: str) -> str:
        try:
            return value.decode(encoding)
        except UnicodeError:
            self._fault(UNDECODABLE)
            return value.decode(encoding, "replace")
