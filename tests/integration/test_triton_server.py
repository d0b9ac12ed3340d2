"""The own Triton server, real: it answers as ONNX Runtime does, keeps to itself, and comes back whatever dies."""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.inference import InProcessBackend, TritonBackend, open_backend, staged_repository
from dicomsvc.ai.inference.endpoint import Endpoint, endpoint_file, find_endpoint
from dicomsvc.ai.triton.lock import find_keeper
from dicomsvc.ai.triton.runtime import find_runtime
from dicomsvc.ai.triton.server import shared_memory_prefix
from dicomsvc.config import Settings, TritonSettings
from dicomsvc.errors import ConfigurationError, ModelFailure, ServerUnavailable

MODELS = Path(__file__).parents[2] / "triton_models"


@dataclass(frozen=True)
class Running:
    """A data folder with a model server; the server's process is looked up anew each time."""

    settings: Settings
    backend: TritonBackend

    @property
    def endpoint(self) -> Endpoint:
        return find_endpoint(self.settings.triton, self.settings.data)

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.endpoint.pid)

    def stubs(self, model: str) -> list[psutil.Process]:
        children = self.process.children(recursive=True)
        alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
        return [child for child in alive if f"/{model}/1/model.py" in child.cmdline()[1]]


def command(data: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dicomsvc", "triton", *words, "--data", str(data), "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "DICOMSVC_TRITON__INSTANCES": "1"},
        check=False,
    )


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    try:
        find_runtime(TritonSettings())
    except ConfigurationError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="dicomsvc-triton-") as name:
        settings = Settings(data=Path(name))
        started = command(settings.data, "up")
        assert started.returncode == 0, started.stdout + started.stderr
        backend = open_backend(settings)
        assert isinstance(backend, TritonBackend)
        yield Running(settings, backend)
        backend.close()
        command(settings.data, "down")


def slide_tiles(count: int, size: int = 512) -> Any:
    generator = np.random.default_rng(7)
    return generator.integers(0, 256, (count, size, size, 3), np.uint8)


def infer(backend: Any, tiles: Any) -> Any:
    return backend.infer("tissue", 1, {"IMAGE": tiles}, ["TISSUE"])["TISSUE"]


def until_it_answers(backend: TritonBackend, seconds: float = 30) -> list[type[Exception]]:
    """Call until four calls in a row succeed, and return what the others raised."""
    raised: list[type[Exception]] = []
    good = 0
    deadline = time.monotonic() + seconds
    while good < 4:
        assert time.monotonic() < deadline, raised
        try:
            infer(backend, slide_tiles(1))
            good += 1
        except Exception as error:
            raised.append(type(error))
            good = 0
            time.sleep(0.1)
    return raised


def shared_memory(data: Path) -> list[str]:
    return sorted(file.name for file in Path("/dev/shm").glob(f"{shared_memory_prefix(data)}*"))


def test_it_gives_what_onnx_runtime_gives_in_process(running: Running) -> None:
    in_process = InProcessBackend(staged_repository(running.settings.data))
    tiles = slide_tiles(3)
    assert np.array_equal(infer(running.backend, tiles), infer(in_process, tiles))
    assert running.backend.description == "Triton 2.51.0"
    assert in_process.description.endswith("in process")


def test_the_nuclei_network_answers_alike_every_time_and_everywhere(running: Running) -> None:
    """PyTorch against ONNX Runtime is checked at each export, with the same tolerance: 1 of 255."""
    repository = staged_repository(running.settings.data)
    spec = read_manifest(MODELS / "nuclei")[-1]
    tiles = slide_tiles(2, spec.input.tile_size // 8).repeat(8, axis=1).repeat(8, axis=2)
    outputs = list(spec.output.tensors.values())
    in_process = InProcessBackend(repository)
    one, again, other = (
        backend.infer("nuclei", spec.number, {"IMAGE": tiles}, outputs)
        for backend in (running.backend, running.backend, in_process)
    )
    for name in outputs:
        assert np.array_equal(one[name], again[name])
        assert np.abs(one[name].astype(int) - other[name].astype(int)).max() <= 1


def test_batches_larger_than_grpcs_usual_message_go_through(running: Running) -> None:
    assert infer(running.backend, slide_tiles(16)).shape == (16, 512, 512, 1)


def test_what_a_model_refuses_is_its_failure(running: Running) -> None:
    for model, number, inputs, outputs in (
        ("tissue", 1, {"IMAGE": np.zeros((1, 512, 512, 2), np.uint8)}, ["TISSUE"]),
        ("tissue", 1, {"IMAGE": np.zeros((1, 512, 512, 3), np.float32)}, ["TISSUE"]),
        ("tissue", 1, {"IMAGE": np.zeros((1, 512, 512, 3), np.uint8)}, ["NUCLEI"]),
        ("tissue", 99, {"IMAGE": np.zeros((1, 512, 512, 3), np.uint8)}, ["TISSUE"]),
        ("no-such-model", 1, {"IMAGE": np.zeros((1, 512, 512, 3), np.uint8)}, ["TISSUE"]),
    ):
        with pytest.raises(ModelFailure, match=model):
            running.backend.infer(model, number, inputs, outputs)


def test_nobody_else_can_reach_it(running: Running) -> None:
    family = [running.process, *running.process.children(recursive=True)]
    listening = [
        connection
        for process in family
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == []
    socket = Path(running.endpoint.address.removeprefix("unix:"))
    assert socket.is_socket()
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(endpoint_file(running.settings.data).stat().st_mode) == 0o600
    told = [name for name in running.process.environ() if name.startswith("DICOMSVC")]
    assert told == ["DICOMSVC_MODEL_MEMORY_MB"], "settings, which may hold secrets, are passed on"


def test_what_changes_the_server_needs_the_secret(running: Running) -> None:
    client = tritonclient.grpc.InferenceServerClient(running.endpoint.address)
    for call in (
        lambda: client.unload_model("tissue"),
        lambda: client.load_model("tissue"),
        lambda: client.register_system_shared_memory("any", "/any", 8),
        lambda: client.update_log_settings({"log_verbose_level": 1}),
        lambda: client.update_trace_settings(settings={"trace_file": "/tmp/any"}),
    ):
        with pytest.raises(InferenceServerException, match="restricted"):
            call()
    headers = running.endpoint.headers
    assert {model.name for model in client.get_model_repository_index(headers=headers).models} >= {"tissue", "nuclei"}
    client.close()


def test_a_killed_process_of_a_model_is_replaced(running: Running) -> None:
    server = running.process
    [killed] = running.stubs("tissue")
    killed.kill()
    raised = until_it_answers(running.backend)
    assert set(raised) <= {ServerUnavailable} | set(ServerUnavailable.__subclasses__())
    assert raised
    assert running.process == server
    assert len(running.stubs("tissue")) == 1


def test_a_killed_server_comes_back_for_the_same_client(running: Running) -> None:
    before = running.endpoint
    left = shared_memory(running.settings.data)
    running.process.kill()
    raised = until_it_answers(running.backend)
    assert set(raised) <= {ServerUnavailable} | set(ServerUnavailable.__subclasses__())
    assert running.endpoint.address != before.address
    assert left
    assert not set(left) & set(shared_memory(running.settings.data))


def test_a_second_start_joins_the_first(running: Running) -> None:
    keeper = find_keeper(running.settings.data)
    # The test before let the server start anew: it may still be loading, which a second start says by its status.
    deadline = time.monotonic() + 60
    while (again := command(running.settings.data, "up")).returncode != 0:
        assert time.monotonic() < deadline, again.stdout
    document = json.loads(again.stdout)
    assert keeper is not None
    assert document["keeper_pid"] == keeper.pid
    assert document["models"] == {folder.name: "READY" for folder in MODELS.iterdir() if folder.is_dir()}


def test_the_server_dies_with_its_keeper(running: Running) -> None:
    server = running.process
    stubs = server.children(recursive=True)
    keeper = find_keeper(running.settings.data)
    assert keeper is not None
    os.kill(keeper.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs([server, *stubs], timeout=20)
    assert [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    assert command(running.settings.data, "status").returncode == 1
    with pytest.raises(ServerUnavailable):
        infer(running.backend, slide_tiles(1))


def test_a_stop_leaves_nothing(running: Running) -> None:
    assert command(running.settings.data, "up").returncode == 0
    until_it_answers(running.backend)
    server = running.process
    family = [server, *server.children(recursive=True)]
    assert shared_memory(running.settings.data)
    stopped = command(running.settings.data, "down")
    assert json.loads(stopped.stdout) == {"stopped": True}
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert shared_memory(running.settings.data) == []
    assert list((running.settings.data / "triton" / "run").iterdir()) == []
    with pytest.raises(ServerUnavailable, match="dicomsvc triton up"):
        infer(running.backend, slide_tiles(1))
