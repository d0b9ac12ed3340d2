"""Media types: what a client accepts, what can be made, which of it is chosen.

Accept headers as RFC 9110 12.5.1 writes them, with the parameters that PS3.18 8.7.3 adds (``type`` of a
``multipart/related``, ``transfer-syntax``), and the ``accept`` query parameter, which goes before the header
(PS3.18 8.7.8).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from dicomsvc.errors import NotAcceptable

# A quoted string, a run of anything else, a separator. An unclosed quote stands alone.
_LEXEME = re.compile(r'"(?:[^"\\]|\\.)*"|[^",;]+|[",;]')
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+\Z")
_MAX_RANGES: Final = 64
_MAX_CHARACTERS: Final = 4096


@dataclass(frozen=True, slots=True)
class MediaType:
    """A representation that can be made.

    Attributes
    ----------
    name
        ``type/subtype``, of the parts when ``multipart`` (``multipart/related``).
    transfer_syntax_uid
        Transfer syntax of the content, where it has one.
    only_if_named
        A client gets it only when it names this transfer syntax, or any (``*``); the name alone is not enough.
    """

    name: str
    multipart: bool = False
    transfer_syntax_uid: str = ""
    only_if_named: bool = False

    def part_content_type(self) -> str:
        """Return the Content-Type of a part, or of the whole body when there are no parts."""
        if self.transfer_syntax_uid:
            return f"{self.name}; transfer-syntax={self.transfer_syntax_uid}"
        return self.name

    def content_type(self, boundary: str = "") -> str:
        """Return the Content-Type of the whole body."""
        if self.multipart:
            return f'multipart/related; type="{self.name}"; boundary={boundary}'
        return self.part_content_type()


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of an Accept header; ``part`` is the ``type`` parameter of a multipart range."""

    name: str
    part: str = ""
    transfer_syntax: str = ""
    quality: float = 1.0

    @property
    def specificity(self) -> int:
        named = 0 if self.name == "*/*" else 1 if self.name.endswith("/*") else 2
        return 4 * named + 2 * bool(self.part) + (self.transfer_syntax not in ("", "*"))

    def accepts(self, offer: MediaType) -> bool:
        if not self._accepts_name(offer):
            return False
        if self.transfer_syntax == "*" or not offer.transfer_syntax_uid or self.name == "*/*":
            return True
        if not self.transfer_syntax:
            return not offer.only_if_named
        return self.transfer_syntax == offer.transfer_syntax_uid

    def _accepts_name(self, offer: MediaType) -> bool:
        if not offer.multipart:
            return _covers(self.name, offer.name)
        if not _covers(self.name, "multipart/related"):
            return False
        return not self.part or _covers(self.part, offer.name)


def _covers(pattern: str, name: str) -> bool:
    if pattern == name or pattern == "*/*":
        return True
    return pattern.endswith("/*") and name.startswith(pattern[:-1])


ANYTHING: Final = (MediaRange("*/*"),)


@dataclass(frozen=True, slots=True)
class Accept:
    """What a request accepts: by its query parameter, and by its header (`ANYTHING` when it has none)."""

    header: tuple[MediaRange, ...] = ANYTHING
    query: tuple[MediaRange, ...] = ()


def parse_accept(text: str) -> tuple[MediaRange, ...]:
    """Return the media ranges of an Accept header, in their order; what is malformed is left out."""
    ranges = []
    for element in _elements(text):
        name = element[0].strip().lower()
        if name == "*":
            name = "*/*"
        if _NAME.match(name):
            ranges.append(_media_range(name, _parameters(element[1:])))
    return tuple(ranges[:_MAX_RANGES])


def _elements(text: str) -> Iterator[list[str]]:
    """Yield each comma-separated element as its list of semicolon-separated pieces."""
    pieces = [""]
    for lexeme in _LEXEME.findall(text[:_MAX_CHARACTERS]):
        if lexeme == ",":
            yield pieces
            pieces = [""]
        elif lexeme == ";":
            pieces.append("")
        else:
            pieces[-1] += lexeme
    yield pieces


def _parameters(pieces: Iterable[str]) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for piece in pieces:
        name, _, value = piece.partition("=")
        value = value.strip()
        if value[:1] == '"':
            value = re.sub(r"\\(.)", r"\1", value.strip('"'))
        parameters.setdefault(name.strip().lower(), value)
    return parameters


def _media_range(name: str, parameters: Mapping[str, str]) -> MediaRange:
    try:
        quality = min(1.0, max(0.0, float(parameters.get("q", "1"))))
    except ValueError:
        quality = 0.0
    return MediaRange(
        name=name,
        part=parameters.get("type", "").lower(),
        transfer_syntax=parameters.get("transfer-syntax", ""),
        # NaN compares false with everything.
        quality=quality if quality == quality else 0.0,
    )


def read_accept(scope: Mapping[str, Any]) -> Accept:
    """Return what the request of this ASGI scope accepts."""
    header = b", ".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
    query: bytes = scope.get("query_string", b"")
    asked = [
        unquote(value)
        for name, _, value in (pair.partition("=") for pair in query.decode("latin-1").split("&"))
        # A plus sign is one here, not a space: `application/dicom+json`.
        if name == "accept"
    ]
    return Accept(
        header=parse_accept(header) if header.strip() else ANYTHING,
        query=parse_accept(",".join(asked)) if asked else (),
    )


def choose(accept: Accept, offers: Sequence[MediaType]) -> MediaType:
    """Return the offer that the client likes best; among equals its order decides, then ours.

    Raises
    ------
    NotAcceptable
        When it accepts none of them.
    """
    for ranges in (accept.query, accept.header):
        chosen = _best(ranges, offers)
        if chosen is not None:
            return chosen
    names = ", ".join(dict.fromkeys(_describe(offer) for offer in offers))
    raise NotAcceptable(f"none of the accepted media types can be made; ask for one of: {names}")


def _best(ranges: Sequence[MediaRange], offers: Sequence[MediaType]) -> MediaType | None:
    ranked = []
    for preference, offer in enumerate(offers):
        matching = [(r.specificity, -order, r.quality) for order, r in enumerate(ranges) if r.accepts(offer)]
        if not matching:
            continue
        specificity, order, quality = max(matching)
        if quality > 0:
            ranked.append(((quality, specificity > 0, order, -preference), offer))
    return max(ranked, key=lambda entry: entry[0])[1] if ranked else None


def _describe(offer: MediaType) -> str:
    syntax = f"; transfer-syntax={offer.transfer_syntax_uid}" if offer.transfer_syntax_uid else ""
    return f'multipart/related; type="{offer.name}"{syntax}' if offer.multipart else offer.name + syntax


DICOM_JSON: Final = MediaType("application/dicom+json")
PLAIN_JSON: Final = MediaType("application/json")
DICOM_XML: Final = MediaType("application/dicom+xml", multipart=True)
