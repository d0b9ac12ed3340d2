"""Post-processing of immunohistochemistry: megapixels a second on one core, and how fast a threshold is answered.

Makes a segmentation of 3000 x 3000 pixels (nuclei of 6 to 11 um at a density of 4,500 a mm2, part of them touching), as
a 40x picture of 0.25 um a pixel, and as a 20x one. The peer does the same steps as they are usually written with
scikit-image (distance transform, peaks, watershed, `regionprops` with the classes, sizes and marker), and answers one
threshold with it; it runs in the Python that ``--peer`` names, where scikit-image is installed. Bars: 8 megapixels a
second, 200 ms.

Run ``python -m benchmarks.ihc_postprocessing [--rounds N] [--peer /path/to/python]``.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.servers import system_load
from dicomsvc.ai.ihc.cells import CellTable, Thresholds, make_table
from dicomsvc.ai.ihc.drawing import draw
from dicomsvc.ai.ihc.postprocess import SegPlanes, Territories, find_territories

SIZE = 3000
BAR_MEGAPIXELS = 8.0
BAR_MS = 200.0
Plane = npt.NDArray[np.uint8]
PEER = """
import json, sys, time
import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.measure import label, regionprops
from skimage.segmentation import watershed

planes = np.load(sys.argv[1])
positive, negative, marker = planes["positive"], planes["negative"], planes["marker"]
distance, smallest = int(sys.argv[2]), int(sys.argv[3])
began = time.process_time()
value = positive.astype(np.int16) + negative
mask = value > 150
depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), distance / 4)
peaks = peak_local_max(depth, min_distance=distance, labels=label(mask), exclude_border=False)
markers = np.zeros(mask.shape, np.int32)
markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
labels = watershed(-depth, markers, mask=mask)
cells = regionprops(labels, intensity_image=np.stack([positive >= negative, marker], axis=2))
total = found = 0
for cell in cells:
    if cell.area <= smallest:
        continue
    inside = cell.image_intensity[cell.image]
    total += 1
    found += bool(2 * inside[:, 0].sum() >= cell.area or inside[:, 1].max() > 240)
print(json.dumps({"seconds": time.process_time() - began, "cells": total, "positive": found}))
"""


def made(mpp: float) -> tuple[SegPlanes, Plane]:
    """Return a segmentation and its marker."""
    chance = np.random.default_rng(4)
    count = round(4500 * (SIZE * mpp / 1000) ** 2)
    value, brown = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    for x, y in chance.integers(0, SIZE, (count, 2)).tolist():
        radius = chance.uniform(3, 5.5) / mpp
        axes = (round(radius), round(radius * chance.uniform(0.6, 1)))
        angle, positive = chance.uniform(0, 180), chance.random() < 0.4
        cv2.ellipse(value, (x, y), axes, angle, 0, 360, 255, -1)
        cv2.ellipse(brown, (x, y), axes, angle, 0, 360, 255 if positive else 0, -1)
    value = np.asarray(cv2.GaussianBlur(value, (0, 0), 0.6 / mpp), np.uint8)
    none = np.zeros_like(value)
    marker = np.asarray(cv2.GaussianBlur(brown, (0, 0), 0.6 / mpp), np.uint8)
    return SegPlanes(np.where(brown > 0, value, none), np.where(brown > 0, none, value), none), marker


def cpu_seconds(call: Callable[[], object], rounds: int) -> float:
    """Return the median processor time of the call, after one to warm up."""
    call()
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def wall_ms(call: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return median and longest time of the call."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken), max(taken)


def ask_peer(python: str, segmentation: SegPlanes, marker: Plane, mpp: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        planes = Path(folder) / "planes.npz"
        np.savez(planes, positive=segmentation.positive, negative=segmentation.negative, marker=marker)
        arguments = [python, "-c", PEER, str(planes), str(round(2 / mpp)), str(round(7 / mpp**2))]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, env={"OMP_NUM_THREADS": "1"})
        answer: dict[str, float] = json.loads(done.stdout)
        return answer


def measure(mpp: float, rounds: int, peer: str | None) -> None:
    segmentation, marker = made(mpp)
    megapixels = SIZE * SIZE / 1e6
    kept: dict[str, object] = {}

    def process() -> None:
        found = find_territories(segmentation, mpp)
        kept["found"], kept["table"] = found, make_table(found, mpp, marker, marker)

    own = cpu_seconds(process, rounds)
    found, table = kept["found"], kept["table"]
    assert isinstance(found, Territories) and isinstance(table, CellTable)
    scoring = table.answer(Thresholds()).scoring()
    print(f"{SIZE} x {SIZE} at {mpp:g} um: {scoring['num_total']} cells, {scoring['percent_pos']} % positive")
    verdict = "met" if megapixels / own >= BAR_MEGAPIXELS else "MISSED"
    print(f"  dicomsvc      {own * 1000:7.0f} ms  {megapixels / own:6.1f} megapixels/s; bar of 8 {verdict}")
    if peer is not None:
        said = ask_peer(peer, segmentation, marker, mpp)
        print(
            f"  scikit-image  {said['seconds'] * 1000:7.0f} ms  {megapixels / said['seconds']:6.1f} megapixels/s, "
            f"{said['cells']} cells; ratio {said['seconds'] / own:.1f}"
        )
    chance = np.random.default_rng(1)

    def ask() -> object:
        return table.answer(Thresholds(int(chance.integers(0, 255)))).scoring()

    middle, longest = wall_ms(ask, 50)
    drawn, _ = wall_ms(lambda: draw(found, table.answer(Thresholds())).refined(), rounds)
    verdict = "met" if longest <= BAR_MS else "MISSED"
    print(f"  a threshold   {middle:7.2f} ms, longest of 50 {longest:.2f} ms; bar of 200 ms {verdict}")
    print(f"  its picture   {drawn:7.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", help="a Python that has scikit-image")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print(f"{system_load()}; one thread, medians of CPU time")
    for mpp in (0.25, 0.5):
        measure(mpp, arguments.rounds, arguments.peer)


if __name__ == "__main__":
    main()
