"""What the process of each role does."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from dicomsvc.audit import serving
from dicomsvc.config import Settings
from dicomsvc.errors import ConfigurationError, DicomsvcError
from dicomsvc.service.child import stop_event
from dicomsvc.service.heartbeat import Heartbeat
from dicomsvc.store import Store

_log = logging.getLogger(__name__)
_SWEEP_SECONDS = 300
_SETTLE_SECONDS = 2
_BIND_SECONDS = 10


def run_web(store: Store, on_ready: Callable[[str], None]) -> None:
    """Serve HTTP until told to stop."""
    from dicomsvc.web import build_app, serve_http
    from dicomsvc.web.gate import Traffic

    traffic = Traffic()
    app = build_app(store, traffic)
    beats: list[Heartbeat] = []

    def ready(address: str) -> None:
        beats.append(Heartbeat(store.engine, "web", address))
        beats[0].start()
        on_ready(address)

    serve_http(app, store.settings.http, ready)
    for beat in beats:
        beat.stop()


def run_dimse(store: Store, on_ready: Callable[[str], None]) -> None:
    """Serve DIMSE until told to stop."""
    from dicomsvc.dimse import DimseServer
    from dicomsvc.pacs.commitment import CommitmentUpkeep
    from dicomsvc.service.dimse import SERVICES

    stop = stop_event()
    server = DimseServer(store.settings.dimse, SERVICES, store)
    _start_when_port_is_free(server.start, "--dimse")
    host = store.settings.dimse.bind.rpartition(":")[0]
    address = f"{store.settings.dimse.ae_title}@{host}:{server.port}"
    beat = Heartbeat(store.engine, "dimse", address, server.counters)
    upkeep = CommitmentUpkeep(store)
    beat.start()
    upkeep.start()
    on_ready(address)
    stop.wait()
    server.stop(grace_seconds=20)
    upkeep.stop()
    beat.stop()


def _start_when_port_is_free(start: Callable[[], None], option: str) -> None:
    deadline = time.monotonic() + _BIND_SECONDS
    while True:
        try:
            start()
        except OSError as error:
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"the port cannot be bound ({error.strerror}); another program has it, or choose with {option}"
                ) from error
            time.sleep(0.2)
        else:
            return


def run_worker(store: Store, on_ready: Callable[[str], None]) -> None:
    """Run work items, route what arrives, read stored files again, look after folders, until told to stop."""
    from dicomsvc.audit.upkeep import AuditUpkeep
    from dicomsvc.ingest.upkeep import Upkeep
    from dicomsvc.jobs import Worker
    from dicomsvc.pacs.worklist.arrivals import ArrivalUpkeep
    from dicomsvc.reports.intake.upkeep import ReportUpkeep
    from dicomsvc.service.handlers import HANDLERS
    from dicomsvc.service.routing import Routing
    from dicomsvc.store.scheduled_verification import ScheduledVerification

    worker, routing = Worker(store.settings, store.engine, HANDLERS), Routing(store)
    trail = AuditUpkeep(store.engine, store.settings)
    verification = ScheduledVerification(store.layout, store.engine, store.settings.store)

    def counters() -> Mapping[str, float]:
        return {**routing.counters(worker.counters()), **trail.counters(), **verification.counters()}

    beat = Heartbeat(store.engine, "worker", worker.name, counters)
    upkeep, report_upkeep, arrivals = Upkeep(store), ReportUpkeep(store), ArrivalUpkeep(store)
    beat.start()
    upkeep.start()
    report_upkeep.start()
    arrivals.start()
    trail.start()
    routing.start()
    verification.start()
    worker.run(on_ready=lambda: on_ready(worker.name))
    verification.stop()
    routing.stop()
    arrivals.stop()
    report_upkeep.stop()
    upkeep.stop()
    trail.stop()
    beat.stop()


def run_triton(store: Store, on_ready: Callable[[str], None]) -> None:
    """Keep the own model server running, or watch the models on a configured one, until told to stop."""
    from dicomsvc.ai.catalogue.repository import Catalogue
    from dicomsvc.ai.triton.keeper import Keeper
    from dicomsvc.ai.triton.remote import RemoteWatch

    stop = stop_event()
    models = Catalogue(store.settings)
    own = store.settings.triton.url is None
    keeper = Keeper(store.settings, models, "dicomsvc serve") if own else RemoteWatch(store.settings, models)
    beat = Heartbeat(store.engine, "triton", keeper.status.describe, keeper.status.counters)
    beat.start()

    def ready() -> None:
        beat.beat_now()
        on_ready(keeper.status.describe())

    keeper.run(stop, ready)
    beat.stop()


def run_hl7(store: Store, on_ready: Callable[[str], None]) -> None:
    """Take HL7 messages over MLLP until told to stop."""
    from dicomsvc.service.hl7 import Hl7Service

    stop = stop_event()
    service = Hl7Service(store)
    _start_when_port_is_free(service.start, "--mllp")
    beat = Heartbeat(store.engine, "hl7", service.address, service.counters)
    beat.start()
    on_ready(service.address)
    stop.wait()
    service.stop()
    beat.stop()


ROLES: dict[str, Callable[[Store, Callable[[str], None]], None]] = {
    "web": run_web,
    "dimse": run_dimse,
    "worker": run_worker,
    "triton": run_triton,
    "hl7": run_hl7,
}


def run_role(role: str, settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Run one role in this process until SIGTERM or SIGINT; ``settings.database.url`` must be set."""
    from dicomsvc.ai.analysis.checkpoint import sweep_checkpoints

    def sweep_all(store: Store) -> None:
        store.sweep()
        if role == "worker":
            sweep_checkpoints(store.layout, store.engine)

    with Store(settings) as store, serving(store.engine, role, settings.dimse.ae_title if role == "dimse" else ""):
        threading.Thread(target=_now_and_then, args=(sweep_all, store), name="sweep", daemon=True).start()
        ROLES[role](store, on_ready)


def _now_and_then(sweep: Callable[[Store], None], store: Store) -> None:
    next_sweep = time.monotonic() + _SWEEP_SECONDS
    while True:
        time.sleep(_SETTLE_SECONDS)
        try:
            store.settle_doubtful()
            if time.monotonic() > next_sweep:
                next_sweep = time.monotonic() + _SWEEP_SECONDS
                sweep(store)
        except DicomsvcError as error:
            _log.warning("sweep: %s", error)
        except OSError as error:
            _log.warning("sweep: %s", error.strerror)
