"""The file that Triton runs for each model: batches joined, faults kept to the request that has them.

Triton's own module, which exists only inside its process, is stood in for.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dicomsvc.ai.catalogue.runner import TEMPLATE


class Tensor:
    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value

    def as_numpy(self) -> Any:
        return self.value


class Response:
    def __init__(self, output_tensors: tuple[Tensor, ...] = (), error: str | None = None) -> None:
        self.outputs, self.error = {tensor.name: tensor.value for tensor in output_tensors}, error


def request(value: Any) -> dict[str, Tensor]:
    return {"X": Tensor("X", value)}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A model that sums pairs; it takes batches of 4."""
    module = ModuleType("triton_python_backend_utils")
    module.__dict__.update(
        Tensor=Tensor,
        InferenceResponse=Response,
        TritonError=str,
        TritonModelException=RuntimeError,
        get_input_tensor_by_name=lambda request, name: request[name],
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "X"], ["rows"], axis=0),
            helper.make_node("ReduceSum", ["rows", "axes"], ["Y"], keepdims=1),
        ],
        "sums",
        [helper.make_tensor_value_info("X", TensorProto.INT64, ["N", "K"])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", 1])],
        [
            helper.make_tensor("table", TensorProto.FLOAT, [3], [1, 10, 100]),
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, tmp_path / "model.onnx")
    (tmp_path / "model.py").write_bytes(TEMPLATE.read_bytes())
    spec = util.spec_from_file_location("served_model", tmp_path / "model.py")
    assert spec is not None and spec.loader is not None
    loaded = util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    yield loaded.TritonPythonModel


def initialised(model: Any, kind: str = "CPU") -> Any:
    instance = model()
    config = {"input": [{"name": "X"}], "output": [{"name": "Y"}], "max_batch_size": 4}
    instance.initialize(
        {"model_config": json.dumps(config), "model_instance_kind": kind, "model_instance_device_id": "0"}
    )
    return instance


def test_requests_that_triton_gathered_are_answered_one_by_one(model: Any) -> None:
    instance = initialised(model)
    runs = []
    session = instance.session
    instance.session = SimpleNamespace(
        run=lambda names, feed: (runs.append(len(feed["X"])), session.run(names, feed))[1]
    )
    requests = [request(np.array(rows)) for rows in ([[0, 1]], [[1, 2], [0, 0]], [[2, 2]], [[0, 1, 2]], [[1, 1]])]
    answers = instance.execute(requests)
    sums = [answer.outputs["Y"].ravel().tolist() for answer in answers]
    assert sums == [[11], [110, 2], [200], [111], [20]]
    assert runs == [4, 1, 1]


def test_a_request_that_fails_fails_alone(model: Any) -> None:
    answers = initialised(model).execute([request(np.array([rows])) for rows in ([0, 1], [0, 99], [1, 2])])
    assert [answer.error is None for answer in answers] == [True, False, True]
    assert answers[2].outputs["Y"].tolist() == [[110]]


def test_a_gpu_that_is_asked_for_and_missing_is_an_error(model: Any) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(RuntimeError, match="KIND_GPU"):
        initialised(model, kind="GPU")


def test_a_model_that_asks_for_more_memory_than_it_may_have_fails_instead_of_the_machine() -> None:
    code = (
        f"import sys; sys.modules['triton_python_backend_utils'] = sys; sys.path.insert(0, {str(TEMPLATE.parent)!r})\n"
    )
    code += "import model_template, numpy; model_template.limit_memory(); numpy.ones(1 << 30)"
    environment = {**os.environ, "DICOMSVC_MODEL_MEMORY_MB": "2000"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert b"Unable to allocate 8.00 GiB" in ended.stderr
