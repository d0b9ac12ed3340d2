"""An instance as it goes out: the stored file, or a copy in the spool, without identity or without compression."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from dicomsvc.deidentify import Deidentifier, copy_of
from dicomsvc.dimse.contexts import sending_syntax
from dicomsvc.dimse.failures import MessageBroken
from dicomsvc.dimse.outgoing import Known, Outgoing, read_head
from dicomsvc.errors import DamagedFile
from dicomsvc.routing.ledger import Item
from dicomsvc.store import Store
from dicomsvc.wsi.native import native_copy


class Packing:
    """Makes what is sent of what is stored."""

    def __init__(self, store: Store, deidentifier: Deidentifier | None) -> None:
        self._store = store
        self._deidentifier = deidentifier

    @contextmanager
    def packed(self, item: Item, taken: Collection[str] | None = None) -> Iterator[Outgoing | str]:
        """Yield what goes out, there until the end; or why it is kept here.

        A de-identified copy has UIDs of its own. What came as one is not made another one of: between nodes that send
        each other such copies it would go round for ever.

        Parameters
        ----------
        taken
            Transfer syntaxes in which the peer takes the instance's SOP class: it goes out as it is stored, or else
            without compression. None: any.

        Raises
        ------
        DicomsvcError, OSError
            When it cannot be read or de-identified, or is in no syntax that is taken.
        """
        if item.damaged:
            raise DamagedFile(f"the file of instance {item.sop_instance_uid} is damaged; restore it from a backup")
        syntax = item.transfer_syntax_uid
        if taken is not None:
            syntax = sending_syntax(item.sop_class_uid, syntax, taken)
        with self._watched(item), self._allowed(item) as allowed:
            if isinstance(allowed, str):
                yield allowed
                return
            path, known = allowed
            if known.transfer_syntax_uid == syntax:
                yield Outgoing.of(path, known)
                return
            with native_copy(self._store, path, known.sha256, syntax) as copy:
                yield read_head(copy)

    @contextmanager
    def _watched(self, item: Item) -> Iterator[None]:
        """Have a file that turns out to be damaged no longer served."""
        try:
            yield
        except MessageBroken as error:
            if error.damaged:
                self._store.mark_damaged(item.sop_instance_uid)
            raise
        except DamagedFile:
            # It may also be one that cannot be decoded, and came like that.
            self._store.suspect(item.sop_instance_uid)
            raise

    @contextmanager
    def _allowed(self, item: Item) -> Iterator[tuple[Path, Known] | str]:
        """Yield what the destination may have of an instance, or why that is nothing."""
        if self._deidentifier is None:
            yield item.path, item
        elif item.deidentified_elsewhere:
            yield "it came without identity, and would get other UIDs each time it goes round; send it as it is"
        else:
            with copy_of(self._store, self._deidentifier, item.path, item.sha256) as copy:
                yield copy or "the de-identification profile keeps it here"
