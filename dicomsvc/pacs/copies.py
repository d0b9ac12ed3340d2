"""What goes out of a stored instance: its file, or a copy without identity, or without compression, where need be."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from dicomsvc.deidentify import copy_of, deidentifier
from dicomsvc.dimse.contexts import sending_syntax
from dicomsvc.dimse.outgoing import Known, Outgoing, read_head
from dicomsvc.errors import NotAllowed
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.wsi.native import native_copy


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
    def of(self, record: InstanceRecord, taken: Collection[str]) -> Iterator[Outgoing]:
        """Yield what is sent of an instance; a copy is there until the end.

        Parameters
        ----------
        taken
            Transfer syntaxes in which the peer takes the instance's SOP class: it goes out as it is stored, or else
            without compression.

        Raises
        ------
        OSError, DamagedFile
            When its file cannot be read, or has lost its bytes.
        NotAllowed
            When the profile keeps it here, as it does with label images.
        UnsupportedInstance, NotAcceptable
            When the peer takes it in no syntax in which it is, or can be made.
        """
        syntax = sending_syntax(record.sop_class_uid, record.transfer_syntax_uid, taken)
        with self._allowed(record) as (path, known):
            if known.transfer_syntax_uid == syntax:
                yield Outgoing.of(path, known)
                return
            with native_copy(self._store, path, known.sha256, syntax) as copy:
                yield read_head(copy)

    @contextmanager
    def _allowed(self, record: InstanceRecord) -> Iterator[tuple[Path, Known]]:
        """Yield what the peer may have of an instance."""
        path = record.readable_path()
        if self._deidentifier is None:
            yield path, record
            return
        with copy_of(self._store, self._deidentifier, path, record.sha256) as copy:
            if copy is None:
                raise NotAllowed("it must not leave this node by the peer's de-identification profile")
            yield copy
