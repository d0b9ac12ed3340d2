"""What the rules do and would do: for people who write them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from dicomsvc.config import RoutingRule
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.routing.firing import Arrival, Order, orders
from dicomsvc.routing.forwards import Forwards
from dicomsvc.routing.rules import Rule, read_rules
from dicomsvc.routing.tables import routing_wait
from dicomsvc.store import Change, Store
from dicomsvc.store.database import database_errors
from dicomsvc.store.tables import change


@dataclass(frozen=True, slots=True)
class RuleCounts:
    """A rule, instances that wait for it, and its forwards by how they stand."""

    rule: RoutingRule
    waiting: int
    forwards: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.rule.name,
            "enabled": self.rule.enabled,
            "rule": self.rule.model_dump(mode="json", exclude_defaults=True),
            "instances_waiting": self.waiting,
            "forwards": dict(self.forwards),
        }


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule that is for something, and what it would do with it."""

    rule: Rule
    instances: int
    orders: tuple[Order, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "rule": self.rule.name,
            "instances": self.instances,
            "orders": [
                {
                    "action": order.action,
                    "destination": order.destination,
                    "instances": len(order.arrivals),
                    "series_instance_uid": order.series_instance_uid,
                }
                for order in self.orders
            ],
        }


def list_rules(store: Store) -> list[RuleCounts]:
    """Return all rules of the settings, with what they have done."""
    statement = select(routing_wait.c.rule, func.count()).group_by(routing_wait.c.rule)
    with database_errors(), store.engine.connect() as connection:
        waiting: dict[str, int] = {row[0]: row[1] for row in connection.execute(statement)}
    forwards = Forwards(store.engine).counts_of_rules()
    return [
        RuleCounts(rule, waiting.get(rule.name, 0), forwards.get(rule.name, {}))
        for rule in store.settings.routing.rules
    ]


def try_rules(store: Store, study_instance_uid: str, series_instance_uid: str | None = None) -> list[Firing]:
    """Return what the rules would do with what is stored, had it come just now and were it stable; does nothing.

    Raises
    ------
    NotFound
        When nothing is stored under these UIDs.
    ConfigurationError
        When a rule means nothing.
    """
    records = store.instances.find(study_instance_uid, series_instance_uid)
    arrivals = _arrivals(store, [record.sop_instance_uid for record in records])
    peers = KnownPeers(store.engine, store.settings)
    found = []
    for rule in read_rules(store.settings):
        taken = [each for each in arrivals if rule.takes(each)]
        with database_errors(), store.engine.connect() as connection:
            matching = rule.matching(connection, [each.sop_instance_uid for each in taken])
        members = [
            Arrival(each.series_instance_uid, each.sop_instance_uid, each.source, each.sender)
            for each in taken
            if each.sop_instance_uid in matching
        ]
        if members:
            would = tuple(orders(rule, members, store.settings.routing, peers))
            found.append(Firing(rule, len(members), would))
    return found


def _arrivals(store: Store, uids: list[str]) -> list[Change]:
    """Return the latest change that brought each of the instances."""
    statement = (
        select(change)
        .where(change.c.sop_instance_uid.in_(uids), change.c.kind == "stored")
        .distinct(change.c.sop_instance_uid)
        .order_by(change.c.sop_instance_uid, change.c.sequence.desc())
    )
    names = Change.__dataclass_fields__
    with database_errors(), store.engine.connect() as connection:
        rows = connection.execute(statement).all()
    return [Change(**{name: getattr(row, name) for name in names}) for row in rows]
