"""The value that goes out in place of the one that came, for each action; None where none goes out."""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydicom.sr.codedict import codes

from dicomsvc.deidentify.dates import DUMMY, moved
from dicomsvc.deidentify.icc import MAX_PROFILE_BYTES, without_text
from dicomsvc.deidentify.profile import Profile
from dicomsvc.deidentify.pseudonyms import Pseudonyms, is_well_known
from dicomsvc.deidentify.rules import Action
from dicomsvc.deidentify.vocabulary import clinical_words, known_meaning
from dicomsvc.dicom.charset import CharacterSet
from dicomsvc.dicom.encoding import Encoding
from dicomsvc.dicom.uids import is_valid_uid

LARGEST_TEXT: Final = 1 << 16
_SINGLE: Final = frozenset(("LT", "ST", "UR", "UT"))
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*\Z", re.ASCII)
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{0,16}\Z", re.ASCII)
_CODE = re.compile(r"[!-\[\]-~]{1,64}\Z")
_CHARACTER_SETS = re.compile(rb"[A-Z0-9_ \\]{0,128}\Z")
_SMALL_NUMBER = re.compile(r"\d{1,4}\Z", re.ASCII)
_TIMEZONE = re.compile(r"[+-]\d{4}\Z", re.ASCII)
_POSITION_REFERENCES: Final = frozenset(("SLIDE_CORNER",))
# PS3.3 C.11.1.1.2; US is unspecified.
_RESCALE_TYPES: Final = frozenset(("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"))
_REMOVED: Final = "[removed]"
_PERSON: Final = "Anonymous"
_CONTENT_LABEL: Final = "DEIDENTIFIED"
_CODE_VALUES: Final = frozenset((0x00080100, 0x00080119, 0x00080120))
_CODING_SCHEME_DESIGNATOR: Final = 0x00080102
_NUMBERS: Final = frozenset((0x00620004, 0x0040A180))
_TEXTS_OF_DEVICES: Final = frozenset(
    ("DCM", getattr(codes.DCM, name).value)
    for name in (
        "AlgorithmName AlgorithmVersion DeviceObserverName DeviceObserverSerialNumber DeviceObserverManufacturer "
        "DeviceObserverModelName"
    ).split()
)
_IDENTIFYING_TEXTS: Final = _TEXTS_OF_DEVICES | {
    ("DCM", getattr(codes.DCM, name).value)
    for name in (
        "TrackingIdentifier SpecimenIdentifier ParentSpecimenIdentifier SpecimenContainerIdentifier AccessionNumber "
        "SubjectID SubjectTimePointIdentifier"
    ).split()
}
"""Concepts whose text names a thing, a device or a person: a report repeats there what attributes say elsewhere."""


@dataclass(slots=True)
class ItemScope:
    """What earlier elements of the data set or item say that later ones depend on."""

    charset: CharacterSet
    encoding: Encoding
    depth: int = 0
    code_value: str = ""
    scheme: str = ""
    concept: tuple[str, str] = ("", "")
    number: int = 0


@dataclass(frozen=True, slots=True)
class Patient:
    """Who the object is about, in pseudonyms."""

    identifier: str
    days: int
    names: frozenset[str] = frozenset()
    """Casefolded words of the names of all persons in the object: no word of these stays, clinical or not."""


class Values:
    """Makes values for one object."""

    def __init__(self, profile: Profile, pseudonyms: Pseudonyms, patient: Patient) -> None:
        self._profile = profile
        self._pseudonyms = pseudonyms
        self._patient = patient
        self._makers: dict[Action, Callable[[str, str, ItemScope], str | None]] = {
            Action.EMPTY: lambda text, vr, scope: "",
            Action.UID: self._uid,
            Action.WELL_FORMED_UID: lambda text, vr, scope: _each(text, lambda uid: uid if is_valid_uid(uid) else ""),
            Action.DATE: self._date,
            Action.DUMMY_DATE: lambda text, vr, scope: DUMMY[vr] if text else "",
            Action.TIMEZONE: lambda text, vr, scope: text if _TIMEZONE.match(text) else None,
            Action.IDENTIFIER: self._identifier,
            Action.TOKEN: self._token,
            Action.PATIENT_ID: lambda text, vr, scope: (
                self._identifier(text, vr, scope) if scope.depth else patient.identifier
            ),
            Action.PATIENT_NAME: lambda text, vr, scope: f"DEID^{patient.identifier}" if not scope.depth else "",
            Action.PERSON: lambda text, vr, scope: _PERSON if text else "",
            Action.NUMBER_TEXT: lambda text, vr, scope: text if _all(_NUMBER, text) else None,
            Action.CODE_STRING: lambda text, vr, scope: text if _all(_CODE_STRING, text) else None,
            Action.CODE: self._code,
            Action.MEANING: self._meaning,
            Action.DESCRIPTOR: self._descriptor,
            Action.SEGMENT_LABEL: lambda text, vr, scope: self._label(text, f"Segment {scope.number}"),
            Action.GROUP_LABEL: lambda text, vr, scope: self._label(text, f"Group {scope.number}"),
            Action.CONTENT_LABEL: lambda text, vr, scope: _CONTENT_LABEL,
            Action.CONTENT_TEXT: self._content_text,
            Action.LUT_TEXT: lambda text, vr, scope: "LUT",
            Action.POSITION_REFERENCE: lambda text, vr, scope: text if text in _POSITION_REFERENCES else "",
            Action.RESCALE_TYPE: lambda text, vr, scope: text if text in _RESCALE_TYPES else "US",
            Action.BURNED_IN: lambda text, vr, scope: text if text in ("YES", "NO") else None,
        }

    def make(self, action: Action, tag: int, vr: str, raw: bytes, scope: ItemScope) -> bytes | None:
        """Return the new value of an element that is neither a sequence nor pixel data."""
        if action is Action.KEEP:
            if tag in _NUMBERS:
                scope.number = _unsigned(raw, scope.encoding)
            return raw
        if action is Action.CHARACTER_SET:
            return raw if _CHARACTER_SETS.match(raw.rstrip(b"\0")) else None
        if action is Action.ICC_PROFILE:
            return without_text(raw) if 0 < len(raw) <= MAX_PROFILE_BYTES else raw[:0]
        maker = self._makers.get(action)
        if maker is None or len(raw) > LARGEST_TEXT:
            return None
        text = scope.charset.decode(raw, name=vr == "PN").strip(" \0\t\r\n")
        if tag in _CODE_VALUES:
            scope.code_value = text
        elif tag == _CODING_SCHEME_DESIGNATOR:
            scope.scheme = text
        made = maker(text, vr, scope)
        # What stays is ASCII, or as it came and in the character set that came with it.
        return None if made is None else raw if made == text and not made.isascii() else made.encode("ascii", "ignore")

    def _uid(self, text: str, vr: str, scope: ItemScope) -> str:
        return _each(text, lambda uid: uid if not uid or is_well_known(uid) else self._pseudonyms.uid(uid))

    def _date(self, text: str, vr: str, scope: ItemScope) -> str:
        days = self._patient.days if self._profile.retain_modified_dates else 0

        def one(value: str) -> str:
            new = moved(vr, value, days)
            return DUMMY[vr] if new is None else new

        return _each(text, one)

    def _identifier(self, text: str, vr: str, scope: ItemScope) -> str:
        return self._pseudonyms.identifier(text) if vr in _SINGLE else _each(text, self._pseudonyms.identifier)

    def _token(self, text: str, vr: str, scope: ItemScope) -> str:
        return text if _SMALL_NUMBER.match(text) else self._pseudonyms.identifier(text)

    def _code(self, text: str, vr: str, scope: ItemScope) -> str:
        return text if not text or _CODE.match(text) else self._pseudonyms.identifier(text)

    def _meaning(self, text: str, vr: str, scope: ItemScope) -> str:
        if self._profile.retain_code_meanings:
            return text
        known = known_meaning(scope.scheme, scope.code_value)
        if known is not None and known.isascii():
            return known[:64]
        if scope.scheme == "UCUM" and text == scope.code_value and _CODE.match(text):
            return text
        return self._words(text)[:64] or (scope.code_value if _CODE.match(scope.code_value) else "code")

    def _descriptor(self, text: str, vr: str, scope: ItemScope) -> str:
        return self._words(text) if vr in _SINGLE else _each(text, self._words)

    def _words(self, text: str) -> str:
        return clinical_words(text, self._patient.names)

    def _label(self, text: str, dummy: str) -> str:
        return (self._words(text)[:64] if self._profile.clean_descriptors else "") or dummy

    def _content_text(self, text: str, vr: str, scope: ItemScope) -> str:
        if self._profile.retain_device_identity and scope.concept in _TEXTS_OF_DEVICES:
            return text
        if scope.concept in _IDENTIFYING_TEXTS:
            return self._pseudonyms.identifier(text)
        return (self._words(text) if self._profile.clean_descriptors else "") or _REMOVED


def _each(text: str, make: Callable[[str], str]) -> str:
    return "\\".join(make(value.strip(" \0")) for value in text.split("\\"))


def _all(pattern: "re.Pattern[str]", text: str) -> bool:
    return all(not value.strip() or pattern.match(value) for value in text.split("\\"))


def _unsigned(raw: bytes, encoding: Encoding) -> int:
    return int(struct.unpack(f"{encoding.endian}H", raw[:2])[0]) if len(raw) >= 2 else 0
