"""What goes out of a stored instance: its file as it is, or a de-identified copy for a peer that gets only such."""

from collections.abc import Iterator
from contextlib import contextmanager

from dicomsvc.deidentify import copy_of, deidentifier
from dicomsvc.dimse.outgoing import Outgoing
from dicomsvc.errors import NotAllowed
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
            yield Outgoing.of(path, record)
            return
        with copy_of(self._store, self._deidentifier, path, record.sha256) as copy:
            if copy is None:
                raise NotAllowed("it must not leave this node by the peer's de-identification profile")
            yield Outgoing.of(*copy)
