"""Unique identifiers: validity (PS3.5 9), accepted transfer syntaxes and their media types, storage SOP classes."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pydicom import uid as known
from pydicom._uid_dict import UID_dictionary

_WELL_FORMED = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")
_STANDARD_ROOT = "1.2.840.10008."
_WORDS_OF_IMAGES = ("Image", "Segmentation", "Map", "Dose")
# PS3.5 A.4.12: younger than pydicom's table.
JPEG_XL_LOSSLESS: Final = "1.2.840.10008.1.2.4.110"
JPEG_XL_JPEG_RECOMPRESSION: Final = "1.2.840.10008.1.2.4.111"
JPEG_XL: Final = "1.2.840.10008.1.2.4.112"


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How a data set that we keep is encoded (PS3.5 Annex A), and the media type of one of its frames."""

    uid: str
    media_type: str
    implicit: bool = False
    big_endian: bool = False
    encapsulated: bool = True
    frame_starts: tuple[bytes, ...] = ()
    """First bytes of a compressed frame, where the codec has such a signature."""


_JPEG = (b"\xff\xd8\xff",)
_JPEG_2000 = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n")
_JXL = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
# Media types: PS3.18 8.7.3.3.
_RAW = "application/octet-stream"


def _encapsulated(media_type: str, starts: tuple[bytes, ...], *uids: str) -> list[TransferSyntax]:
    return [TransferSyntax(str(uid), media_type, frame_starts=starts) for uid in uids]


TRANSFER_SYNTAXES: Final[Mapping[str, TransferSyntax]] = MappingProxyType(
    {
        syntax.uid: syntax
        for syntax in (
            TransferSyntax(str(known.ExplicitVRLittleEndian), _RAW, encapsulated=False),
            TransferSyntax(str(known.ImplicitVRLittleEndian), _RAW, implicit=True, encapsulated=False),
            TransferSyntax(str(known.ExplicitVRBigEndian), _RAW, big_endian=True, encapsulated=False),
            *_encapsulated("image/jpeg", _JPEG, known.JPEGBaseline8Bit, known.JPEGExtended12Bit, known.JPEGLossless),
            *_encapsulated("image/jpeg", _JPEG, known.JPEGLosslessSV1),
            *_encapsulated("image/jls", _JPEG, known.JPEGLSLossless, known.JPEGLSNearLossless),
            *_encapsulated("image/jp2", _JPEG_2000, known.JPEG2000Lossless, known.JPEG2000),
            *_encapsulated("image/jpx", _JPEG_2000, known.JPEG2000MCLossless, known.JPEG2000MC),
            *_encapsulated("image/jphc", _JPEG_2000, known.HTJ2KLossless, known.HTJ2KLosslessRPCL, known.HTJ2K),
            *_encapsulated("image/jxl", _JXL, JPEG_XL_LOSSLESS, JPEG_XL_JPEG_RECOMPRESSION, JPEG_XL),
            *_encapsulated("image/dicom-rle", (), known.RLELossless),
        )
    }
)
"""What is kept here; deflated and video transfer syntaxes are not."""


def new_uid() -> str:
    """Return a new UID derived from a random UUID (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def is_valid_uid(uid: str, *, strict: bool = False) -> bool:
    """Whether `uid` has the form of PS3.5 9.1; only `strict` minds leading zeros, which real senders write."""
    if not 0 < len(uid) <= 64 or _WELL_FORMED.match(uid) is None:
        return False
    return not strict or all(part == "0" or part[0] != "0" for part in uid.split("."))


def is_storage_class(sop_class_uid: str) -> bool:
    """Whether instances of the SOP class are stored (PS3.4 B.5).

    Private classes count as such; so do classes of the standard's storage arc that are younger than the UID table.
    """
    if not sop_class_uid.startswith(_STANDARD_ROOT):
        return True
    if sop_class_uid == known.MediaStorageDirectoryStorage:
        return False
    entry = UID_dictionary.get(sop_class_uid)
    if entry is None:
        return sop_class_uid.startswith("1.2.840.10008.5.1.4.1.1.")
    name, kind = entry[0], entry[1]
    return kind == "SOP Class" and (not name or ("Storage" in name and "Commitment" not in name))


def may_have_pixel_data(sop_class_uid: str) -> bool:
    """Whether instances of the storage SOP class may have pixel data, as far as its name tells; unknown ones may."""
    entry = UID_dictionary.get(sop_class_uid)
    return entry is None or not entry[0] or any(word in entry[0] for word in _WORDS_OF_IMAGES)
