"""From a model's mask to outlined, measured nuclei: megapixels a second on one core, beside SciPy.

Takes the part of the real slide in ``tests/data`` with the most nuclei at 0.25 um a pixel and the mask of
``nuclei-classical``, and decodes one tile of the model's size in one thread. The peer does what is usually written with
SciPy (distance transform, peaks in a window, watershed, contours), and measures less. The bar is 8 megapixels a second.

Run ``python -m benchmarks.postprocessing [--rounds N]``.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import openslide
from scipy import ndimage

from benchmarks.servers import system_load
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.decoding import decoder
from dicomsvc.ai.inference import InProcessBackend
from dicomsvc.ai.statistics import compute, tissue_pixels
from dicomsvc.wsi.plan import Rectangle, Tile

REPOSITORY = Path(__file__).parents[1]
BAR_MEGAPIXELS = 8.0
Pixels = npt.NDArray[np.uint8]


def densest_tile(size: int) -> Pixels:
    """Return ``size`` x ``size`` pixels at 0.25 um where hematoxylin is strongest."""
    slide = openslide.OpenSlide(str(REPOSITORY / "tests" / "data" / "CMU-1-Small-Region.svs"))
    whole = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    darkness = cv2.boxFilter(255.0 - whole[:, :, 0], -1, (size // 2, size // 2))[
        size // 4 : -size // 4, size // 4 : -size // 4
    ]
    y, x = np.unravel_index(int(darkness.argmax()), darkness.shape)
    part = whole[y : y + size // 2, x : x + size // 2]
    return np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)


def scipy_way(mask: Pixels, image: Pixels, mpp: float) -> int:
    """Return the number of nuclei, after the same steps in SciPy."""
    foreground = ndimage.binary_fill_holes(mask >= 128)
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(foreground), 2)
    peaks = (distance == ndimage.maximum_filter(distance, 15)) & foreground
    markers, _ = ndimage.label(peaks)
    markers[~foreground] = -1
    cost = (255 - np.clip(distance * 8, 0, 255)).astype(np.uint8)
    labels = ndimage.watershed_ift(cost, markers.astype(np.int32))
    labels[labels < 0] = 0
    numbers = np.arange(1, labels.max() + 1)
    areas = ndimage.sum_labels(foreground, labels, numbers) * mpp**2
    ndimage.center_of_mass(foreground, labels, numbers)
    ndimage.mean(255 - image[:, :, 0], labels, numbers)
    for number, place in zip(numbers, ndimage.find_objects(labels), strict=True):
        cv2.findContours((labels[place] == number).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return int((areas >= 8).sum())


def seconds(call: Callable[[], object], rounds: int) -> float:
    """Return the median processor time of the call, after one to warm up."""
    call()
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    repository = REPOSITORY / "triton_models"
    manifest = read_manifest(repository / "nuclei-classical")[-1]
    size = manifest.input.tile_size
    image = densest_tile(size)
    inputs = {
        manifest.input.tensor: image[np.newaxis],
        manifest.input.statistics_tensor: np.array(
            [compute(manifest.input.statistics, tissue_pixels(image))], np.float32
        ),
    }
    output = manifest.output.tensors["mask"]
    mask = InProcessBackend(repository).infer(manifest.name, manifest.number, inputs, [output])[output][0]
    area = Rectangle(0, 0, size, size)
    tile = Tile(0, area, area)
    decode = decoder(manifest).decode
    found = decode({output: mask}, image, tile, (1.0, 1.0)).instances
    assert found is not None
    megapixels = size * size / 1e6
    own = seconds(lambda: decode({output: mask}, image, tile, (1.0, 1.0)), arguments.rounds)
    other = seconds(lambda: scipy_way(mask[:, :, 0], image, manifest.input.mpp), arguments.rounds)
    density = len(found) / (megapixels * manifest.input.mpp**2)
    print(f"{system_load()}; {size} x {size} pixels, {len(found)} nuclei, {density:.0f} a mm2; medians of CPU time")
    print(f"dicomsvc  {own * 1000:7.1f} ms  {megapixels / own:6.1f} megapixels/s  {len(found) / own:8.0f} nuclei/s")
    print(f"SciPy     {other * 1000:7.1f} ms  {megapixels / other:6.1f} megapixels/s")
    verdict = "met" if megapixels / own >= BAR_MEGAPIXELS else "MISSED"
    print(f"ratio {other / own:.1f}; bar of {BAR_MEGAPIXELS:g} megapixels/s {verdict}")


if __name__ == "__main__":
    main()
