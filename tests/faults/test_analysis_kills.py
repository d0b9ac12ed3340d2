"""Kill what an analysis needs while it runs: it ends with its results stored once, and never shows a part of them."""

import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import CMU_SMALL_REGION, RunningService, import_slide, start_service

ROUNDS = int(os.environ.get("DICOMSVC_KILL_ROUNDS", "6")) // 6
OBJECTS = {"ANN": 1, "SEG": 5, "SR": 1}
_END_SECONDS = 180
Victim = Callable[[RunningService], list[psutil.Process]]


def family(service: RunningService) -> list[psutil.Process]:
    return psutil.Process(service.process.pid).children(recursive=True)


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def triton(service: RunningService) -> list[psutil.Process]:
    return [each for each in psutil.process_iter() if "tritonserver" in command(each).split(" ")[0]]


def triton_model(service: RunningService) -> list[psutil.Process]:
    return [each for each in psutil.process_iter() if "triton_python_backend_stub" in command(each)]


def worker(service: RunningService) -> list[psutil.Process]:
    return [each for each in family(service) if command(each).endswith("role_process worker")]


def worker_child(service: RunningService) -> list[psutil.Process]:
    return [child for each in worker(service) for child in each.children() if "spawn_main" in command(child)]


def postgres(service: RunningService) -> list[psutil.Process]:
    [pid_file] = service.data.glob("postgres*/postmaster.pid")
    return [psutil.Process(int(pid_file.read_text().splitlines()[0]))]


@pytest.fixture(scope="module")
def slide() -> Iterator[tuple[RunningService, str]]:
    with tempfile.TemporaryDirectory(prefix="dicomsvc-kill-") as name:
        Path(name).chmod(0o755)
        service = start_service(Path(name) / "data", models=True)
        study, _series = import_slide(service, CMU_SMALL_REGION)
        yield service, study
        service.process.terminate()
        service.process.wait(60)


class Watch(threading.Thread):
    """Looks what of the results of a study can be seen, all the time."""

    def __init__(self, service: RunningService, study: str) -> None:
        super().__init__(daemon=True)
        self._url = f"{service.dicomweb}/studies/{study}/instances"
        self.over = threading.Event()
        self.seen: set[tuple[tuple[str, int], ...]] = set()
        self.start()

    def run(self) -> None:
        while not self.over.wait(0.1):
            try:
                answer = httpx.get(self._url, params={"includefield": "00080060", "limit": 1000}, timeout=10)
            except httpx.HTTPError:
                continue
            if answer.status_code == 200:
                found = [row["00080060"]["Value"][0] for row in answer.json()]
                self.seen.add(tuple((name, found.count(name)) for name in sorted(OBJECTS)))


def patiently(call: Callable[[], httpx.Response]) -> httpx.Response:
    """Ask until the service, which may be without its database for a moment, answers."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        try:
            answer = call()
            if answer.status_code < 500:
                return answer
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, "the service does not answer"
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "victim", [triton, triton_model, worker_child, worker, postgres], ids=lambda each: each.__name__
)
def test_an_analysis_survives_the_end_of(victim: Victim, slide: tuple[RunningService, str]) -> None:
    chance = random.Random(f"{victim.__name__} 20261121")
    for _ in range(max(1, ROUNDS)):
        kill_once(*slide, victim, chance.uniform(0, 25))


def kill_once(service: RunningService, study: str, victim: Victim, after_tiles: float) -> None:
    before = count(service, study)
    watch = Watch(service, study)
    deadline = time.monotonic() + _END_SECONDS
    url = start_analysis(service, study)
    while patiently(lambda: httpx.get(url)).json()["progress"]["done"] <= after_tiles:
        assert time.monotonic() < deadline, "the analysis does not get on"
        time.sleep(0.05)
    victims = victim(service)
    assert victims, "there is nothing to kill"
    for process in victims:
        process.send_signal(signal.SIGKILL)
    while (ended := patiently(lambda: httpx.get(url)).json())["state"] not in ("COMPLETED", "CANCELED"):
        assert time.monotonic() < deadline, f"the analysis did not end: {ended}"
        time.sleep(0.2)
    assert ended["state"] == "COMPLETED", ended
    assert len(ended["outputs"]["instances"]) == sum(OBJECTS.values())
    time.sleep(0.5)
    watch.over.set()
    watch.join()
    after = {name: before[name] + more for name, more in OBJECTS.items()}
    assert count(service, study) == after
    assert watch.seen <= {tuple(sorted(before.items())), tuple(sorted(after.items()))}, "a part could be seen"


def start_analysis(service: RunningService, study: str) -> str:
    """Ask for an analysis, once however often the service must be asked, and return its URL."""
    order = {"study_instance_uid": study, "model": "nuclei"}
    headers = {"Idempotency-Key": str(time.monotonic_ns())}
    answer = patiently(lambda: httpx.post(f"{service.url}/api/analyses", json=order, headers=headers))
    return f"{service.url}{answer.json()['url']}"


def count(service: RunningService, study: str) -> dict[str, int]:
    url = f"{service.dicomweb}/studies/{study}/instances"
    rows = patiently(lambda: httpx.get(url, params={"includefield": "00080060", "limit": 1000})).json()
    found = [row["00080060"]["Value"][0] for row in rows]
    return {name: found.count(name) for name in OBJECTS}
