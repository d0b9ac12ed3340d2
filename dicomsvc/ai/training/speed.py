"""What a model costs: time on one core, size of its weights."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dicomsvc.ai.catalogue.manifest import Manifest

_SIDE: Final = 256
_RUNS: Final = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """``tile_ms`` is processor time for 256 x 256 pixels of ``mpp`` micrometres, the network alone, on one core."""

    mpp: float
    tile_ms: float
    weights_mb: float


def cost(folder: Path, manifest: Manifest) -> Cost:
    """Measure the fastest of a few runs of ONNX Runtime with one thread.

    Processor time, not the clock: other work on the machine must not count.
    """
    import onnxruntime

    file = folder / str(manifest.number) / "model.onnx"
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    spec = manifest.input
    shape = (spec.tile_size, spec.tile_size, len(spec.channels))
    if spec.layout == "NCHW":
        shape = (shape[2], *shape[:2])
    pixels = np.random.default_rng(0).integers(60, 256, (1, *shape), dtype=np.uint8)
    feed: dict[str, Any] = {spec.tensor: pixels if spec.datatype == "UINT8" else pixels.astype(np.float32) / 255}
    if spec.statistics:
        feed[spec.statistics_tensor] = np.full((1, len(spec.statistics)), 0.5, np.float32)
    taken = []
    for _ in range(_RUNS + 1):
        started = time.process_time()
        session.run(None, feed)
        taken.append(time.process_time() - started)
    share = (_SIDE / spec.tile_size) ** 2
    return Cost(spec.mpp, 1e3 * min(taken[1:]) * share, file.stat().st_size / 1e6)
