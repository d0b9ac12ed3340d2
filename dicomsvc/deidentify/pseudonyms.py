"""What stands in place of an identity: keyed, so that only who has the secret can tell or repeat it (PS3.15 E.1.1)."""

import base64
import hashlib
import hmac
from typing import Final

from pydicom._uid_dict import UID_dictionary

from dicomsvc.dicom.uids import TRANSFER_SYNTAXES, is_valid_uid

_STORAGE_ROOT: Final = "1.2.840.10008.5.1.4."
_MAX_DAYS: Final = 3653
_CACHE: Final = 1 << 16
_VERSION_8 = 0x8 << 76
_VARIANT = 0x2 << 62


class Pseudonyms:
    """Pseudonyms of one profile.

    One name space serves all kinds of identifiers: a specimen named in an image and in a report gets one pseudonym.
    """

    def __init__(self, secret: bytes, profile_name: str) -> None:
        self._key = hmac.digest(secret, b"dicomsvc de-identification\0" + profile_name.encode(), "sha256")
        self._uids: dict[str, str] = {}
        self._identifiers: dict[str, str] = {}

    def _digest(self, kind: bytes, text: str) -> bytes:
        return hmac.digest(self._key, kind + b"\0" + text.encode("utf-8", "replace"), hashlib.sha256)

    def uid(self, uid: str) -> str:
        """Return the UID in place of ``uid``: of a UUID (version 8) made of the keyed hash (PS3.5 B.2)."""
        found = self._uids.get(uid)
        if found is None:
            number = int.from_bytes(self._digest(b"uid", uid)[:16], "big")
            number = number & ~(0xF << 76) | _VERSION_8
            number = number & ~(0x3 << 62) | _VARIANT
            found = f"2.25.{number}"
            if len(self._uids) >= _CACHE:
                self._uids.clear()
            self._uids[uid] = found
        return found

    def identifier(self, text: str) -> str:
        """Return 16 letters and digits in place of an identifier; empty for an empty one.

        Case and white space around and within do not count.
        """
        normal = " ".join(text.split()).casefold()
        if not normal:
            return ""
        found = self._identifiers.get(normal)
        if found is None:
            found = "ID" + base64.b32encode(self._digest(b"identifier", normal)).decode("ascii")[:14]
            if len(self._identifiers) >= _CACHE:
                self._identifiers.clear()
            self._identifiers[normal] = found
        return found

    def days(self, patient: str) -> int:
        """Return by how many days a patient's dates are moved, 1 to 3653 days back."""
        digest = self._digest(b"days", " ".join(patient.split()).casefold())
        return -1 - int.from_bytes(digest[:8], "big") % _MAX_DAYS


def is_well_known(uid: str) -> bool:
    """Whether a UID names something of the standard: a class, a syntax, a context group, a frame of reference."""
    return uid in UID_dictionary or uid in TRANSFER_SYNTAXES or (uid.startswith(_STORAGE_ROOT) and is_valid_uid(uid))
