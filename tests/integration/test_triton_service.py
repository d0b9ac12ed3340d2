"""The model server as a part of the service: it is kept running, and the service runs without it."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from dicomsvc.ai.inference.endpoint import read_endpoint
from dicomsvc.ai.triton.runtime import find_runtime
from dicomsvc.config import TritonSettings
from dicomsvc.errors import ConfigurationError
from tests.conftest import RunningService, start_service
from tests.waiting import eventually

MODELS = len(list((Path(__file__).parents[2] / "triton_models").glob("*/model.toml")))


@pytest.fixture(scope="module")
def kept() -> Iterator[RunningService]:
    try:
        find_runtime(TritonSettings())
    except ConfigurationError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="dicomsvc-") as name:
        Path(name).chmod(0o755)
        running = start_service(Path(name) / "data", models=True, environment={"DICOMSVC_TRITON__INSTANCES": "1"})
        yield running
        running.process.terminate()
        running.process.wait(40)


def triton_role(service: RunningService) -> dict[str, Any]:
    processes = httpx.get(f"{service.url}/api/status", timeout=10).json()["processes"]
    found: dict[str, Any] = next((process for process in processes if process["role"] == "triton"), {})
    return found


def counted(service: RunningService, name: str) -> float:
    value: float = triton_role(service).get("counters", {}).get(name, 0)
    return value


def test_the_service_keeps_a_model_server_and_says_how_it_is(kept: RunningService) -> None:
    assert eventually(lambda: counted(kept, "triton_models_ready") == MODELS, 60)
    assert triton_role(kept)["address"].startswith("Triton ")
    assert httpx.get(f"{kept.url}/readyz").json()["checks"]["model_server"] == {"ok": True, "state": "running"}
    assert 'name="triton_up"' in httpx.get(f"{kept.url}/metrics").text


def test_a_killed_model_server_starts_again(kept: RunningService) -> None:
    endpoint = read_endpoint(kept.data)
    assert endpoint is not None
    os.kill(endpoint.pid, signal.SIGKILL)
    assert eventually(
        lambda: counted(kept, "triton_restarts") == 1 and counted(kept, "triton_models_ready") == MODELS, 60
    )


def test_a_killed_keeper_takes_its_server_along_and_starts_again(kept: RunningService) -> None:
    before = read_endpoint(kept.data)
    assert before is not None
    server = psutil.Process(before.pid)
    server.parent().kill()
    assert eventually(lambda: not server.is_running(), 60)
    assert eventually(lambda: (read_endpoint(kept.data) or before) != before, 60)
    assert httpx.get(f"{kept.url}/readyz").status_code == 200


def test_without_a_runtime_the_service_runs_and_says_what_to_do(folder: Path) -> None:
    service = start_service(
        folder / "data", models=True, environment={"DICOMSVC_TRITON__RUNTIME": str(folder / "none")}
    )
    try:
        ready = httpx.get(f"{service.url}/readyz")
        assert ready.status_code == 200
        model_server = ready.json()["checks"]["model_server"]
        assert model_server["state"] == "down"
        assert "dicomsvc triton install" in model_server["message"]
        assert "dicomsvc triton install" in service.log.read_text()
    finally:
        service.process.terminate()
        assert service.process.wait(40) == 0
