"""One instance in, one de-identified instance out, or none."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final, Protocol

from pydicom.sr.coding import Code

from dicomsvc.config import Settings
from dicomsvc.deidentify.admission import Admission, Verdict, admission
from dicomsvc.deidentify.layout import Layout
from dicomsvc.deidentify.output import Write
from dicomsvc.deidentify.pixels import FramesOut, can_be_blanked, label_area
from dicomsvc.deidentify.profile import Profile, profile_named
from dicomsvc.deidentify.pseudonyms import Pseudonyms
from dicomsvc.deidentify.rewriting import Plan, Rewriter
from dicomsvc.deidentify.rules import Rules
from dicomsvc.deidentify.secret import site_secret
from dicomsvc.deidentify.table import EDITION
from dicomsvc.deidentify.values import Patient, Values
from dicomsvc.dicom.encoding import EXPLICIT_LITTLE, OFFSET_TABLES, Head, encoding_of
from dicomsvc.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomsvc.dicom.part10 import Instance, parse_instance, read_file_meta
from dicomsvc.dicom.uids import TRANSFER_SYNTAXES
from dicomsvc.errors import DicomsvcError, NotParseable, OutOfResources

_ANONYMOUS: Final = Code("ANONYMOUS", "99DICOMSVC", "Anonymous")
_PERSON_IDENTIFICATION_CODE_SEQUENCE: Final = 0x00401101
_NAME_DELIMITERS = re.compile(r"[\s^=,.;/-]+")
_METHOD: Final = f"{EDITION} Basic Profile, dicomsvc"


class Output(Protocol):
    """Where the bytes go; a spool file of the store is one."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Deidentified:
    """What went out."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    number_of_frames: int
    size: int
    """Bytes of the file."""
    sha256: bytes


class Deidentifier:
    """Applies one profile with one secret; may be used from several threads."""

    def __init__(self, profile: Profile, secret: bytes) -> None:
        self.profile = profile
        self._pseudonyms = Pseudonyms(secret, profile.name)
        self._rules = Rules(profile)

    def judge(self, source: Path) -> Admission:
        """Return whether a file's object may go out, and if not why.

        Raises
        ------
        DicomsvcError
            As `parse_instance` does.
        """
        return self._judge(parse_instance(source))

    def _judge(self, instance: Instance) -> Admission:
        found = admission(instance, self.profile)
        if found.verdict is Verdict.BLANK_LABEL and not _can_be_blanked(instance):
            return Admission(Verdict.LEAVE_OUT, "an overview image whose label cannot be blanked in its encoding")
        return found

    def write(self, source: Path, target: "Path | Output") -> Deidentified | None:
        """Write a Part 10 file without identity; None, and nothing written, when the object must not go out.

        A ``target`` path must not exist; it is removed again when something fails. Memory does not grow with the pixel
        data.

        Raises
        ------
        NotParseable, InvalidInstance, UnsupportedInstance
            When the source is not what `parse_instance` accepts.
        OutOfResources
            When the target cannot be written.
        """
        instance = parse_instance(source)
        verdict = self._judge(instance).verdict
        if verdict is Verdict.LEAVE_OUT:
            return None
        with _opened(target) as write:
            counted = _Counted(write)
            self._write(source, instance, verdict, counted)
        return Deidentified(
            instance.sop_class_uid,
            self.uid(instance.sop_instance_uid),
            self.uid(instance.study_instance_uid),
            self.uid(instance.series_instance_uid),
            instance.transfer_syntax_uid,
            0 if instance.frames is None else instance.frames.number_of_frames,
            counted.size,
            counted.hash.digest(),
        )

    def uid(self, uid: str) -> str:
        """Return the UID that goes out for one of ours."""
        return uid if self.profile.retain_uids else self._pseudonyms.uid(uid)

    def identifier(self, text: str) -> str:
        """Return the pseudonym that goes out for an identifier: a patient's, a specimen's, an accession number."""
        return self._pseudonyms.identifier(text)

    def _values(self, instance: Instance) -> Values:
        patient = _text(instance, "00100020") or _text(instance, "00100010") or instance.study_instance_uid
        identifier = self._pseudonyms.identifier(patient)
        known = Patient(identifier, self._pseudonyms.days(patient), _names(instance))
        return Values(self.profile, self._pseudonyms, known)

    def _write(self, source: Path, instance: Instance, verdict: Verdict, write: Write) -> None:
        syntax = TRANSFER_SYNTAXES[instance.transfer_syntax_uid]
        layout = Layout(encoding_of(syntax))
        values = self._values(instance)
        with source.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            write(_file_meta(instance, self.uid(instance.sop_instance_uid)))
            frames_out = None if instance.frames is None else FramesOut(data, instance.frames, write, layout)
            plan = Plan(
                self._rules,
                values,
                self._marks(layout, verdict),
                _true_tables(data, instance, frames_out, verdict),
                _pixel_writer(instance, frames_out, verdict, self.profile),
                layout.code_sequence(_PERSON_IDENTIFICATION_CODE_SEQUENCE, [_ANONYMOUS]),
                self.profile.retain_safe_private,
            )
            try:
                Rewriter(data, file.fileno(), write, plan).run(read_file_meta(data).end, layout.encoding)
            except (DicomsvcError, OSError):
                raise
            except MemoryError:
                raise OutOfResources("not enough memory to de-identify the file") from None
            except Exception as error:  # noqa: BLE001 - the border of untrusted bytes
                # Neither the text nor the chain of a foreign exception: they may hold values.
                raise NotParseable(f"the file cannot be de-identified ({type(error).__name__})") from None

    def _marks(self, layout: Layout, verdict: Verdict) -> tuple[tuple[int, bytes], ...]:
        """Return what says that the object was de-identified (PS3.15 E.1.1, PS3.3 C.7.1.1, C.12.1)."""
        temporal = self.profile.temporal_information.encode("ascii")
        marks = [
            (0x00120062, layout.element(0x00120062, "CS", b"YES")),
            (0x00120063, layout.element(0x00120063, "LO", _METHOD.encode("ascii"))),
            (0x00120064, layout.code_sequence(0x00120064, self.profile.method_codes)),
        ]
        if verdict is Verdict.BLANK_LABEL:
            marks.append((0x00280301, layout.element(0x00280301, "CS", b"NO")))
        return (*marks, (0x00280303, layout.element(0x00280303, "CS", temporal)))


def deidentifier(settings: Settings, name: str) -> Deidentifier:
    """Return the de-identifier of a profile of the settings, with the site's secret.

    Raises
    ------
    ConfigurationError
        When there is no such profile, or the secret is not fit.
    """
    return Deidentifier(profile_named(settings, name), site_secret(settings))


class _Counted:
    """Passes bytes on, with their number and digest."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self.size = 0
        self.hash = hashlib.sha256()

    def __call__(self, data: bytes) -> None:
        self._write(data)
        self.size += len(data)
        self.hash.update(data)


@contextmanager
def _opened(target: "Path | Output") -> Iterator[Write]:
    if not isinstance(target, Path):
        yield target.write
        return
    try:
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OutOfResources(f"the target takes no file: {os.strerror(error.errno or 0)}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file.write
    except OSError as error:
        target.unlink(missing_ok=True)
        raise OutOfResources(f"the target cannot be written: {os.strerror(error.errno or 0)}") from None
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def _text(instance: Instance, tag: str) -> str:
    values = instance.attributes.get(tag, {}).get("Value", ())
    value = values[0] if values else ""
    if isinstance(value, dict):
        value = value.get("Alphabetic") or next(iter(value.values()), "")
    return str(value or "").strip()


def _names(instance: Instance) -> frozenset[str]:
    """Return the words of all persons' names at the top level."""
    found: set[str] = set()
    for element in instance.attributes.values():
        if element.get("vr") != "PN":
            continue
        for name in element.get("Value", ()):
            for group in (name or {}).values():
                found.update(word.casefold() for word in _NAME_DELIMITERS.split(str(group)) if len(word) > 1)
    return frozenset(found)


def _number(instance: Instance, tag: str) -> int:
    text = _text(instance, tag)
    return int(text) if text.isdigit() else 0


def _can_be_blanked(instance: Instance) -> bool:
    if instance.frames is None:
        return False
    columns, rows = _matrix(instance)
    return can_be_blanked(instance.frames, columns, rows, _text(instance, "00209311"))


def _matrix(instance: Instance) -> tuple[int, int]:
    """Return columns and rows of the total pixel matrix."""
    assert instance.frames is not None
    columns, rows = _number(instance, "00480006"), _number(instance, "00480007")
    return columns or instance.frames.columns, rows or instance.frames.rows


def _pixel_writer(
    instance: Instance, frames_out: FramesOut | None, verdict: Verdict, profile: Profile
) -> Callable[[Head, str], int]:
    if frames_out is None:

        def refuse(head: Head, vr: str) -> int:
            raise NotParseable("pixel data stands where none was found before")

        return refuse
    if verdict is not Verdict.BLANK_LABEL:
        return frames_out.copy
    columns, rows = _matrix(instance)
    area = label_area(profile, columns, rows)
    return lambda head, vr: frames_out.blank(head, vr, area, columns)


def _true_tables(data: mmap, instance: Instance, frames_out: FramesOut | None, verdict: Verdict) -> frozenset[int]:
    found = [instance.metadata.bulk.get(f"{tag:08X}") for tag in sorted(OFFSET_TABLES)]
    if frames_out is None or verdict is Verdict.BLANK_LABEL or None in found:
        return frozenset()
    offsets, lengths = (data[bulk.offset : bulk.offset + bulk.length] for bulk in found if bulk is not None)
    return frames_out.true_tables(offsets, lengths)


def _file_meta(instance: Instance, sop_instance_uid: str) -> bytes:
    """Return preamble, prefix and File Meta Information (PS3.10 7.1) that say nothing of who sent the object."""
    layout = Layout(EXPLICIT_LITTLE)
    elements = b"".join(
        (
            layout.element(0x00020001, "OB", b"\0\1"),
            layout.element(0x00020002, "UI", instance.sop_class_uid.encode("ascii")),
            layout.element(0x00020003, "UI", sop_instance_uid.encode("ascii")),
            layout.element(0x00020010, "UI", instance.transfer_syntax_uid.encode("ascii")),
            layout.element(0x00020012, "UI", IMPLEMENTATION_CLASS_UID.encode("ascii")),
            layout.element(0x00020013, "SH", IMPLEMENTATION_VERSION_NAME.encode("ascii")),
        )
    )
    group_length = layout.element(0x00020000, "UL", len(elements).to_bytes(4, "little"))
    return bytes(128) + b"DICM" + group_length + elements
