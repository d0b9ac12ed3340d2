"""From the change feed to what rules wait for: each change is read once, in the transaction that moves the position."""

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from dicomsvc.routing.rules import OWN_SOURCES, Rule
from dicomsvc.routing.tables import routing_activity, routing_position, routing_wait
from dicomsvc.store import Change
from dicomsvc.store.changes import read_changes
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import change

BATCH = 1000
_HEAD = text(
    "SELECT coalesce(max(sequence), 0) FROM change "
    "WHERE transaction < pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
)


def read_position(engine: Engine) -> int:
    """Return how far the feed has been read; at the very first time it begins at its end.

    A store that had instances before it had a router is not sent out as a whole.
    """
    position = select(routing_position.c.sequence)
    with database_errors(), engine.begin() as connection:
        known = connection.scalar(position)
        if known is not None:
            return int(known)
        head = connection.execute(_HEAD).scalar_one()
        connection.execute(insert(routing_position).values(sequence=head).on_conflict_do_nothing())
        return int(connection.execute(position).scalar_one())


def take_in(engine: Engine, rules: Sequence[Rule]) -> bool:
    """Read the next changes and note which rules are for them; return whether there may be more.

    A change that is read while another router reads it is taken in by one of them.
    """
    position = read_position(engine)
    changes = read_changes(engine, position, BATCH)
    if not changes:
        return False
    stored = [each for each in changes if each.kind == "stored"]
    moved = (
        update(routing_position)
        .where(routing_position.c.sequence == position)
        .values(sequence=changes[-1].sequence)
        .returning(routing_position.c.sequence)
    )
    with database_errors(), engine.begin() as connection:
        if connection.execute(moved).one_or_none() is None:
            return True
        _note_activity(connection, stored)
        for rule in rules:
            _note_waits(connection, rule, stored)
    return len(changes) == BATCH


def _note_waits(connection: Connection, rule: Rule, stored: Sequence[Change]) -> None:
    taken = [each for each in stored if rule.takes(each)]
    matching = rule.matching(connection, [each.sop_instance_uid for each in taken])
    rows = [
        {
            "rule": rule.name,
            "sequence": each.sequence,
            "study_instance_uid": each.study_instance_uid,
            "series_instance_uid": each.series_instance_uid,
            "sop_instance_uid": each.sop_instance_uid,
            "source": each.source,
            "sender": each.sender,
        }
        for each in taken
        if each.sop_instance_uid in matching
    ]
    if rows:
        connection.execute(insert(routing_wait).on_conflict_do_nothing(), rows)


def _note_activity(connection: Connection, stored: Sequence[Change]) -> None:
    # The latest change of a series is the last one that is put in.
    latest: dict[tuple[str, str], dict[str, object]] = {}
    for each in stored:
        row = latest.setdefault(
            (each.study_instance_uid, each.series_instance_uid),
            {
                "study_instance_uid": each.study_instance_uid,
                "series_instance_uid": each.series_instance_uid,
                "at_from_elsewhere": None,
            },
        )
        row["at"] = each.at
        if each.source not in OWN_SOURCES:
            row["at_from_elsewhere"] = each.at
    if not latest:
        return
    statement = insert(routing_activity)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[routing_activity.c.study_instance_uid, routing_activity.c.series_instance_uid],
            set_={
                "at": func.greatest(routing_activity.c.at, statement.excluded.at),
                "at_from_elsewhere": func.greatest(
                    routing_activity.c.at_from_elsewhere, statement.excluded.at_from_elsewhere
                ),
            },
        ),
        list(latest.values()),
    )


def skip_to_end(engine: Engine) -> None:
    """Move the position to the end of the feed: there are no rules."""
    head = select(func.max(change.c.sequence)).where(
        text("transaction < pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    )
    behind = routing_position.c.sequence < head.scalar_subquery()
    with database_errors(), engine.begin() as connection:
        connection.execute(update(routing_position).where(behind).values(sequence=head.scalar_subquery()))
