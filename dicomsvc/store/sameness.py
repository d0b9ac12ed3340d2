"""Whether two files hold the same instance.

Nodes that pass an instance on write File Meta Information of their own and may encode the lengths of sequences anew
(PS3.5 7.5); the instance is the same all the same. So what counts is the transfer syntax, every element's value, and
every byte of frames and bulk data.
"""

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from dicomsvc.dicom.json import metadata_json
from dicomsvc.dicom.part10 import Instance

_PIECE = 1 << 20


def same_instance(instance: Instance, path: Path, other: Instance, other_path: Path) -> bool:
    """Compare two parsed instances and their files; memory stays bounded whatever their size."""
    if instance.transfer_syntax_uid != other.transfer_syntax_uid or _values(instance) != _values(other):
        return False
    if instance.metadata.bulk.keys() != other.metadata.bulk.keys():
        return False
    with path.open("rb", buffering=0) as file, other_path.open("rb", buffering=0) as other_file:
        pairs = zip_longest(_parts(instance), _parts(other))
        return all(
            part is not None and other_part is not None and _same_bytes(file, part, other_file, other_part)
            for part, other_part in pairs
        )


def _values(instance: Instance) -> bytes:
    return b"".join(metadata_json([(instance.metadata, "")]))


def _parts(instance: Instance) -> Iterator[list[tuple[int, int]]]:
    """Return the places of each bulk data element and each frame, as (offset, length) of its fragments."""
    for path in sorted(instance.metadata.bulk):
        bulk = instance.metadata.bulk[path]
        if not bulk.encapsulated:
            yield [(bulk.offset, bulk.length)]
    if instance.frames is not None:
        for number in range(1, instance.frames.number_of_frames + 1):
            yield list(instance.frames.ranges(number))


def _same_bytes(
    file: BinaryIO, part: list[tuple[int, int]], other_file: BinaryIO, other_part: list[tuple[int, int]]
) -> bool:
    pieces = zip_longest(_read(file, part), _read(other_file, other_part))
    return all(piece == other_piece for piece, other_piece in pieces)


def _read(file: BinaryIO, part: list[tuple[int, int]]) -> Iterator[bytes]:
    for offset, length in part:
        for start in range(offset, offset + length, _PIECE):
            file.seek(start)
            yield file.read(min(_PIECE, offset + length - start))
