"""An instance as it goes out: the stored file, or its de-identified copy in the spool."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from dicomsvc.deidentify import Deidentifier
from dicomsvc.dimse.outgoing import Outgoing, data_set_offset
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
        if item.deidentified_elsewhere:
            yield "it came without identity, and would get other UIDs each time it goes round; send it as it is"
            return
        _require_digest(item)
        with self._store.spool() as copy:
            made = self._deidentifier.write(item.path, copy)
            if made is None:
                yield "the de-identification profile keeps it here"
                return
            yield Outgoing(
                copy.path,
                made.sop_class_uid,
                made.sop_instance_uid,
                made.transfer_syntax_uid,
                data_set_offset(copy.path),
                made.size,
                made.sha256,
            )


def _require_digest(item: Item) -> None:
    # A copy has a digest of its own, which says nothing of what it was made from.
    with item.path.open("rb", buffering=0) as file:
        if hashlib.file_digest(file, "sha256").digest() != item.sha256:
            raise DamagedFile(f"the file of instance {item.sop_instance_uid} is damaged; restore it from a backup")
