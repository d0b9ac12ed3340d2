"""An instance as it goes out: the stored file, or its de-identified copy in the spool."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dicomsvc.dimse.outgoing import Outgoing, data_set_offset, read_head
from dicomsvc.errors import DamagedFile
from dicomsvc.routing.ledger import Item
from dicomsvc.store import Store

if TYPE_CHECKING:
    from dicomsvc.deidentify import Deidentifier


class Packing:
    """Makes what is sent of what is stored."""

    def __init__(self, store: Store, deidentifier: "Deidentifier | None") -> None:
        self._store = store
        self._deidentifier = deidentifier

    @contextmanager
    def packed(self, item: Item) -> Iterator[Outgoing | None]:
        """Yield what goes out, there until the end; None when the profile keeps it here.

        Raises
        ------
        DicomsvcError, OSError
            When it cannot be read, or cannot be de-identified.
        """
        if item.damaged:
            raise DamagedFile(f"the file of instance {item.sop_instance_uid} is damaged; restore it from a backup")
        if self._deidentifier is None:
            yield Outgoing(
                item.path,
                item.sop_class_uid,
                item.sop_instance_uid,
                item.transfer_syntax_uid,
                data_set_offset(item.path),
                item.path.stat().st_size,
                item.sha256,
            )
            return
        with self._store.spool() as copy:
            written = self._deidentifier.write(item.path, copy.path)
            yield None if written is None else read_head(copy.path)
