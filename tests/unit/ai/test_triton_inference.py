"""Calling models: what is a model's failure, what may be tried again, and which backend is taken."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from dicomsvc.ai.inference import InProcessBackend, TritonBackend, open_backend
from dicomsvc.ai.inference.deaths import DeathRecord
from dicomsvc.ai.inference.grpc import DeadModel, TooLate, UnknownModel, triton_errors
from dicomsvc.ai.inference.promises import check_answer
from dicomsvc.config import Settings, TritonSettings
from dicomsvc.errors import ConfigurationError, ModelFailure, ServerUnavailable


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one model: the logarithm of its input, which is no number below 0."""
    graph = helper.make_graph(
        [helper.make_node("Log", ["X"], ["Y"])],
        "logarithm",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    version = tmp_path / "logarithm" / "1"
    version.mkdir(parents=True)
    onnx.save(model, version / "model.onnx")
    return tmp_path


def settings(data: Path, **triton: Any) -> Settings:
    return Settings(data=data, triton=TritonSettings(**triton))


def test_a_model_in_process_answers(repository: Path) -> None:
    backend = InProcessBackend(repository)
    backend.load("logarithm")
    answer = backend.infer("logarithm", 1, {"X": np.array([[1, 4]], np.float32)}, ["Y"])
    assert np.allclose(answer["Y"], np.log([[1, 4]]))


def test_values_that_are_no_numbers_are_the_models_failure(repository: Path) -> None:
    backend = InProcessBackend(repository)
    for value in (-1, 0, np.nan):
        with pytest.raises(ModelFailure, match="no numbers"):
            backend.infer("logarithm", 1, {"X": np.array([[1, value]], np.float32)}, ["Y"])


@pytest.mark.parametrize(
    ("model", "number", "inputs", "outputs"),
    [
        ("logarithm", 1, {"X": np.ones((1, 3), np.float32)}, ["Y"]),
        ("logarithm", 1, {"X": np.ones((1, 2), np.uint8)}, ["Y"]),
        ("logarithm", 1, {"Z": np.ones((1, 2), np.float32)}, ["Y"]),
        ("logarithm", 1, {"X": np.ones((1, 2), np.float32)}, ["Z"]),
        ("logarithm", 2, {"X": np.ones((1, 2), np.float32)}, ["Y"]),
        ("sine", 1, {"X": np.ones((1, 2), np.float32)}, ["Y"]),
    ],
)
def test_what_a_model_in_process_refuses_is_its_failure(
    repository: Path, model: str, number: int, inputs: dict[str, Any], outputs: list[str]
) -> None:
    with pytest.raises(ModelFailure, match=model):
        InProcessBackend(repository).infer(model, number, inputs, outputs)


def test_a_file_that_is_no_model_is_the_models_failure(repository: Path) -> None:
    (repository / "logarithm" / "1" / "model.onnx").write_bytes(b"no model" * 100)
    with pytest.raises(ModelFailure, match="logarithm"):
        InProcessBackend(repository).load("logarithm")


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        (None, "did not give"),
        (np.zeros((2, 4), np.float64), "float64 instead of float32"),
        (np.zeros((3, 4), np.float32), "for a batch of 2"),
        (np.zeros((), np.float32), "for a batch of 2"),
        (np.full((2, 4), np.inf, np.float32), "no numbers"),
    ],
)
def test_an_answer_that_breaks_its_promise_is_the_models_failure(output: Any, problem: str) -> None:
    inputs = {"IMAGE": np.zeros((2, 8, 8, 3), np.uint8)}
    with pytest.raises(ModelFailure, match=problem):
        check_answer("model any:1", inputs, {"MASK": output}, {"MASK": "FP32"})


def test_an_answer_that_keeps_its_promise_is_given_on() -> None:
    value = np.zeros((2, 4), np.float32)
    checked = check_answer("model any:1", {"IMAGE": np.zeros((2, 8), np.uint8)}, {"MASK": value}, {"MASK": "FP32"})
    assert checked["MASK"] is value


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses", ServerUnavailable),
        ("UNAVAILABLE", "Request for unknown model: 'a' version 1 is not at ready state", ServerUnavailable),
        ("UNAVAILABLE", "This protocol is restricted, expecting header 'x'", ConfigurationError),
        ("INTERNAL", "Stub process 'a_0_0' is not healthy.", DeadModel),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", TooLate),
        ("NOT_FOUND", "Request for unknown model: 'a' is not found", UnknownModel),
        ("INVALID_ARGUMENT", "unexpected shape", ModelFailure),
        ("INTERNAL", "RuntimeError: out of range", ModelFailure),
        ("RESOURCE_EXHAUSTED", "message larger than max", ModelFailure),
    ],
)
def test_only_what_may_succeed_later_is_unavailable(status: str, message: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="model a") as raised, triton_errors("model a"):
        raise InferenceServerException(message, status=f"StatusCode.{status}")
    assert isinstance(raised.value, ServerUnavailable) == issubclass(kind, ServerUnavailable)


def test_an_input_that_kills_the_model_for_a_minute_is_deadly() -> None:
    now = [0.0]
    record = DeathRecord(lambda: now[0])
    deadly, other = ({"IMAGE": np.full((1, 4), value, np.uint8)} for value in (1, 2))
    seen = []
    for now[0] in (0.0, 20.0, 40.0, 59.0, 61.0):
        seen.append(record.is_deadly("any", deadly))
    assert seen == [False, False, False, False, True]
    assert not record.is_deadly("any", other)
    assert not record.is_deadly("another", deadly)
    record.forget("any", deadly)
    assert not record.is_deadly("any", deadly)


def test_many_deaths_at_once_are_no_inputs_fault() -> None:
    record = DeathRecord(lambda: 0.0)
    assert not any(record.is_deadly("any", {"IMAGE": np.zeros((1, 4), np.uint8)}) for _ in range(20))


def test_models_run_in_process_only_where_that_is_set(tmp_path: Path, repository: Path) -> None:
    assert isinstance(open_backend(settings(tmp_path)), TritonBackend)
    assert isinstance(open_backend(settings(tmp_path, url="triton:8001")), TritonBackend)
    chosen = open_backend(settings(tmp_path, in_process=True), repository)
    assert chosen.description.endswith("in process")


def test_without_a_server_it_is_said_what_to_start(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailable, match="dicomsvc triton up"):
        open_backend(settings(tmp_path)).infer("a", 1, {"X": np.zeros(1)}, ["Y"])
    assert open_backend(settings(tmp_path)).description == "Triton"
