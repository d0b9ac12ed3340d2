"""Applying rules: what has been stable for long enough becomes forwards, each instance once for each rule.

A rule stops waiting for an instance in the transaction that makes the forward, so nothing is lost or done twice in
between.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, text

from dicomsvc.config import RoutingSettings
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.routing.rules import Rule
from dicomsvc.routing.tables import forward, forward_instance, routing_activity, routing_wait
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import instance

_STABLE = text(
    """
    SELECT DISTINCT wait.study_instance_uid, CASE WHEN :of_series THEN wait.series_instance_uid END AS series
      FROM routing_wait wait
     WHERE wait.rule = :rule AND NOT EXISTS (
       SELECT FROM routing_activity activity
        WHERE activity.study_instance_uid = wait.study_instance_uid
          AND (NOT :of_series OR activity.series_instance_uid = wait.series_instance_uid)
          AND CASE WHEN :own THEN activity.at ELSE activity.at_from_elsewhere END
              > now() - make_interval(secs => :seconds))
    """
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance that a rule is applied to, and who brought it."""

    series_instance_uid: str
    sop_instance_uid: str
    source: str
    sender: str


def fire(engine: Engine, rule: Rule, routing: RoutingSettings, peers: KnownPeers) -> int:
    """Apply a rule to every series, or study, that has become stable; return the number of forwards made."""
    asked = rule.settings
    parameters = {
        "rule": rule.name,
        "of_series": asked.stable == "series",
        "own": asked.own_results,
        "seconds": asked.stable_seconds,
    }
    with database_errors(), engine.connect() as connection:
        stable = connection.execute(_STABLE, parameters).all()
    made = 0
    for row in stable:
        with database_errors(), engine.begin() as connection:
            made += _apply(connection, rule, row.study_instance_uid, row.series, routing, peers)
    return made


def _apply(
    connection: Connection,
    rule: Rule,
    study_instance_uid: str,
    series_instance_uid: str | None,
    routing: RoutingSettings,
    peers: KnownPeers,
) -> int:
    waits = routing_wait.c
    statement = delete(routing_wait).where(waits.rule == rule.name, waits.study_instance_uid == study_instance_uid)
    if series_instance_uid is not None:
        statement = statement.where(waits.series_instance_uid == series_instance_uid)
    rows = connection.execute(statement.returning(routing_wait)).all()
    latest = {row.sop_instance_uid: row for row in sorted(rows, key=lambda row: row.sequence)}
    arrivals = [
        Arrival(row.series_instance_uid, row.sop_instance_uid, row.source, row.sender) for row in latest.values()
    ]
    sizes = _stored_sizes(connection, list(latest))
    made = 0
    for order in orders(rule, arrivals, routing, peers):
        members = [each for each in order.arrivals if each.sop_instance_uid in sizes]
        if members:
            _insert(connection, rule, order, study_instance_uid, series_instance_uid, members, sizes)
            made += 1
    return made


@dataclass(frozen=True, slots=True)
class Order:
    """One forward that a rule asks for."""

    action: str
    destination: str
    arrivals: Sequence[Arrival]
    series_instance_uid: str | None = None


def orders(rule: Rule, arrivals: Sequence[Arrival], routing: RoutingSettings, peers: KnownPeers) -> Iterator[Order]:
    """Yield what a rule asks for when it is applied to these instances; nothing goes back to where it came from."""
    asked = rule.settings
    for name in asked.send:
        action = "stow" if name in routing.destinations else "store"
        brought = set() if asked.back else _brought_by(name, routing, peers, arrivals)
        left = [each for each in arrivals if each.sop_instance_uid not in brought]
        if left:
            yield Order(action, name, left)
    for model in asked.analyze:
        for series in dict.fromkeys(each.series_instance_uid for each in arrivals):
            yield Order("analyze", model, [each for each in arrivals if each.series_instance_uid == series], series)
    for name in asked.notify:
        yield Order("notify", name, arrivals)
    for name in asked.webhook:
        yield Order("webhook", name, arrivals)


def _brought_by(name: str, routing: RoutingSettings, peers: KnownPeers, arrivals: Iterable[Arrival]) -> set[str]:
    destination = routing.destinations.get(name)
    if destination is not None:
        source, sender = "stow", destination.user
    else:
        peer = peers.by_name(name)
        source, sender = "dimse", None if peer is None else peer.ae_title
    return {each.sop_instance_uid for each in arrivals if sender and (each.source, each.sender) == (source, sender)}


def _stored_sizes(connection: Connection, uids: Sequence[str]) -> Mapping[str, tuple[str, int]]:
    statement = select(instance.c.sop_instance_uid, instance.c.sop_class_uid, instance.c.size).where(
        instance.c.sop_instance_uid.in_(uids)
    )
    return {row.sop_instance_uid: (row.sop_class_uid, row.size) for row in connection.execute(statement)}


def _insert(
    connection: Connection,
    rule: Rule,
    order: Order,
    study_instance_uid: str,
    series_instance_uid: str | None,
    members: Sequence[Arrival],
    sizes: Mapping[str, tuple[str, int]],
) -> None:
    values: dict[str, Any] = {
        "rule": rule.name,
        "action": order.action,
        "destination": order.destination,
        "study_instance_uid": study_instance_uid,
        "series_instance_uid": order.series_instance_uid or series_instance_uid,
        "commitment": rule.settings.commit and order.action == "store",
    }
    number = connection.execute(insert(forward).values(**values).returning(forward.c.id)).scalar_one()
    connection.execute(
        insert(forward_instance),
        [
            {
                "forward": number,
                "sop_instance_uid": each.sop_instance_uid,
                "sop_class_uid": sizes[each.sop_instance_uid][0],
                "series_instance_uid": each.series_instance_uid,
                "size": sizes[each.sop_instance_uid][1],
            }
            for each in members
        ],
    )


def forget_waits(engine: Engine, rules: Sequence[Rule]) -> None:
    """Let go what rules wait for that are there no more, and the activity that nothing waits for."""
    names = [rule.name for rule in rules]
    longest = max((rule.settings.stable_seconds for rule in rules), default=0.0)
    with database_errors(), engine.begin() as connection:
        connection.execute(delete(routing_wait).where(routing_wait.c.rule.not_in(names)))
        connection.execute(
            delete(routing_activity).where(
                routing_activity.c.at < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, longest + 3600)
            )
        )
