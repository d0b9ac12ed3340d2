"""The service's processes: they start, die and stop as they should."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from dicomsvc.auth import hash_token
from tests.conftest import RunningService, start_service


def role_process(service: RunningService, role: str) -> psutil.Process:
    [process] = [child for child in psutil.Process(service.process.pid).children() if child.cmdline()[-1:] == [role]]
    return process


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def own_service(folder: Path) -> Iterator[RunningService]:
    running = start_service(folder / "data")
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(40)


def test_a_role_that_is_killed_starts_again_on_its_port(own_service: RunningService) -> None:
    role_process(own_service, "web").send_signal(signal.SIGKILL)
    assert wait_for(lambda: not answers(f"{own_service.url}/healthz"), 5)
    assert wait_for(lambda: answers(f"{own_service.url}/readyz"), 20)


def test_the_roles_of_a_supervisor_that_is_killed_leave(own_service: RunningService) -> None:
    roles = psutil.Process(own_service.process.pid).children()
    own_service.process.kill()
    own_service.process.wait()
    _, alive = psutil.wait_procs(roles, timeout=10)
    assert [process for process in alive if process.name() != "postgres"] == []
    again = start_service(own_service.data)
    assert answers(f"{again.url}/readyz")
    again.process.terminate()
    assert again.process.wait(40) == 0


def test_a_stop_is_clean(own_service: RunningService) -> None:
    family = psutil.Process(own_service.process.pid).children(recursive=True)
    own_service.process.terminate()
    assert own_service.process.wait(40) == 0
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert "Traceback" not in own_service.log.read_text()


def test_with_tokens_nobody_gets_in_without_one(folder: Path) -> None:
    service = start_service(
        folder / "data", environment={"DICOMSVC_AUTH__TOKENS": json.dumps({"ana": hash_token("secret")})}
    )
    try:
        for path in (
            "/dicomweb/studies",
            "/api/jobs",
            "/metrics",
            "/",
            "/docs",
            "/dicomweb/studies/1/series/2/instances/3/frames/1",
        ):
            assert httpx.get(f"{service.url}{path}").status_code == 401, path
        assert httpx.get(f"{service.url}/readyz").status_code == 200
        headers = {"Authorization": "Bearer secret"}
        assert httpx.get(f"{service.url}/dicomweb/studies", headers=headers).status_code in {200, 204}
    finally:
        service.process.terminate()
        service.process.wait(40)


def test_the_service_does_not_start_in_the_open(folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "dicomsvc", "serve", "--data", str(folder / "data"), "--http", "0.0.0.0:0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "dicomsvc token" in ended.stderr
    assert not (folder / "data").exists()


def test_a_port_that_is_taken_is_said(own_service: RunningService, folder: Path) -> None:
    taken = own_service.url.removeprefix("http://")
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "dicomsvc",
            "serve",
            "--data",
            str(folder / "other"),
            "--http",
            taken,
            "--dimse",
            "127.0.0.1:0",
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 1
    assert "cannot be bound" in ended.stderr


def test_the_pages_come_from_this_machine_alone(own_service: RunningService) -> None:
    for page in ("/", "/docs"):
        text = httpx.get(f"{own_service.url}{page}").text
        assert "<script" in text
        assert "https://" not in text
    description = httpx.get(f"{own_service.url}/openapi.json").json()
    assert "/api/jobs" in description["paths"]
    for asset in ("/pages/slides.js", "/pages/slides.css", "/swagger/swagger-ui-bundle.js"):
        assert answers(f"{own_service.url}{asset}"), asset
