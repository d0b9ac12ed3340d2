"""The standard's words: what an instance says of itself, and where its frames lie.

In goes a Part 10 file from anywhere (`parse_instance`); out comes an `Instance`: its UIDs, top level attributes, the
whole data set as compressed DICOM JSON (`Metadata`), and the offsets of its frames (`FrameIndex`). Nothing here knows a
database or a network. Ruled by PS3.5 (encoding), PS3.10 (files), PS3.18 F (JSON) and PS3.19 A (XML).
"""

from dicomsvc.dicom.frames import FrameIndex
from dicomsvc.dicom.json import BulkRange, Metadata, metadata_dataset, metadata_gzip, metadata_json
from dicomsvc.dicom.part10 import Instance, parse_instance
from dicomsvc.dicom.uids import TRANSFER_SYNTAXES, TransferSyntax, is_storage_class, is_valid_uid, new_uid

__all__ = [
    "TRANSFER_SYNTAXES",
    "BulkRange",
    "FrameIndex",
    "Instance",
    "Metadata",
    "TransferSyntax",
    "is_storage_class",
    "is_valid_uid",
    "metadata_dataset",
    "metadata_gzip",
    "metadata_json",
    "new_uid",
    "parse_instance",
]
