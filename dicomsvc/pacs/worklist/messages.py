"""Order messages into the worklist: all orders of a message or none, durable before they are answered.

The application's answers are ORL^O22 to OML^O21, ORL^O34 to OML^O33 and ORR^O02 to ORM^O01 (HL7 v2.5.1 4.4): the
patient, and for each order what became of it (ORC-1) under its numbers.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection

from dicomsvc.hl7.acknowledge import AckCode, Acknowledgement, Condition, Objection
from dicomsvc.hl7.handlers import Handler
from dicomsvc.hl7.message import Message, Segment
from dicomsvc.pacs.worklist import repository
from dicomsvc.pacs.worklist.entry import EntryContent, Status
from dicomsvc.pacs.worklist.orders import Action, Order, read_orders
from dicomsvc.pacs.worklist.repository import Entry, Writer
from dicomsvc.pacs.worklist.service import says_the_same
from dicomsvc.store import Store
from dicomsvc.store.database import database_errors

_AT_ONCE: Final = 4
_LONGEST_ECHO: Final = 250


class OrderMessages:
    """Takes orders into the worklist of ``store``."""

    def __init__(self, store: Store) -> None:
        self._engine = store.engine
        self._stations = store.settings.worklist.station_ae_titles
        self._taking = asyncio.Semaphore(_AT_ONCE)

    def rows(self) -> dict[tuple[str, str], Handler]:
        """Return the handlers by message type and event."""
        return {
            ("OML", "O21"): Handler(self.handle, "ORL^O22^ORL_O22"),
            ("OML", "O33"): Handler(self.handle, "ORL^O34^ORL_O34"),
            ("ORM", "O01"): Handler(self.handle, "ORR^O02^ORR_O02"),
        }

    async def handle(self, message: Message) -> Acknowledgement:
        """Take a message's orders; one that came before is answered again, and does nothing."""
        async with self._taking:
            return await asyncio.to_thread(self.take, message)

    def take(self, message: Message) -> Acknowledgement:
        """Take a message's orders.

        Raises
        ------
        Objection
            When one of them cannot be taken; then none is.
        OutOfResources
            When the database does not take them now.
        """
        orders = read_orders(message)
        writer = Writer("hl7", "hl7", self._stations)
        with database_errors(), self._engine.begin() as connection:
            if repository.remember_message(connection, _key(message)):
                repository.lock(connection, [order.accession_number for order in orders])
                for order in orders:
                    _apply(connection, order, writer)
        return Acknowledgement(AckCode.ACCEPT, segments=tuple(_answer(message, orders)))


def _key(message: Message) -> str:
    """Return what is the same when the same message comes twice.

    Senders that start anew count their messages from 1 again: another text is another message.
    """
    digest = hashlib.sha256(message.sender.encode("utf-8", "replace"))
    for segment in message.segments[1:]:
        digest.update("\r".join(segment.fields).encode("utf-8", "replace") + b"\n")
    digest.update(message.header.component(10).encode("utf-8", "replace"))
    return digest.hexdigest()


def _apply(connection: Connection, order: Order, writer: Writer) -> None:
    entries = repository.of_order(connection, order.placer_order_number, order.accession_number)
    if any(entry.content.patient.id != order.patient_id for entry in entries):
        raise Objection(Condition.APPLICATION, "the order is known as another patient's", ("PID", 1, 3))
    if not order.accession_number and len({entry.content.accession_number for entry in entries}) > 1:
        raise Objection(Condition.APPLICATION, "orders of several cases have this placer order number: name the case")
    if order.action in (Action.NEW, Action.CHANGE):
        for content in order.entries:
            _put(connection, entries, content, order, writer)
        return
    named = [
        entry for entry in entries if not order.containers or entry.content.container.identifier in order.containers
    ]
    if not named:
        raise Objection(Condition.UNKNOWN_KEY, "there is no such order in the worklist")
    status = Status.CANCELLED if order.action is Action.CANCEL else order.status
    assert status is not None
    if status is Status.CANCELLED and any(entry.status is Status.COMPLETED for entry in named):
        raise Objection(Condition.APPLICATION, "the order is completed, and cannot be cancelled")
    for entry in named:
        repository.set_status(connection, entry, status, writer)


def _put(connection: Connection, entries: list[Entry], content: EntryContent, order: Order, writer: Writer) -> None:
    """Write what an order says of a container; without one, it is said of all that the order has."""
    if entries and not content.accession_number:
        content = content.model_copy(update={"accession_number": entries[0].content.accession_number})
    same = _meant(entries, content)
    if not same:
        entries.append(repository.insert(connection, content, writer, order.status or Status.SCHEDULED))
    for entry in same:
        new, status = _kept(content, entry), _status(entry, order)
        if status is entry.status and says_the_same(new, entry.content):
            continue
        entries[entries.index(entry)] = repository.replace(connection, entry, new, writer, status)


def _meant(entries: Sequence[Entry], content: EntryContent) -> list[Entry]:
    """Return the entries of an order that new content is for, one for each key that they will have then."""
    of_step = [entry for entry in entries if not content.step.id or entry.content.step.id in ("", content.step.id)]
    container = content.container.identifier
    if container:
        same = [entry for entry in of_step if entry.content.container.identifier == container]
        # An order that had no barcode yet gets its first one.
        of_step = same or [entry for entry in of_step if not entry.content.container.identifier][:1]
    found: dict[tuple[str, str, str, str], Entry] = {}
    for entry in of_step:
        key = _kept(content, entry).key
        if key not in found or entry.content.key == key:
            found[key] = entry
    return list(found.values())


def _kept(content: EntryContent, entry: Entry) -> EntryContent:
    """Return the new content with what only the old one has: step, container, specimens."""
    old = entry.content
    step = content.step if content.step.id else content.step.model_copy(update={"id": old.step.id})
    if content.container.identifier:
        return content.model_copy(update={"step": step})
    specimens = content.specimens or old.specimens
    return content.model_copy(update={"step": step, "container": old.container, "specimens": specimens})


def _status(entry: Entry, order: Order) -> Status:
    if order.status is not None and order.status is not Status.SCHEDULED:
        return order.status
    reopened = order.action is Action.NEW and entry.status is Status.CANCELLED
    return Status.SCHEDULED if reopened else entry.status


def _answer(message: Message, orders: Sequence[Order]) -> Iterable[tuple[str, ...]]:
    """Yield PID, then ORC for each order, in OML^O33 under its SPM and SAC."""
    by_specimen = message.header.component(9, 2) == "O33"
    responses = iter(orders)
    pid = message.first("PID")
    if pid is not None:
        yield _echo(pid, (3, 5))
    for segment in message.segments:
        if segment.name == "ORC":
            order = next(responses)
            yield ("ORC", order.response, *_echo(segment, (2, 3))[2:])
        elif by_specimen and segment.name == "SPM":
            yield _echo(segment, (1, 2, 4))
        elif by_specimen and segment.name == "SAC":
            yield _echo(segment, (3,))


def _echo(segment: Segment, numbers: Sequence[int]) -> tuple[str, ...]:
    """Return some fields of a segment as they came, the others empty."""
    fields = [segment.name] + [""] * max(numbers)
    for number in numbers:
        said = segment.field(number)
        fields[number] = said if len(said) <= _LONGEST_ECHO else ""
    return tuple(fields)
