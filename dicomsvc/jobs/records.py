"""Work items as requesters see them: create, look at, cancel, try again, wait for."""

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.dialects.postgresql import insert

from dicomsvc.dicom.uids import new_uid
from dicomsvc.errors import BadRequest, Conflict, NotFound
from dicomsvc.jobs.cancellation import date_time, with_cancellation
from dicomsvc.jobs.delivery import deliver, living_workers, recall
from dicomsvc.jobs.items import OUTSIDE, Priority, State, WorkItem, from_row
from dicomsvc.jobs.table import work_item
from dicomsvc.jobs.transitions import tag_of
from dicomsvc.store.database import database_errors

_now = func.clock_timestamp()
_c = work_item.c
_AT: Final = tag_of("ProcedureStepCancellationDateTime")


class Jobs:
    """The work items in a store's database. Every method raises `OutOfResources` when that does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        requested_by: str,
        *,
        priority: Priority = Priority.MEDIUM,
        key: str | None = None,
        retry_of: str | None = None,
        uid: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        ready: bool = True,
    ) -> WorkItem:
        """Make a work item and queue it, both or neither.

        Parameters
        ----------
        inputs
            JSON for the handler of ``kind``; `OUTSIDE` has none, and is not queued.
        key
            Idempotency key: when a work item has it already, that one is returned and nothing is made.
        uid
            Its UID, when it has one already.
        attributes
            DICOM JSON of what nothing else of the work item holds.
        ready
            Whether its input is; else it is queued by the update that says so.

        Raises
        ------
        Conflict
            When there is a work item with this ``uid``.
        """
        statement = (
            insert(work_item)
            .values(
                uid=uid or new_uid(),
                kind=kind,
                state=State.SCHEDULED,
                priority=priority,
                requested_by=requested_by,
                idempotency_key=key,
                retry_of=retry_of,
                inputs=dict(inputs),
                attributes=dict(attributes or {}),
            )
            .on_conflict_do_nothing()
            .returning(work_item)
        )
        with database_errors(), self._engine.begin() as connection:
            made = connection.execute(statement).one_or_none()
            if made is None:
                known = key and connection.execute(select(work_item).where(_c.idempotency_key == key)).one_or_none()
                if not known:
                    raise Conflict(f"there is a work item {uid} already")
                return from_row(known)
            if kind == OUTSIDE or not ready:
                return from_row(made)
            return self._update(connection, made.uid, delivery=deliver(connection, made.uid, kind, priority))

    def _update(self, connection: Connection, uid: str, **values: object) -> WorkItem:
        statement = update(work_item).where(_c.uid == uid).values(**values).returning(work_item)
        return from_row(connection.execute(statement).one())

    def get(self, uid: str) -> WorkItem:
        """Return a work item.

        Raises
        ------
        NotFound
            When there is none with this UID.
        """
        found = self.get_all([uid])
        if not found:
            raise NotFound(f"there is no work item {uid[:64]}")
        return found[0]

    def get_all(self, uids: Iterable[str]) -> list[WorkItem]:
        """Return those of the work items that exist, in the order given."""
        wanted = list(uids)
        with database_errors(), self._engine.connect() as connection:
            rows = connection.execute(select(work_item).where(_c.uid.in_(wanted)))
            found = {row.uid: from_row(row) for row in rows}
        return [found[uid] for uid in wanted if uid in found]

    def find_key(self, key: str) -> WorkItem | None:
        """Return the work item that has this idempotency key."""
        with database_errors(), self._engine.connect() as connection:
            row = connection.execute(select(work_item).where(_c.idempotency_key == key)).one_or_none()
        return None if row is None else from_row(row)

    def release_key(self, uid: str) -> None:
        """Take the idempotency key off a work item, so that the next request under it makes a new one."""
        with database_errors(), self._engine.begin() as connection:
            connection.execute(update(work_item).where(_c.uid == uid).values(idempotency_key=None))

    def search(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        study_instance_uid: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[WorkItem]:
        """Return work items, latest first.

        Raises
        ------
        BadRequest
            When ``state`` is none of PS3.4 CC.1.1.
        """
        if state is not None and state not in list(State):
            raise BadRequest(f"a work item's state is one of {', '.join(State)}")
        statement = select(work_item).order_by(_c.created.desc(), _c.uid.desc()).limit(limit).offset(offset)
        if state is not None:
            statement = statement.where(_c.state == state)
        if kind is not None:
            statement = statement.where(_c.kind == kind)
        if study_instance_uid is not None:
            statement = statement.where(_c.study_instance_uid == study_instance_uid)
        with database_errors(), self._engine.connect() as connection:
            return [from_row(row) for row in connection.execute(statement)]

    def request_cancel(self, uid: str, request: Mapping[str, Any] | None = None) -> WorkItem:
        """Stop a work item: at once when nobody has it, within two seconds when a worker does; twice does no harm.

        A performer outside that has it is told, and decides (PS3.4 CC.2.2.3).

        Parameters
        ----------
        request
            DICOM JSON of PS3.4 CC.2.2.1: who asks, and why.

        Raises
        ------
        NotFound
            When there is none with this UID.
        Conflict
            When it is COMPLETED.
        """
        with database_errors(), self._engine.begin() as connection:
            row = connection.execute(select(work_item).where(_c.uid == uid).with_for_update()).one_or_none()
            if row is None:
                raise NotFound(f"there is no work item {uid[:64]}")
            if row.state == State.COMPLETED:
                raise Conflict(f"work item {uid} is COMPLETED and cannot be cancelled")
            if row.state == State.CANCELED:
                return from_row(row)
            # The time of the request tells it from the one before.
            said = {**(request or {}), _AT: {"vr": "DT", "Value": [date_time(datetime.now(UTC))]}}
            values: dict[str, object] = {"cancellation_requested": True, "updated": _now, "cancellation": said}
            if row.state == State.IN_PROGRESS and row.kind == OUTSIDE:
                return self._update(connection, uid, **values)
            if recall(connection, row.delivery):
                if row.state == State.SCHEDULED:
                    # PS3.4 CC.2.2.3: by way of IN PROGRESS, of which subscribers hear.
                    self._update(connection, uid, state=State.IN_PROGRESS)
                values |= {"state": State.CANCELED, "ended": _now, "error": None, "error_kind": None}
            if row.kind == OUTSIDE:
                values["attributes"] = with_cancellation(row.attributes, request)
            return self._update(connection, uid, **values)

    def retry(self, uid: str, requested_by: str | None = None) -> WorkItem:
        """Make a new work item like a CANCELED one, whose state is final (PS3.4 CC.1.1); twice makes one.

        Raises
        ------
        NotFound
            When there is none with this UID.
        Conflict
            When it is in another state.
        """
        item = self.get(uid)
        if item.state is not State.CANCELED:
            raise Conflict(f"work item {uid} is {item.state}; only a CANCELED one can be tried again")
        if item.outside:
            raise Conflict(f"work item {uid} is performed by others; whoever scheduled it can do so again")
        return self.create(
            item.kind,
            item.inputs,
            requested_by or item.requested_by,
            priority=item.priority,
            key=f"retry:{uid}",
            retry_of=uid,
            attributes=item.attributes,
        )

    def has_workers(self, seconds: float = 30) -> bool:
        """Whether any worker gave a sign of life within this time."""
        with database_errors(), self._engine.connect() as connection:
            return living_workers(connection, seconds) > 0

    def watch(
        self, uids: Iterable[str], *, every_seconds: float = 0.5, timeout_seconds: float | None = None
    ) -> Iterator[WorkItem]:
        """Yield the work items now and whenever one has changed, until all are final or the time is over."""
        waiting = list(dict.fromkeys(uids))
        seen: dict[str, object] = {}
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while waiting:
            for item in self.get_all(waiting):
                if seen.get(item.uid) != item.updated:
                    seen[item.uid] = item.updated
                    yield item
                if item.final:
                    waiting.remove(item.uid)
            waiting = [uid for uid in waiting if uid in seen]
            if not waiting or (deadline is not None and time.monotonic() >= deadline):
                return
            time.sleep(every_seconds)
