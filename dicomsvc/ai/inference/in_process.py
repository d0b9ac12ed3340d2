"""Models in this process, by ONNX Runtime: for platforms without Triton, and chosen by a setting only."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dicomsvc.ai.inference.backend import Tensor
from dicomsvc.ai.inference.promises import check_answer
from dicomsvc.errors import ConfigurationError, ModelFailure

_ONNX_TO_TRITON: Mapping[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}


class InProcessBackend:
    """Runs ``<repository>/<model>/<number>/model.onnx``.

    Raises
    ------
    ConfigurationError
        When ONNX Runtime is not installed.
    """

    def __init__(self, repository: Path, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigurationError(
                "triton.in_process is set, but ONNX Runtime is not installed: `pip install 'dicomsvc[inprocess]'`"
            ) from error
        self._runtime: Any = onnxruntime
        self._repository = repository
        self._threads = threads
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, int], Any] = {}

    @property
    def description(self) -> str:
        return f"ONNX Runtime {self._runtime.__version__} in process"

    def infer(self, model: str, number: int, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        """Run one batch; see `Backend.infer`."""
        what = f"model {model}:{number}"
        session = self._session(model, number)
        promised = {output.name: _ONNX_TO_TRITON.get(output.type, output.type) for output in session.get_outputs()}
        try:
            values = session.run(list(outputs), dict(inputs))
        except Exception as error:
            raise ModelFailure(f"{what}: {type(error).__name__}: {str(error)[:300]}") from error
        return check_answer(what, inputs, dict(zip(outputs, values, strict=True)), promised)

    def load(self, model: str) -> None:
        """Open the newest version of the model."""
        folder = self._repository / model
        numbers = [int(each.name) for each in folder.iterdir() if each.name.isdecimal()] if folder.is_dir() else []
        if not numbers:
            raise ModelFailure(f"model {model}: there is none in {self._repository}")
        self._session(model, max(numbers))

    def close(self) -> None:
        with self._lock:
            self._sessions.clear()

    def _session(self, model: str, number: int) -> Any:
        with self._lock:
            if (model, number) not in self._sessions:
                file = self._repository / model / str(number) / "model.onnx"
                if not file.is_file():
                    raise ModelFailure(f"model {model}:{number}: there is none in {self._repository}")
                self._sessions[model, number] = self._open(model, file)
            return self._sessions[model, number]

    def _open(self, model: str, file: Path) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            return self._runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelFailure(f"model {model}: {type(error).__name__}: {str(error)[:300]}") from error
