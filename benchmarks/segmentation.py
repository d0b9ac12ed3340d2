"""Writing a segmentation of a 40,000 x 40,000 mask: ours against ``highdicom``, base level and whole pyramid.

Run ``python -m benchmarks.segmentation [--size 40000] [--rounds 2] [--work FOLDER]``. Every run is a process of its
own; imports are not timed, nor is making the mask. ``highdicom`` gets the mask as one array in memory, which is the
only way that it takes one (1.6 GB of its peak); ours gets it row of tiles by row of tiles, as the pipeline has it, and
nothing for the third of them that is empty. Both write uncompressed BINARY TILED_FULL files; the base levels are
compared byte by byte. Coarser levels are picked pixels in ``highdicom``, and means of areas in ours.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

TILE = 256
SLIDE = Path(__file__).parent.parent / "tests" / "data" / "CMU-1-Small-Region.svs"
Mask = npt.NDArray[np.uint8]


def levels_of(size: int, pyramid: bool) -> int:
    return max(1, (size // 1024).bit_length()) if pyramid else 1


def source_datasets(folder: Path, size: int, count: int) -> list[Dataset]:
    """Return data sets of a slide of that size, made of a converted small one, without pixels."""
    converted = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted((folder / "slide").glob("*.dcm"))]
    base = next(ds for ds in converted if list(ds.ImageType[2:]) == ["VOLUME", "NONE"])
    datasets = []
    for level in range(count):
        ds = pydicom.Dataset.from_json(base.to_json())
        ds.file_meta = base.file_meta
        ds.SOPInstanceUID = generate_uid()
        side = size >> level
        ds.TotalPixelMatrixColumns = ds.TotalPixelMatrixRows = side
        ds.Rows = ds.Columns = TILE
        ds.NumberOfFrames = (-(-side // TILE)) ** 2
        ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.0005 * 2**level] * 2
        datasets.append(ds)
    return datasets


def pattern(size: int) -> Mask:
    """Return blobs as large as nuclei, a row of tiles high and wider than the mask."""
    noise = np.random.default_rng(1).random((TILE, 8192), dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    blobs = (smooth > smooth.mean() + smooth.std()).astype(np.uint8)
    return np.tile(blobs, (1, size // 8192 + 2))


def strip_of(blobs: Mask, size: int, row: int) -> Mask | None:
    """Return a row of tiles; every third one is empty, as slides are."""
    if row % 3 == 0:
        return None
    start = row * 997 % 8192
    rows = min(TILE, size - row * TILE)
    return blobs[np.newaxis, :rows, start : start + size]


def ours(folder: Path, size: int, pyramid: bool, kind: str) -> Callable[[], None]:
    from dicomsvc.dicom.uids import new_uid
    from dicomsvc.objects.provenance import Algorithm, Equipment, FindingClass, Identity, Provenance
    from dicomsvc.objects.segmentation import Organisation, SegmentationOptions, Target, write_segmentation_pyramid
    from dicomsvc.objects.source import source_slide

    count = levels_of(size, pyramid)
    source = source_slide(source_datasets(folder, size, count))
    algorithm = Algorithm("benchmark", "1", codes.DCM.ArtificialIntelligence, "0" * 64)
    provenance = Provenance(algorithm, Equipment("dicomsvc", "dicomsvc", "1", ("1",)), datetime.now(UTC), new_uid())
    found = FindingClass("Nucleus", codes.SCT.Tissue, codes.SCT.Tissue, (255, 0, 0))
    blobs = pattern(size)
    options = SegmentationOptions(organisation=Organisation(kind), overlap=False, scratch=folder)

    def work() -> None:
        series = new_uid()
        files = [(folder / f"ours-{level}.dcm").open("wb") for level in range(count)]
        targets = [Target(file.write, n, Identity(series, 9, "AI", new_uid(), n + 1)) for n, file in enumerate(files)]
        write_segmentation_pyramid(
            targets, source, [found], lambda row: strip_of(blobs, size, row), provenance, options
        )
        for file in files:
            file.close()

    return work


def peer(folder: Path, size: int, pyramid: bool) -> Callable[[], None]:
    import highdicom as hd

    sources = source_datasets(folder, size, levels_of(size, pyramid))
    algorithm = hd.AlgorithmIdentificationSequence("benchmark", codes.DCM.ArtificialIntelligence, "1")
    described = hd.seg.SegmentDescription(
        1, "Nucleus", codes.SCT.Tissue, codes.SCT.Tissue, hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm
    )
    blobs = pattern(size)
    mask = np.empty((size, size), np.uint8)
    for row in range(-(-size // TILE)):
        strip = strip_of(blobs, size, row)
        mask[row * TILE : (row + 1) * TILE] = 0 if strip is None else strip[0]
    shared: dict[str, Any] = {
        "segmentation_type": "BINARY",
        "segment_descriptions": [described],
        "series_instance_uid": hd.UID(),
        "series_number": 9,
        "manufacturer": "M",
        "manufacturer_model_name": "M",
        "software_versions": "1",
        "device_serial_number": "1",
        "dimension_organization_type": "TILED_FULL",
        "omit_empty_frames": False,
    }

    def work() -> None:
        if pyramid:
            made = hd.seg.create_segmentation_pyramid(
                source_images=sources, pixel_arrays=[mask], tile_size=(TILE, TILE), **shared
            )
        else:
            made = [
                hd.seg.Segmentation(
                    [sources[0]],
                    mask[np.newaxis],
                    sop_instance_uid=hd.UID(),
                    instance_number=1,
                    tile_pixel_array=True,
                    tile_size=(TILE, TILE),
                    **shared,
                )
            ]
        for level, segmentation in enumerate(made):
            segmentation.save_as(folder / f"peer-{level}.dcm")

    return work


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def child(who: str, folder: Path, size: int, pyramid: bool) -> None:
    """Time one run in this process."""
    work = peer(folder, size, pyramid) if who == "peer" else ours(folder, size, pyramid, who)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"cpu": cpu, "wall": time.perf_counter() - start, "peak": peak_mb()}))


def measure(who: str, folder: Path, size: int, pyramid: bool, rounds: int) -> dict[str, float]:
    """Return the best times and the largest peak of the rounds."""
    command = [sys.executable, "-m", "benchmarks.segmentation", "--child", who, "--work", str(folder)]
    command += ["--size", str(size), *(["--pyramid"] if pyramid else [])]
    runs = []
    for _ in range(rounds):
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return {name: (max if name == "peak" else min)(run[name] for run in runs) for name in ("cpu", "wall", "peak")}


def pixels_digest(path: Path, size: int) -> str:
    """Return the digest of the pixels, with which the file ends."""
    length = (-(-size // TILE)) ** 2 * TILE * TILE // 8
    with path.open("rb") as file:
        file.seek(-length, 2)
        return hashlib.file_digest(file, "sha256").hexdigest()


def compare(folder: Path, size: int, rounds: int) -> None:
    for pyramid in (False, True):
        print(f"{size} x {size}, {f'pyramid of {levels_of(size, True)} levels' if pyramid else 'base level'}")
        theirs = measure("peer", folder, size, pyramid, rounds)
        print(f"  highdicom          {theirs['cpu']:6.2f} s CPU {theirs['wall']:6.2f} s wall {theirs['peak']:6.0f} MB")
        for kind, name in (("TILED_FULL", "ours"), ("AUTO", "ours, spooled")):
            mine = measure(kind, folder, size, pyramid, rounds)
            print(
                f"  {name:18} {mine['cpu']:6.2f} s CPU {mine['wall']:6.2f} s wall {mine['peak']:6.0f} MB   "
                f"{theirs['cpu'] / mine['cpu']:.1f}x CPU, {theirs['wall'] / mine['wall']:.1f}x wall (bar 4), "
                f"{mine['peak'] / theirs['peak']:.3f} of its memory (bar 0.1)"
            )
            same = pixels_digest(folder / "ours-0.dcm", size) == pixels_digest(folder / "peer-0.dcm", size)
            print(f"  base level is byte for byte the same: {same}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=40000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--child")
    parser.add_argument("--pyramid", action="store_true")
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.child, arguments.work, arguments.size, arguments.pyramid)
        return
    from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide

    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        with FolderSink(Path(name) / "slide") as sink:
            convert_slide(SLIDE, sink, ConversionOptions())
        compare(Path(name), arguments.size, arguments.rounds)


if __name__ == "__main__":
    main()
