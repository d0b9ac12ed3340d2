"""An instance as it goes out: the stored file, or its de-identified copy in the spool."""

from collections.abc import Iterator
from contextlib import contextmanager

from dicomsvc.deidentify import Deidentifier, copy_of
from dicomsvc.dimse.outgoing import Outgoing
from dicomsvc.errors import DamagedFile
from dicomsvc.routing.ledger import Item
from dicomsvc.store import Store


class Packing:
    """Makes what is sent of what is stored."""

    def __init__(self, store: Store, deidentifier: Deidentifier | None) -> None:
        self._store = store
        self._deidentifier = deidentifier

    @contextmanager
    def packed(self, item: Item) -> Iterator[Outgoing | str]:
        """Yield what goes out, there until the end; or why it is kept here.

        A de-identified copy has UIDs of its own. What came as one is not made another one of: between nodes that send
        each other such copies it would go round for ever.

        Raises
        ------
        DicomsvcError, OSError
            When it cannot be read, or cannot be de-identified.
        """
        if item.damaged:
            raise DamagedFile(f"the file of instance {item.sop_instance_uid} is damaged; restore it from a backup")
        if self._deidentifier is None:
            yield Outgoing.of(item.path, item)
            return
        if item.deidentified_elsewhere:
            yield "it came without identity, and would get other UIDs each time it goes round; send it as it is"
            return
        with copy_of(self._store, self._deidentifier, item.path, item.sha256) as copy:
            yield "the de-identification profile keeps it here" if copy is None else Outgoing.of(*copy)
