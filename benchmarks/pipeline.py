"""A slide through models on Triton, beside the same ONNX file called in process on tiles that lie in memory.

The slide is the real one of ``tests/data``, several times side by side. Ours: tiles read from the stored slide,
resampled, sent to Triton, decoded, stitched, kept as a work item does. The peer: ONNX Runtime in as many threads as
there are cores, one session and thread each, tiles read beforehand, answers thrown away. Both see the same tiles in the
same batches, and as many copies of the model; they take turns. The bar is 0.85 of the peer's rate: the model is to be
what bounds the speed. Where other programs run, the ratio of processor times (the peer's over that of the worker and
Triton together) is the steadier figure.

``nuclei`` is the shipped network, ``nuclei-classical`` the shipped rule, which is cheap; ``unet`` has the size of a
small trained net (1.9 million random weights, tiles of 256 pixels; it finds nothing, so that decoding costs next to
nothing).

Run ``python -m benchmarks.pipeline [--copies N] [--rounds N] [--model nuclei|nuclei-classical|unet]``.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import onnxruntime
import openslide
import psutil
import tifffile
from onnx import TensorProto, helper, numpy_helper

from benchmarks.servers import system_load
from dicomsvc.ai.analysis.checkpoint import Checkpoint
from dicomsvc.ai.analysis.preparation import Preparation, prepare
from dicomsvc.ai.analysis.request import AnalysisRequest
from dicomsvc.ai.analysis.subject import open_subject
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.ai.decoding import decoder
from dicomsvc.ai.inference import Backend, open_backend
from dicomsvc.ai.loop import TileLoop, batch_size
from dicomsvc.ai.triton.lock import find_keeper
from dicomsvc.cli.context import with_migrated_database
from dicomsvc.cli.triton import server_for_command
from dicomsvc.config import Settings
from dicomsvc.dicom.uids import new_uid
from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide
from dicomsvc.store import Source, Store
from tests.integration import model_folders

REPOSITORY = Path(__file__).parents[1]
SLIDE = REPOSITORY / "tests" / "data" / "CMU-1-Small-Region.svs"
BAR = 0.85
CORES = psutil.cpu_count() or 1


def mosaic(folder: Path, copies: int) -> Path:
    """Write the slide ``copies`` x ``copies`` times side by side."""
    slide = openslide.OpenSlide(str(SLIDE))
    one = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    path = folder / "mosaic.tiff"
    tifffile.imwrite(path, np.tile(one, (copies, copies, 1)), tile=(256, 256), compression="jpeg", photometric="rgb")
    return path


def unet(folder: Path) -> Path:
    """Write a model folder with a U-Net of 1.9 million random weights: mask probability of a 256 px tile."""
    chance = np.random.default_rng(1)
    nodes: list[Any] = []

    def constant(name: str, values: np.ndarray) -> str:
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values, name)))
        return name

    def convolution(source: str, name: str, inward: int, outward: int) -> str:
        weights = chance.normal(0, (2 / (9 * inward)) ** 0.5, (outward, inward, 3, 3)).astype(np.float32)
        nodes.append(helper.make_node("Conv", [source, constant(f"{name}_w", weights)], [name], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [name], [f"{name}_r"]))
        return f"{name}_r"

    def block(source: str, name: str, inward: int, outward: int) -> str:
        return convolution(convolution(source, f"{name}a", inward, outward), f"{name}b", outward, outward)

    nodes.append(helper.make_node("Cast", ["IMAGE"], ["float"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Div", ["planes", constant("full", np.array(255, np.float32))], ["scaled"]))
    widths = [16, 32, 64, 128, 256]
    level, skips, inward = "scaled", [], 3
    for depth, width in enumerate(widths):
        level = block(level, f"down{depth}", inward, width)
        inward = width
        if depth < len(widths) - 1:
            skips.append(level)
            nodes.append(helper.make_node("MaxPool", [level], [f"pool{depth}"], kernel_shape=[2, 2], strides=[2, 2]))
            level = f"pool{depth}"
    scales = constant("scales", np.array([1, 1, 2, 2], np.float32))
    for depth in reversed(range(len(widths) - 1)):
        nodes.append(helper.make_node("Resize", [level, "", scales], [f"up{depth}"], mode="nearest"))
        nodes.append(helper.make_node("Concat", [f"up{depth}", skips[depth]], [f"joined{depth}"], axis=1))
        level = block(f"joined{depth}", f"rise{depth}", widths[depth + 1] + widths[depth], widths[depth])
    head = chance.normal(0, 0.2, (1, widths[0], 1, 1)).astype(np.float32)
    nodes.append(helper.make_node("Conv", [level, constant("head", head)], ["logits"]))
    nodes.append(helper.make_node("Sigmoid", ["logits"], ["probability"]))
    nodes.append(helper.make_node("Transpose", ["probability"], ["MASK"], perm=[0, 2, 3, 1]))
    output = ("mask", "MASK", TensorProto.FLOAT, [256, 256, 1])
    return model_folders.write_folder(folder, "instances", nodes, output, objects=["ANN", "SR"], mpp=0.5)


class Peer:
    """ONNX Runtime in this process, one session and thread a core."""

    def __init__(self, model: Path, inputs: list[dict[str, np.ndarray]]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions: Queue[Any] = Queue()
        for _ in range(CORES):
            session = onnxruntime.InferenceSession(str(model), options)
            session.run(None, inputs[0])
            self._sessions.put(session)
        self._inputs = inputs

    def run(self) -> None:
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(self._infer, self._inputs))

    def _infer(self, inputs: dict[str, np.ndarray]) -> None:
        session = self._sessions.get()
        session.run(None, inputs)
        self._sessions.put(session)


def model_inputs(preparation: Preparation) -> list[dict[str, np.ndarray]]:
    """Return the batches of a plan, read and prepared, as the loop makes them."""
    spec, source = preparation.manifest.input, preparation.source
    batches = []
    for chunk in preparation.plan.chunks:
        for at in range(0, len(chunk.tiles), batch_size(spec)):
            tiles = [source.prepare(source.read(tile.context)) for tile in chunk.tiles[at : at + batch_size(spec)]]
            inputs = {spec.tensor: np.stack(tiles)}
            if spec.statistics:
                inputs[spec.statistics_tensor] = np.array([source.statistics] * len(tiles), np.float32)
            batches.append(inputs)
    return batches


def look(preparation: Preparation, backend: Backend) -> int:
    """Run the loop over the whole plan, keep each chunk, and return how many things were seen."""
    manifest, seen = preparation.manifest, 0
    mpp = float(np.sqrt(np.prod(preparation.plane.mpp)))
    loop = TileLoop(manifest, backend, preparation.source, decoder(manifest, mpp=mpp), threads=2 * CORES)
    for findings in loop.findings(preparation.plan, preparation.plan.chunks):
        preparation.checkpoint.keep(findings)
        seen += len(findings.instances or ())
    return seen


def timed(do: Callable[[], Any], others: list[psutil.Process]) -> tuple[float, float, Any]:
    """Return seconds and processor seconds of this and some other processes, and what it returned."""

    def cpu() -> float:
        times = [each.cpu_times() for each in others]
        return time.process_time() + sum(each.user + each.system for each in times)

    before, start = cpu(), time.monotonic()
    result = do()
    return time.monotonic() - start, cpu() - before, result


def measure(store: Store, catalogue: Catalogue, uids: tuple[str, str], name: str, rounds: int) -> None:
    manifest = catalogue.find(name)
    keeper = psutil.Process(find_keeper(store.settings.data).pid)
    request = AnalysisRequest(study_instance_uid=uids[0], series_instance_uid=uids[1], model=name)

    def prepared() -> Preparation:
        # Anew for each turn: no frame is in the cache yet.
        return prepare(request, manifest, open_subject(store, *uids), Checkpoint(store.layout, new_uid()))

    inputs = model_inputs(prepared())
    tiles = sum(len(batch[manifest.input.tensor]) for batch in inputs)
    peer = Peer(catalogue.get(name).folder / str(manifest.number) / "model.onnx", inputs)
    peers, ours, seen = [], [], 0
    with closing(open_backend(store.settings)) as backend:
        backend.load(name)
        look(prepared(), backend)  # each copy of the model has seen a batch
        for _ in range(rounds):
            peers.append(timed(peer.run, [])[:2])
            preparation = prepared()
            *figures, seen = timed(lambda of=preparation: look(of, backend), keeper.children(recursive=True))
            ours.append(tuple(figures))
    print(f"{name}: {tiles} tiles of {manifest.input.tile_size} px, {seen} things, {rounds} turns each, medians")
    seconds, cpu = (statistics.median(each) for each in zip(*ours, strict=True))
    peer_seconds, peer_cpu = (statistics.median(each) for each in zip(*peers, strict=True))
    for what, wall, used in (("in memory", peer_seconds, peer_cpu), ("pipeline", seconds, cpu)):
        busy = used / wall / CORES
        print(
            f"  {what:10s} {tiles / wall:6.1f} tiles/s, {used / tiles * 1000:6.1f} ms of processor a tile, "
            f"{busy:.0%} of the cores"
        )
    print(f"  ratio {peer_seconds / seconds:.2f} in rate (bar {BAR}), {peer_cpu / cpu:.2f} in processor time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", choices=("nuclei", "nuclei-classical", "unet"), action="append")
    arguments = parser.parse_args()
    print(system_load())
    with tempfile.TemporaryDirectory(prefix="dicomsvc-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        settings = stack.enter_context(with_migrated_database(Settings(data=folder / "data")))
        store = stack.enter_context(Store(settings))
        catalogue = Catalogue(settings)
        catalogue.add(unet(folder / "unet"))
        stack.enter_context(server_for_command(settings))
        with FolderSink(folder / "dicom") as sink:
            convert_slide(mosaic(folder, arguments.copies), sink, ConversionOptions(mpp=0.499))
        files = [stack.enter_context(store.spool()) for _ in (folder / "dicom").glob("*.dcm")]
        for file, path in zip(files, (folder / "dicom").glob("*.dcm"), strict=True):
            file.write(path.read_bytes())
        stored = store.add_all(files, Source("benchmark"))[0]
        for model in arguments.model or ("nuclei", "nuclei-classical", "unet"):
            measure(store, catalogue, (stored.study_instance_uid, stored.series_instance_uid), model, arguments.rounds)


if __name__ == "__main__":
    main()
