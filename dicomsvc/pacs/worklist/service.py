"""The worklist as its users have it: each call is one transaction."""

from typing import Any

from dicomsvc.errors import Conflict, NotFound, PreconditionFailed
from dicomsvc.pacs.worklist import repository
from dicomsvc.pacs.worklist.entry import EntryContent, Specimen, Status
from dicomsvc.pacs.worklist.repository import Entry, Filter, Writer
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors


class Worklist:
    """The entries of ``store``; ``source`` is the way by which this user's entries come.

    All methods raise `OutOfResources` when the database does not answer.
    """

    def __init__(self, store: Store, source: str) -> None:
        self._engine = store.engine
        self._stations = store.settings.worklist.station_ae_titles
        self._source = source

    def _writer(self, who: str) -> Writer:
        return Writer(who, self._source, self._stations)

    def create(self, content: EntryContent, who: str) -> tuple[Entry, bool]:
        """Return the new entry and True, or the one that is there already and says the same, and False.

        Raises
        ------
        Conflict
            When one with this key says something else.
        """
        with database_errors(), self._engine.begin() as connection:
            repository.lock(connection, [content.accession_number])
            known = repository.by_key(connection, content.key)
            if known is None:
                return repository.insert(connection, content, self._writer(who)), True
            if not says_the_same(content, known.content):
                raise Conflict(f"entry {known.uid} has these numbers and says something else: change that one")
            return known, False

    def get(self, uid: str) -> Entry:
        """Return an entry.

        Raises
        ------
        NotFound
            When there is none; so do the methods below.
        """
        with database_errors(), self._engine.connect() as connection:
            return _found(repository.by_uid(connection, uid))

    def item(self, uid: str) -> dict[str, Any]:
        """Return an entry as the worklist's item, in DICOM JSON (PS3.18 F)."""
        with database_errors(), self._engine.connect() as connection:
            found = repository.item_of(connection, uid)
        if found is None:
            raise NotFound("there is no such entry")
        return found

    def listed(self, wanted: Filter, limit: int, offset: int = 0) -> tuple[int, list[Entry]]:
        with database_errors(), self._engine.connect() as connection:
            return repository.listed(connection, wanted, limit, offset)

    def change(self, uid: str, content: EntryContent, who: str, revision: int | None = None) -> Entry:
        """Replace what an entry says.

        Raises
        ------
        PreconditionFailed
            When it is no longer at ``revision``.
        Conflict
            When another entry has the new content's key.
        """
        with database_errors(), self._engine.begin() as connection:
            repository.lock(connection, [content.accession_number])
            entry = _found(repository.by_uid(connection, uid, to_change=True))
            if revision is not None and revision != entry.revision:
                raise PreconditionFailed(f"entry {uid} is at revision {entry.revision}")
            other = repository.by_key(connection, content.key)
            if other is not None and other.uid != uid:
                raise Conflict(f"entry {other.uid} has these numbers")
            return repository.replace(connection, entry, content, self._writer(who))

    def set_status(self, uid: str, status: Status, who: str) -> Entry:
        with database_errors(), self._engine.begin() as connection:
            entry = _found(repository.by_uid(connection, uid, to_change=True))
            return repository.set_status(connection, entry, status, self._writer(who))

    def delete(self, uid: str, who: str) -> None:
        with database_errors(), self._engine.begin() as connection:
            entry = _found(repository.by_uid(connection, uid, to_change=True))
            repository.remove(connection, entry, who)


def says_the_same(said: EntryContent, kept: EntryContent) -> bool:
    """Whether what is said is what is kept, but for the UIDs that were made for it."""
    specimens = said.specimens or (kept.specimens if _made(kept) else ())
    if len(specimens) != len(kept.specimens):
        return False
    uids = [specimen.uid or there.uid for specimen, there in zip(specimens, kept.specimens, strict=True)]
    filled = said.model_copy(
        update={
            "study_instance_uid": said.study_instance_uid or kept.study_instance_uid,
            "specimens": tuple(each.model_copy(update={"uid": uid}) for each, uid in zip(specimens, uids, strict=True)),
        }
    )
    return filled == kept


def _made(kept: EntryContent) -> bool:
    """Whether the specimen was not said, but stands for what is on the slide."""
    return [each.model_copy(update={"uid": None}) for each in kept.specimens] == [Specimen()]


def _found(entry: Entry | None) -> Entry:
    if entry is None:
        raise NotFound("there is no such entry")
    return entry
