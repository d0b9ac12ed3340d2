"""DICOM JSON (PS3.18 F) of an instance, stored compressed and served without being compressed again.

The text is cut where the instance's URL goes in. Each piece is a raw deflate stream that ends with a full flush, so
that pieces, with stored blocks for the URLs between them, join to one valid gzip member (RFC 1951, RFC 1952).
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Self

from dicomsvc.dicom.crc import crc32_combine
from dicomsvc.errors import DamagedFile

CUT: Final = "\0"
"""Stands in the text for the instance's URL; it never occurs in JSON."""
_MAGIC = b"DJ1\n"
_PREFIX = struct.Struct("<4sII")
_PIECE = struct.Struct("<III")
_LEVEL = 6
_CHUNK = 1 << 16
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK = b"\x03\x00"


@dataclass(frozen=True, slots=True)
class BulkRange:
    """Where a bulk value lies in the Part 10 file.

    An encapsulated value reaches from its Basic Offset Table's item to its Sequence Delimitation Item, both included.
    """

    offset: int
    length: int
    vr: str
    encapsulated: bool = False


@dataclass(frozen=True, slots=True)
class _Piece:
    crc: int
    raw_size: int
    deflated: memoryview


class Metadata:
    """DICOM JSON of one instance in compressed pieces; immutable, equal when its stored form is."""

    __slots__ = ("_blob", "_bulk", "_pieces")

    def __init__(self, blob: bytes | memoryview) -> None:
        self._blob = memoryview(blob)
        self._bulk: Mapping[str, BulkRange] | None = None
        try:
            magic, count, bulk_size = _PREFIX.unpack_from(self._blob)
            at = _PREFIX.size + count * _PIECE.size + bulk_size
            pieces = []
            for crc, raw_size, size in _PIECE.iter_unpack(
                self._blob[_PREFIX.size : _PREFIX.size + count * _PIECE.size]
            ):
                pieces.append(_Piece(crc, raw_size, self._blob[at : at + size]))
                at += size
        except struct.error:
            raise DamagedFile("stored metadata is cut short") from None
        if magic != _MAGIC or at != len(self._blob):
            raise DamagedFile("stored metadata has another form or size than it was written with")
        self._pieces = tuple(pieces)

    @classmethod
    def from_bytes(cls, blob: bytes | memoryview) -> Self:
        """Read what `to_bytes` wrote; the bytes are not copied.

        Raises
        ------
        DamagedFile
            When they are something else.
        """
        return cls(blob)

    def to_bytes(self) -> bytes:
        return bytes(self._blob)

    @property
    def nbytes(self) -> int:
        """Size in bytes of the stored form."""
        return len(self._blob)

    @property
    def bulk(self) -> Mapping[str, BulkRange]:
        """Bulk values by path: tags, and item numbers from 1, as in ``00480105/1/00282000``."""
        if self._bulk is None:
            count, size = _PREFIX.unpack_from(self._blob)[1:]
            at = _PREFIX.size + count * _PIECE.size
            rows = json.loads(zlib.decompress(self._blob[at : at + size]))
            self._bulk = MappingProxyType({row[0]: BulkRange(*row[1:]) for row in rows})
        return self._bulk

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metadata) and self._blob == other._blob

    def __hash__(self) -> int:
        return hash(tuple(piece.crc for piece in self._pieces))

    def parts(self, instance_url: str) -> Iterator["bytes | _Piece"]:
        """Return the compressed pieces and, between them, the URL as it stands in JSON."""
        url = json.dumps(instance_url)[1:-1].encode("ascii")
        for number, piece in enumerate(self._pieces):
            if number:
                yield url
            yield piece


class MetadataBuilder:
    """Compresses JSON text, in which `CUT` stands for the instance's URL, as it is made."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._deflated: list[bytes] = []
        self._pending: list[str] = ["{"]
        self._pending_size = 0
        # One compressor for all pieces: after a full flush nothing refers back.
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._start_piece()

    def _start_piece(self) -> None:
        self._crc = 0
        self._raw_size = 0
        self._size = 0

    def write(self, text: str) -> None:
        """Add members of the object, each with a comma behind it."""
        self._pending.append(text)
        self._pending_size += len(text)
        if self._pending_size > _CHUNK:
            joined = "".join(self._pending)
            self._compress(joined[:-1])
            self._pending = [joined[-1]]
            self._pending_size = 0

    def _compress(self, text: str) -> None:
        first, *others = text.encode("utf-8", "replace").split(b"\0")
        self._add(first)
        for piece in others:
            self._end_piece()
            self._add(piece)

    def _add(self, raw: bytes) -> None:
        self._crc = zlib.crc32(raw, self._crc)
        self._raw_size += len(raw)
        deflated = self._compressor.compress(raw)
        self._deflated.append(deflated)
        self._size += len(deflated)

    def _end_piece(self) -> None:
        deflated = self._compressor.flush(zlib.Z_FULL_FLUSH)
        self._deflated.append(deflated)
        self._pieces.append(_PIECE.pack(self._crc, self._raw_size, self._size + len(deflated)))
        self._start_piece()

    def finish(self, bulk: Mapping[str, BulkRange]) -> Metadata:
        """Close the object."""
        text = "".join(self._pending)
        self._compress((text[:-1] if text.endswith(",") else text) + "}")
        self._end_piece()
        rows = [[path, each.offset, each.length, each.vr, each.encapsulated] for path, each in bulk.items()]
        table = zlib.compress(json.dumps(rows, separators=(",", ":")).encode("ascii"), 1)
        prefix = _PREFIX.pack(_MAGIC, len(self._pieces), len(table))
        return Metadata(b"".join((prefix, *self._pieces, table, *self._deflated)))


def _array(items: Iterable[tuple[Metadata, str]]) -> Iterator["bytes | _Piece"]:
    separator = b"["
    for metadata, instance_url in items:
        yield separator
        yield from metadata.parts(instance_url)
        separator = b","
    yield b"[]" if separator == b"[" else b"]"


def _coalesce(chunks: Iterable["bytes | memoryview"]) -> Iterator[bytes]:
    """Join small chunks, so that a server does not send each for itself."""
    waiting: list[bytes | memoryview] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _inflate(parts: Iterable["bytes | _Piece"]) -> Iterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
            continue
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            chunk = inflater.decompress(part.deflated, _CHUNK)
            while chunk:
                yield chunk
                chunk = inflater.decompress(inflater.unconsumed_tail, _CHUNK)
        except zlib.error:
            raise DamagedFile("stored metadata cannot be inflated") from None


def _splice(parts: Iterable["bytes | _Piece"]) -> Iterator["bytes | memoryview"]:
    crc = size = 0
    yield _GZIP_HEADER
    for part in parts:
        if isinstance(part, bytes):
            for at in range(0, len(part), 0xFFFF):
                block = part[at : at + 0xFFFF]
                yield struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF) + block
            crc = zlib.crc32(part, crc)
            size += len(part)
        else:
            yield part.deflated
            crc = crc32_combine(crc, part.crc, part.raw_size)
            size += part.raw_size
    yield _LAST_BLOCK + struct.pack("<II", crc, size & 0xFFFFFFFF)


def metadata_json(items: Sequence[tuple[Metadata, str]]) -> Iterator[bytes]:
    """Yield a JSON array of the instances, each given with its URL, as UTF-8."""
    return _coalesce(_inflate(_array(items)))


def metadata_gzip(items: Sequence[tuple[Metadata, str]]) -> Iterator[bytes]:
    """Yield what `metadata_json` yields as one gzip member; nothing is compressed anew."""
    return _coalesce(_splice(_array(items)))


def metadata_dataset(metadata: Metadata, instance_url: str) -> dict[str, Any]:
    """Return the JSON object of one instance, parsed."""
    loaded: dict[str, Any] = json.loads(b"".join(_inflate(metadata.parts(instance_url))))
    return loaded
