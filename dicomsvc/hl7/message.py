"""A message as segments and fields, in whatever character set it came (HL7 v2.5.1 chapter 2)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

from dicomsvc.dicom.codecs import codec_named
from dicomsvc.errors import BadRequest, NotParseable

CHARSETS: Final = {
    "ASCII": "ascii", "8859/1": "iso8859-1", "8859/2": "iso8859-2", "8859/3": "iso8859-3", "8859/4": "iso8859-4",
    "8859/5": "iso8859-5", "8859/6": "iso8859-6", "8859/7": "iso8859-7", "8859/8": "iso8859-8",
    "8859/9": "iso8859-9", "8859/15": "iso8859-15", "ISO IR6": "ascii", "ISO IR14": "shift_jis",
    "ISO IR87": "iso2022_jp_2", "ISO IR159": "iso2022_jp_2", "GB 18030-2000": "gb18030", "BIG-5": "big5",
    "KS X 1001": "euc_kr", "UNICODE": "utf-8", "UNICODE UTF-8": "utf-8",
    # Not in the table, but on the wire.
    "UTF-8": "utf-8", "UTF8": "utf-8", "GB18030": "gb18030", "GBK": "gb18030", "GB2312": "gb18030",
    "CP936": "gb18030", "BIG5": "big5", "ISO-8859-1": "iso8859-1", "WINDOWS-1252": "cp1252", "CP1252": "cp1252",
}  # fmt: skip
"""Python's codecs for HL7 table 0211; names are compared in capitals."""
_CHARSET_FIELD: Final = 18
_MOST_SEGMENTS: Final = 200_000
_MOST_FIELDS: Final = 100
_ESCAPES: Final = r"!(?:[FSTREPHN]|\.(?i:br|sp|ce|sk|fi|nf|in|ti)[ +\-]?[0-9]{0,2}|[XCMZ](?:[0-9A-Fa-f]{2})+)!"
_TIME = re.compile(r"(\d{4})(\d\d)?(\d\d)?(?:(\d\d)(\d\d)?(\d\d)?(?:\.(\d{1,6})\d*)?)?([+-]\d{4})?$")


@dataclass(frozen=True, slots=True)
class Separators:
    """The encoding characters of MSH-1 and MSH-2."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


@dataclass(frozen=True, slots=True)
class Segment:
    """``fields[0]`` is the segment's name, ``fields[n]`` field n, still escaped; MSH-1 is the separator itself."""

    fields: tuple[str, ...]
    separators: Separators
    codec: str

    @property
    def name(self) -> str:
        return self.fields[0]

    def field(self, number: int) -> str:
        """Return a field as it stands, empty where it is missing or null (``""``)."""
        text = self.fields[number] if number < len(self.fields) else ""
        return "" if text == '""' else text

    def repetitions(self, number: int) -> list[str]:
        text = self.field(number)
        return text.split(self.separators.repetition) if text else []

    def component(self, number: int, component: int = 1, *, of: str | None = None) -> str:
        """Return a component (from 1) of a field's first repetition, or of ``of``, without escape sequences."""
        first = next(iter(self.repetitions(number)), "") if of is None else of
        parts = first.split(self.separators.component)
        text = parts[component - 1] if component <= len(parts) else ""
        head = text.split(self.separators.subcomponent)[0]
        return self.plain(head).strip() if head != '""' else ""

    def plain(self, text: str) -> str:
        """Return text without escape sequences; formatting commands become line ends and blanks."""
        return unescaped(text, self.separators, self.codec)


@dataclass(frozen=True, slots=True)
class Message:
    """``segments[0]`` is MSH."""

    segments: tuple[Segment, ...]
    codec: str

    @property
    def header(self) -> Segment:
        return self.segments[0]

    @property
    def separators(self) -> Separators:
        return self.header.separators

    @property
    def sender(self) -> str:
        """Return sending application and facility, which with MSH-10 name the message."""
        return "^".join((self.header.component(3), self.header.component(4)))

    def all(self, *names: str) -> Iterator[Segment]:
        return (segment for segment in self.segments if segment.name in names)

    def first(self, name: str) -> Segment | None:
        return next(self.all(name), None)


def parse_message(content: bytes, default_charset: str = "utf-8") -> Message:
    """Cut a message into segments; ``default_charset`` is for senders that name none in MSH-18.

    Raises
    ------
    NotParseable
        When it does not begin with MSH, or its text is not in the character set that it names.
    """
    content = content.removeprefix(b"\xef\xbb\xbf").strip(b"\r\n\x0b \t")
    if not content.startswith(b"MSH") or len(content) < 8:
        raise NotParseable("no HL7 v2 message: it does not begin with MSH")
    codec = _codec(content, default_charset)
    try:
        text = content.decode(codec)
    except UnicodeError:
        try:
            text = content.decode("utf-8")
        except UnicodeError:
            raise NotParseable("the message is not in the character set that MSH-18 names") from None
        codec = "utf-8"
    lines = re.split(r"[\r\n]+", text, maxsplit=_MOST_SEGMENTS)
    if len(lines) > _MOST_SEGMENTS:
        raise NotParseable(f"the message has more than {_MOST_SEGMENTS} segments")
    separators = _separators(text)
    return Message(tuple(_segments(lines, separators, codec)), codec)


def _codec(content: bytes, default: str) -> str:
    """Return the codec that MSH-18 asks for.

    Raises
    ------
    NotParseable
        When it names a character set that is not known.
    """
    header = re.split(rb"[\r\n]", content, maxsplit=1)[0].decode("latin-1")
    fields = header.split(header[3])
    repetition = fields[1][1:2]
    # A second byte of a Chinese name before it may look like a separator: what is further on is looked at too.
    for position, field in enumerate(fields[_CHARSET_FIELD - 1 :]):
        names = [name.strip().upper() for name in (field.split(repetition) if repetition else [field])]
        known = [CHARSETS[name] for name in names if name in CHARSETS]
        if known:
            # Further repetitions extend the first one, which is ASCII then.
            return next((codec for codec in known if codec != "ascii"), "ascii")
        if position == 0 and any(name and name.isascii() for name in names):
            raise NotParseable("MSH-18 names a character set that is not known here")
    return codec_named(default) or "utf-8"


def _separators(text: str) -> Separators:
    field = text[3]
    declared = re.split(r"[\r\n]", text, maxsplit=1)[0][4:].partition(field)[0]
    if field.isalnum() or field.isspace() or len(declared) < 1:
        raise NotParseable("MSH-1 and MSH-2 do not name the encoding characters")
    known = Separators()
    padded = declared + (known.component + known.repetition + known.escape + known.subcomponent)[len(declared) :]
    if any(mark.isalnum() for mark in padded[:4]):
        raise NotParseable("MSH-2 names a letter or a digit as an encoding character")
    return Separators(field, padded[0], padded[1], padded[2], padded[3])


def _segments(lines: Sequence[str], separators: Separators, codec: str) -> Iterator[Segment]:
    held: list[str] = []
    for line in lines:
        name = line[:3]
        if re.fullmatch(r"[A-Z][A-Z0-9]{2}", name) and line[3:4] in (separators.field, ""):
            if held:
                yield _segment("\n".join(held), separators, codec)
            held = [line]
        elif held and line.strip():
            # A bare line end inside a field, which senders forget to escape.
            held.append(line)
    if held:
        yield _segment("\n".join(held), separators, codec)


def _segment(line: str, separators: Separators, codec: str) -> Segment:
    fields = line.split(separators.field, _MOST_FIELDS)
    if fields[0] == "MSH":
        fields.insert(1, separators.field)
    return Segment(tuple(fields), separators, codec)


def unescaped(text: str, separators: Separators, codec: str) -> str:
    """Return text without escape sequences (HL7 v2.5.1 2.7); what is none stays as it is."""
    escape = separators.escape
    if escape not in text:
        return text
    known = {
        "F": separators.field, "S": separators.component, "T": separators.subcomponent,
        "R": separators.repetition, "E": escape, "P": "#", "H": "", "N": "",
    }  # fmt: skip
    pieces: list[str] = []
    last = 0
    for match in _escape_pattern(escape).finditer(text):
        body = match.group()[1:-1]
        pieces += (text[last : match.start()], known[body] if body in known else _formatted(body, codec))
        last = match.end()
    return "".join((*pieces, text[last:]))


@lru_cache(maxsize=64)
def _escape_pattern(escape: str) -> re.Pattern[str]:
    """Return what finds escape sequences, in time linear in the text.

    No attempt reads past the next escape character, since no sequence holds one: it is no letter and no digit.
    """
    return re.compile(_ESCAPES.replace("!", re.escape(escape)), re.ASCII)


def _formatted(body: str, codec: str) -> str:
    """Return what a formatting command or a hexadecimal sequence stands for."""
    if body[0] == ".":
        times = int(body[3:]) if body[3:].isdigit() else 1
        return {"br": "\n", "sp": "\n" * times, "ce": "\n", "sk": " " * times}.get(body[1:3].lower(), "")
    if body[0] != "X":
        # Switches of single-byte and multi-byte sets, and what sender and receiver agreed on.
        return ""
    data = bytes.fromhex(body[1:])
    return "\n" if data in (b"\r", b"\n", b"\r\n") else data.decode(codec, "replace")


def moment(text: str) -> datetime | None:
    """Return a time stamp (TS, DTM); None where there is none that can be."""
    match = _TIME.match(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    numbers = (int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0))
    try:
        found = datetime(*numbers, int((fraction or "0").ljust(6, "0")))
        if zone:
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
            found = found.replace(tzinfo=timezone(-offset if zone[0] == "-" else offset))
    except ValueError:
        return None
    return found


def required(segment: Segment | None, name: str) -> Segment:
    """Return the segment.

    Raises
    ------
    BadRequest
        When it is not there.
    """
    if segment is None:
        raise BadRequest(f"the message has no segment {name}")
    return segment
