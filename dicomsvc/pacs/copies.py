"""What goes out of a stored instance: its file as it is, or a de-identified copy for a peer that gets only such."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from dicomsvc.deidentify import deidentifier
from dicomsvc.dimse.outgoing import Outgoing, data_set_offset
from dicomsvc.errors import DamagedFile, NotAllowed
from dicomsvc.store import InstanceRecord, Store


class Copies:
    """The files that one peer gets.

    Parameters
    ----------
    profile
        Name of the de-identification profile (PS3.15 E); None: instances go out as they are.

    Raises
    ------
    ConfigurationError
        When there is no such profile.
    """

    def __init__(self, store: Store, profile: str | None) -> None:
        self._store = store
        self._deidentifier = None if profile is None else deidentifier(store.settings, profile)

    @contextmanager
    def of(self, record: InstanceRecord) -> Iterator[Outgoing]:
        """Yield what is sent of an instance; a copy is there until the end.

        Raises
        ------
        OSError, DamagedFile
            When its file cannot be read, or has lost its bytes.
        NotAllowed
            When the profile keeps it here, as it does with label images.
        """
        path = record.readable_path()
        if self._deidentifier is None:
            yield Outgoing(
                path,
                record.sop_class_uid,
                record.sop_instance_uid,
                record.transfer_syntax_uid,
                data_set_offset(path),
                record.size,
                record.sha256,
            )
            return
        _require_digest(record)
        with self._store.spool() as copy:
            made = self._deidentifier.write(path, copy)
            if made is None:
                raise NotAllowed("it must not leave this node by the peer's de-identification profile")
            yield Outgoing(
                copy.path,
                made.sop_class_uid,
                made.sop_instance_uid,
                made.transfer_syntax_uid,
                data_set_offset(copy.path),
                made.size,
                made.sha256,
            )


def _require_digest(record: InstanceRecord) -> None:
    # A copy has a digest of its own, which says nothing of what it was made from.
    with record.path.open("rb", buffering=0) as file:
        if hashlib.file_digest(file, "sha256").digest() != record.sha256:
            raise DamagedFile(f"the file of instance {record.sop_instance_uid} is damaged; restore it from a backup")
