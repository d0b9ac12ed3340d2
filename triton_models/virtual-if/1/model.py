"""Triton's Python backend: runs a model's ``model.onnx`` by ONNX Runtime. Each version folder has a copy of this file.

It needs numpy and onnxruntime alone. Of ``config.pbtxt`` it heeds: the names of input and output, which the ONNX graph
must have too; the instance group, where ``KIND_GPU`` means CUDA and nothing else; the parameter ``threads`` (1), the
cores that one instance uses at the same time. Where the server was started with DICOMSVC_MODEL_MEMORY_MB, an instance
that asks for more memory fails on that input, instead of bringing the machine to a stand.
"""

import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # comes with Triton


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the ONNX file that lies beside this one."""
        limit_memory()
        config = json.loads(args["model_config"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.batched = int(config.get("max_batch_size", 0)) > 0
        self.largest_batch = max(1, int(config.get("max_batch_size", 0)))
        threads = int(config.get("parameters", {}).get("threads", {}).get("string_value", "1"))
        on_gpu = args["model_instance_kind"] == "GPU"
        device = int(args["model_instance_device_id"]) if on_gpu else None
        self.session = open_session(Path(__file__).with_name("model.onnx"), threads, device)
        if on_gpu and self.session.get_providers()[0] != "CUDAExecutionProvider":
            raise pb_utils.TritonModelException(
                "the instance group is KIND_GPU, but ONNX Runtime finds no CUDA; install onnxruntime-gpu"
            )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; those that Triton gathered run as one batch."""
        feeds = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            for request in requests
        ]
        responses: list[Any] = []
        for group in self._groups(feeds):
            responses += self._answer(group)
        return responses

    def finalize(self) -> None:
        """Let the weights go."""
        del self.session

    def _groups(self, feeds: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """Join neighbours of the same shape up to the largest batch."""
        groups: list[list[dict[str, Any]]] = []
        size, shape = 0, None
        for feed in feeds:
            first = feed[self.inputs[0]]
            rows = len(first) if self.batched else self.largest_batch
            these = [feed[name].shape[1:] for name in self.inputs]
            if groups and these == shape and size + rows <= self.largest_batch:
                groups[-1].append(feed)
                size += rows
            else:
                groups.append([feed])
                size, shape = rows, these
        return groups

    def _answer(self, group: list[dict[str, Any]]) -> list[Any]:
        try:
            return self._run(group)
        except Exception as error:  # noqa: BLE001 - each request gets an answer, whatever the model does
            if len(group) > 1:
                return [response for feed in group for response in self._answer([feed])]
            failure = pb_utils.TritonError(f"{type(error).__name__}: {str(error)[:500]}")
            return [pb_utils.InferenceResponse(error=failure)]

    def _run(self, group: list[dict[str, Any]]) -> list[Any]:
        if len(group) == 1:
            answers = [self.session.run(self.outputs, group[0])]
        else:
            joined = {name: np.concatenate([feed[name] for feed in group]) for name in self.inputs}
            cuts = np.cumsum([len(feed[self.inputs[0]]) for feed in group])[:-1]
            parts = [np.split(output, cuts) for output in self.session.run(self.outputs, joined)]
            answers = [list(answer) for answer in zip(*parts, strict=True)]
        return [
            pb_utils.InferenceResponse(
                output_tensors=[
                    pb_utils.Tensor(name, np.ascontiguousarray(value))
                    for name, value in zip(self.outputs, answer, strict=True)
                ]
            )
            for answer in answers
        ]


def limit_memory() -> None:
    """Hold this process to what the server's keeper allows it."""
    megabytes = os.environ.get("DICOMSVC_MODEL_MEMORY_MB")
    if megabytes:
        resource.setrlimit(resource.RLIMIT_DATA, (int(megabytes) << 20, int(megabytes) << 20))


def open_session(path: Path, threads: int, device: int | None) -> Any:
    """Return an ONNX Runtime session on a GPU, or on the CPU (None).

    Its threads never spin: several instances share the cores.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    if device is not None:
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device}))
    return onnxruntime.InferenceSession(str(path), options, providers=providers)
