"""Whether the service lives, whether it can take work, and what it counted."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dicomsvc.errors import DicomsvcError
from dicomsvc.service.heartbeat import living_processes
from dicomsvc.store import Store
from dicomsvc.web.backlog import backlog_metrics
from dicomsvc.web.gate import Traffic


def health_routes(store: Store, traffic: Traffic) -> list[Route]:
    """Return ``/healthz``, ``/readyz`` and ``/metrics``."""
    registry = CollectorRegistry()
    registry.register(_Collector(store, traffic))

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        checks = await run_in_threadpool(readiness, store)
        ready = all(check["ok"] for check in checks.values())
        return JSONResponse({"ready": ready, "checks": checks}, status_code=200 if ready else 503)

    async def metrics(request: Request) -> Response:
        text = await run_in_threadpool(generate_latest, registry)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


def readiness(store: Store) -> dict[str, dict[str, Any]]:
    """Return each check by name: ``ok``, and what to do when it is not."""
    checks: dict[str, dict[str, Any]] = {}
    try:
        store.ping()
        checks["database"] = {"ok": True}
    except DicomsvcError as error:
        checks["database"] = {"ok": False, "message": error.message}
    if checks["database"]["ok"]:
        checks["model_server"] = model_server(store)
    free_mb = store.free_bytes() >> 20
    reserve_mb = store.settings.store.disk_reserve_mb
    checks["disk"] = {"ok": free_mb >= reserve_mb, "free_mb": free_mb, "reserve_mb": reserve_mb}
    if free_mb < reserve_mb:
        checks["disk"]["message"] = "free space or enlarge the store's disk; nothing is taken in until then"
    return checks


def model_server(store: Store) -> dict[str, Any]:
    """Return how the model server stands. It is never a reason not to be ready: work items wait for it."""
    if store.settings.triton.in_process:
        return {"ok": True, "state": "models run in the worker"}
    try:
        keepers = [process for process in living_processes(store.engine) if process.role == "triton"]
    except DicomsvcError as error:
        return {"ok": True, "state": "unknown", "message": error.message}
    running = [process for process in keepers if process.counters.get("triton_up")]
    if running:
        return {"ok": True, "state": "running"}
    return {
        "ok": True,
        "state": "down",
        "message": "; ".join(keeper.address for keeper in keepers) or "no role runs it",
    }


class _Collector:
    """Gathers, at each scrape, this process's traffic and what the others said in their heartbeats."""

    def __init__(self, store: Store, traffic: Traffic) -> None:
        self._store = store
        self._traffic = traffic

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        answers = CounterMetricFamily(
            "dicomsvc_http_answers", "Answers by group and status", labels=["group", "status"]
        )
        for (group, status), count in list(self._traffic.answers.items()):
            answers.add_metric([group, str(status)], count)
        yield answers
        seconds = CounterMetricFamily("dicomsvc_http_seconds", "Time spent answering", labels=["group"])
        for group, spent in list(self._traffic.seconds.items()):
            seconds.add_metric([group], spent)
        yield seconds
        free = GaugeMetricFamily("dicomsvc_store_free_bytes", "Space left on the store's file system")
        free.add_metric([], self._store.free_bytes())
        yield free
        yield from backlog_metrics(self._store)
        yield from self._of_processes()

    def _of_processes(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("dicomsvc_process_up", "Living processes", labels=["role", "host", "pid"])
        memory = GaugeMetricFamily(
            "dicomsvc_process_resident_bytes", "Memory of a process", labels=["role", "host", "pid"]
        )
        counted = GaugeMetricFamily(
            "dicomsvc_process_count", "What a process counted since its start", labels=["role", "host", "pid", "name"]
        )
        try:
            processes = living_processes(self._store.engine)
        except DicomsvcError:
            processes = []
        for process in processes:
            labels = [process.role, process.host, str(process.pid)]
            up.add_metric(labels, 1)
            memory.add_metric(labels, process.resident_bytes)
            for name, value in process.counters.items():
                counted.add_metric([*labels, name], value)
        yield from (up, memory, counted)
