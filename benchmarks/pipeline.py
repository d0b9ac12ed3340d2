"""A slide through models on Triton, beside the same ONNX file called in process on tiles that lie in memory.

The slide is the real one of ``tests/data``, several times side by side. Ours: tiles read from the stored slide,
resampled, sent to Triton, decoded, stitched, kept. The peer: ONNX Runtime in as many threads as there are cores, one
thread each, tiles read beforehand, answers thrown away. Both see the same tiles in the same batches. The bar is 0.85 of
the peer's rate: the model is to be what bounds the speed.

``nuclei`` is the shipped classical model, which is cheap; ``unet`` has the size of a small trained net (1.9 million
random weights, tiles of 256 pixels).

Run ``python -m benchmarks.pipeline [--copies N] [--model nuclei|unet]``.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openslide
import psutil
import tifffile
from onnx import TensorProto, helper, numpy_helper

from benchmarks.servers import system_load
from dicomsvc.ai.analysis.handler import analyze
from dicomsvc.ai.analysis.submission import Wish, submit
from dicomsvc.ai.catalogue.repository import Catalogue
from dicomsvc.cli.context import with_migrated_database
from dicomsvc.cli.triton import server_for_command
from dicomsvc.config import Settings
from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide
from dicomsvc.jobs import Jobs, Work
from dicomsvc.store import Source, Store
from dicomsvc.wsi.plan import make_plan
from dicomsvc.wsi.resampling import Plane
from dicomsvc.wsi.slide import open_slide
from dicomsvc.wsi.tissue import detect_tissue
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


def in_memory(manifest: Any, folder: Path, tiles: list[np.ndarray], statistics: list[float], batch: int) -> float:
    """Return tiles a second of ONNX Runtime, one session and thread a core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    path = str(folder / str(manifest.number) / "model.onnx")
    sessions = [onnxruntime.InferenceSession(path, options) for _ in range(CORES)]
    batches = [np.stack(tiles[at : at + batch]) for at in range(0, len(tiles), batch)]

    def run(turn: int) -> None:
        inputs = {manifest.input.tensor: batches[turn]}
        if manifest.input.statistics:
            inputs[manifest.input.statistics_tensor] = np.repeat(
                np.array([statistics], np.float32), len(batches[turn]), axis=0
            )
        sessions[turn % CORES].run(None, inputs)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(run, range(min(len(batches), CORES))))
        start = time.monotonic()
        list(pool.map(run, range(len(batches))))
        return len(tiles) / (time.monotonic() - start)


def measure(store: Store, catalogue: Catalogue, uids: tuple[str, str], name: str) -> None:
    manifest = catalogue.find(name)
    spec = manifest.input
    item = submit(store, catalogue, *uids, Wish(name), "benchmark")
    work = Work(
        uid=item.uid,
        kind="analyze",
        inputs=item.inputs,
        requested_by="benchmark",
        attempt=1,
        store=store,
        report=lambda progress: None,
        log=lambda line: None,
    )
    outputs = analyze(work)
    slide = open_slide(store, *uids)
    plane = Plane(slide, spec.mpp, spec.channels, coarsest_mpp=spec.coarsest_mpp)
    base = slide.levels[0]
    plan = make_plan(
        base.columns, base.rows, plane.slide_mpp, spec.mpp, spec.tile_size, spec.overlap, (), detect_tissue(slide)
    )
    chosen = [tile.context for chunk in plan.chunks for tile in chunk.tiles][
        : max(40, 400 * 256**2 // spec.tile_size**2)
    ]
    tiles = list(plane.read_many(chosen))
    batch = max(1, min(8, (1 << 21) // spec.tile_size**2))
    peer = in_memory(manifest, catalogue.get(name).folder, tiles, [1.2] * len(spec.statistics), batch)
    ours = outputs["tiles"] / outputs["tile_seconds"]
    ratio = ours / peer
    print(
        f"{name:8s} {outputs['tiles']} tiles of {spec.tile_size} px: pipeline {ours:.1f} tiles/s, "
        f"in process from memory {peer:.1f} tiles/s, ratio {ratio:.2f} (bar {BAR})\n"
        f"         {outputs['summary']}; tiles {outputs['tile_seconds']:.1f} s, in all {outputs['seconds']:.1f} s, "
        f"worker's processor time {outputs['worker_cpu_seconds']:.1f} s"
    )
    Jobs(store.engine).request_cancel(item.uid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--model", choices=("nuclei", "unet"), action="append")
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
        for model in arguments.model or ("nuclei", "unet"):
            measure(store, catalogue, (stored.study_instance_uid, stored.series_instance_uid), model)


if __name__ == "__main__":
    main()
