"""A store with rules, and what carries its forwards out in this process: for the tests of routing."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event
from sqlalchemy import update

from dicomsvc.config import Settings
from dicomsvc.dimse.peers import KnownPeers
from dicomsvc.jobs import Jobs, Later, Progress, Work
from dicomsvc.routing.admission import admit
from dicomsvc.routing.firing import fire
from dicomsvc.routing.forwarding import forward
from dicomsvc.routing.forwards import Forward, Forwards
from dicomsvc.routing.intake import read_position, take_in
from dicomsvc.routing.rules import read_rules
from dicomsvc.routing.tables import forward as forward_table
from dicomsvc.store import Source, Store
from tests.instances import VL_WHOLE_SLIDE, part10

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


def with_routing(settings: Settings, *, peers: Mapping[str, int] | None = None, **routing: Any) -> Settings:
    """Return settings with rules, and with peers by name and port whose AE title is their name."""
    known = {
        name: {"ae_title": name, "host": "127.0.0.1", "port": port, "may": ["store"]}
        for name, port in (peers or {}).items()
    }
    tree = settings.model_dump() | {"peers": known, "routing": routing}
    return Settings(**tree)


def put(store: Store, *data_sets: Dataset, source: str = "dimse", who: str = "SCANNER") -> None:
    for ds in data_sets:
        with store.spool() as spooled:
            spooled.write(part10(ds))
            store.add(spooled, Source(source, who, "127.0.0.1"))


def route(store: Store) -> list[Forward]:
    """Apply the rules once to all that has come, and return all forwards, the first one first."""
    rules = read_rules(store.settings)
    while take_in(store.engine, rules):
        pass
    peers = KnownPeers(store.engine, store.settings)
    for rule in rules:
        fire(store.engine, rule, store.settings.routing, peers)
    return sorted(Forwards(store.engine).search(limit=1000), key=lambda each: each.id)


@contextmanager
def opened(settings: Settings) -> Iterator[Store]:
    """Open a store whose router has been there from the beginning."""
    with Store(settings) as store:
        read_position(store.engine)
        yield store


@dataclass
class Carrier:
    """Does the work items of forwards in this process."""

    store: Store
    texts: list[str] = field(default_factory=list)
    report: Callable[[Progress], None] = lambda progress: None

    def carry(self, record: Forward) -> Later | None:
        """Make one attempt at a forward that has been ordered; return for how long it would wait."""
        [item] = Jobs(self.store.engine).get_all([Forwards(self.store.engine).get(record.id).work_item or ""])

        def report(progress: Progress) -> None:
            self.texts.append(progress.text)
            self.report(progress)

        work = Work(item.uid, item.kind, item.inputs, item.requested_by, 1, self.store, report, self.texts.append)
        try:
            forward(work)
        except Later as later:
            return later
        return None

    def carry_all(self) -> list[Forward]:
        """Apply the rules, order what they ask for and make one attempt at each; return the forwards."""
        route(self.store)
        admit(self.store.engine, self.store.settings.routing)
        for record in Forwards(self.store.engine).search(limit=1000):
            if record.work_item is not None and not record.final and record.action != "analyze":
                self.carry(record)
        return sorted(Forwards(self.store.engine).search(limit=1000), key=lambda each: each.id)


def make_old(store: Store, hours: float) -> None:
    """Let all forwards have been tried for this long."""
    from sqlalchemy import func

    ago = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, hours * 3600)
    with store.engine.begin() as connection:
        connection.execute(update(forward_table).values(since=ago))


class Scp:
    """A C-STORE SCP by pynetdicom, whose answers the test chooses.

    ``answer`` gets the number of the request, from 1, and the event; an exception has it abort the association.
    """

    def __init__(self, answer: Callable[[int, Event], int] = lambda number, event: 0, port: int = 0) -> None:
        self.received: list[str] = []
        self.pixel_data: dict[str, bytes] = {}
        self._answer = answer
        self._lock = threading.Lock()
        self._port = port

    def __enter__(self) -> "Scp":
        entity = AE(ae_title="SCP")
        entity.add_supported_context(VL_WHOLE_SLIDE, JPEG_BASELINE)
        self._server = entity.start_server(
            ("127.0.0.1", self._port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.port = self._server.socket.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _store(self, event: Event) -> int:
        with self._lock:
            self.received.append(str(event.request.AffectedSOPInstanceUID))
            number = len(self.received)
        status = self._answer(number, event)
        if status >> 12 in (0x0, 0xB):
            self.pixel_data[str(event.request.AffectedSOPInstanceUID)] = bytes(event.dataset.PixelData)
        return status


def series_of(count: int, **same: str) -> list[Dataset]:
    from pydicom.uid import generate_uid

    from tests.instances import wsi_dataset

    uids = {"study_instance_uid": str(generate_uid()), "series_instance_uid": str(generate_uid()), **same}
    return [wsi_dataset(**uids, seed=number, instance_number=number + 1, frames=1) for number in range(count)]
