"""Stored instances as Explicit VR Little Endian (PS3.18 8.7.3.5.2)."""

from collections.abc import Iterator

from dicomsvc.dicomweb.resources import file_pieces
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.wsi.codecs import can_decode
from dicomsvc.wsi.frame_reader import open_frames
from dicomsvc.wsi.native import EXPLICIT, native_pieces


def can_make_explicit(record: InstanceRecord) -> bool:
    return record.transfer_syntax_uid == EXPLICIT or can_decode(record.transfer_syntax_uid)


def explicit_pieces(store: Store, record: InstanceRecord) -> Iterator[bytes]:
    """Yield a Part 10 file in Explicit VR Little Endian; see `native_pieces`.

    It has a digest of its own, so that of the stored file is compared before: the whole of it, or what stands before
    the frames where these are compared as they are read.
    """
    reader = open_frames(store, record) if record.number_of_frames else None
    of_head = None if reader is None or reader.blocks is None else reader.index.offset
    for _ in file_pieces(store, record, 0, of_head):
        pass
    yield from native_pieces(record.readable_path(), record.sop_instance_uid, reader)
