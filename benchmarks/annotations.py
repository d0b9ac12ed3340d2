"""Bulk annotations of 1,000,000 polygons: ours against ``highdicom``, writing to disk and reading back.

Run ``python -m benchmarks.annotations [--polygons 1000000] [--rounds 2] [--work FOLDER]``. Every run is a process of
its own; imports are not timed, nor is making the polygons (12 to 20 points and two measurements each). ``highdicom``
gets them as a list of arrays, which is the only way that it takes them; ours as columns, as the pipeline has them.
Written coordinates, indices and measurements are compared byte by byte. The peak is that of the whole process, the
polygons themselves included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

SLIDE = Path(__file__).parent.parent / "tests" / "data" / "CMU-1-Small-Region.svs"
MEASURED = (("area_um2", codes.SCT.Area, codes.UCUM.SquareMicrometer), ("probability", codes.DCM.Probability, None))


def source_dataset(folder: Path) -> Dataset:
    """Return the finest level of the converted slide, without pixels."""
    converted = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted((folder / "slide").glob("*.dcm"))]
    return max((ds for ds in converted if ds.ImageType[2] == "VOLUME"), key=lambda ds: ds.TotalPixelMatrixColumns)


def polygons(count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], dict[str, npt.NDArray[np.float32]]]:
    """Return points, offsets and measurements of polygons spread over a slide of 100,000 x 100,000 pixels."""
    random = np.random.default_rng(11)
    lengths = random.integers(12, 21, count)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    centres = random.uniform(50, 99_950, (count, 2)).astype(np.float32)
    points = np.repeat(centres, lengths, axis=0)
    points += random.uniform(-20, 20, points.shape).astype(np.float32)
    measured = {name: random.random(count, np.float32) for name, _, _ in MEASURED}
    return points, offsets, measured


def ours(folder: Path, count: int) -> Callable[[], None]:
    from dicomsvc.objects.annotations import AnnotationGroup, GraphicType, write_annotations
    from dicomsvc.objects.provenance import Algorithm, Equipment, FindingClass, Identity, Provenance
    from dicomsvc.objects.source import source_slide

    source = source_slide([source_dataset(folder)])
    points, offsets, measured = polygons(count)
    algorithm = Algorithm("benchmark", "1", codes.DCM.ArtificialIntelligence, "0" * 64)
    equipment = Equipment("dicomsvc", "dicomsvc", "1", ("1",))
    provenance = Provenance(algorithm, equipment, datetime.now(UTC), generate_uid())
    finding = FindingClass("Nucleus", codes.SCT.AnatomicalStructure, codes.SCT.Nucleus, (255, 0, 0))
    identity = Identity(generate_uid(), 9, "AI", generate_uid())

    def work() -> None:
        group = AnnotationGroup(finding, GraphicType.POLYGON, points, offsets, measured)
        with (folder / "ours.dcm").open("wb") as file:
            write_annotations(file.write, source, [group], identity, provenance)

    return work


def peer(folder: Path, count: int) -> Callable[[], None]:
    import highdicom as hd

    source = source_dataset(folder)
    points, offsets, measured = polygons(count)
    graphics = np.split(points, offsets[1:-1])
    algorithm = hd.AlgorithmIdentificationSequence("benchmark", codes.DCM.ArtificialIntelligence, "1")

    def work() -> None:
        group = hd.ann.AnnotationGroup(
            number=1,
            uid=generate_uid(),
            label="Nucleus",
            annotated_property_category=codes.SCT.AnatomicalStructure,
            annotated_property_type=codes.SCT.Nucleus,
            graphic_type="POLYGON",
            graphic_data=graphics,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            measurements=[
                hd.ann.Measurements(concept, measured[name], unit or codes.UCUM.NoUnits)
                for name, concept, unit in MEASURED
            ],
        )
        made = hd.ann.MicroscopyBulkSimpleAnnotations(
            source_images=[source],
            annotation_coordinate_type="2D",
            annotation_groups=[group],
            series_instance_uid=generate_uid(),
            series_number=9,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="M",
            manufacturer_model_name="M",
            software_versions="1",
            device_serial_number="1",
        )
        made.save_as(folder / "peer.dcm")

    return work


def ours_read(folder: Path, count: int) -> Callable[[], None]:
    from dicomsvc.objects.annotations import read_annotations

    def work() -> None:
        (group,) = read_annotations(folder / "ours.dcm")
        assert len(group) == count and len(group.measurements["area_um2"]) == count

    return work


def peer_read(folder: Path, count: int) -> Callable[[], None]:
    import highdicom as hd

    def work() -> None:
        group = hd.ann.annread(folder / "peer.dcm").get_annotation_group(number=1)
        assert len(group.get_graphic_data("2D")) == count and len(group.get_measurements()[1]) == count

    return work


WORK = {"ours": ours, "peer": peer, "ours_read": ours_read, "peer_read": peer_read}


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def child(who: str, folder: Path, count: int) -> None:
    """Time one run in this process."""
    work = WORK[who](folder, count)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    held, before, start = peak_mb(), resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"cpu": cpu, "wall": wall, "peak": peak_mb(), "added": peak_mb() - held}))


def measure(who: str, folder: Path, count: int, rounds: int) -> dict[str, float]:
    """Return the best times and the largest peak of the rounds."""
    command = [sys.executable, "-m", "benchmarks.annotations", "--child", who, "--work", str(folder)]
    runs = []
    for _ in range(rounds):
        done = subprocess.run([*command, "--polygons", str(count)], check=True, stdout=subprocess.PIPE, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    return {
        name: (min if name in ("cpu", "wall") else max)(run[name] for run in runs)
        for name in ("cpu", "wall", "peak", "added")
    }


def same_payload(folder: Path) -> bool:
    one, other = (pydicom.dcmread(folder / name).AnnotationGroupSequence[0] for name in ("ours.dcm", "peer.dcm"))
    keywords = ("PointCoordinatesData", "LongPrimitivePointIndexList", "MeasurementsSequence")
    return all(one[keyword].value == other[keyword].value for keyword in keywords)


def report(what: str, theirs: dict[str, float], mine: dict[str, float], bar: str) -> None:
    print(what)
    for name, run in (("highdicom", theirs), ("ours", mine)):
        print(
            f"  {name:10} {run['cpu']:6.2f} s CPU {run['wall']:6.2f} s wall {run['peak']:6.0f} MB peak, "
            f"{run['added']:5.0f} MB more than before"
        )
    print(f"  {theirs['cpu'] / mine['cpu']:.1f}x CPU, {theirs['wall'] / mine['wall']:.1f}x wall{bar}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--polygons", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--child", choices=WORK)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.child, arguments.work, arguments.polygons)
        return
    from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide

    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        folder = Path(name)
        with FolderSink(folder / "slide") as sink:
            convert_slide(SLIDE, sink, ConversionOptions())
        runs = {who: measure(who, folder, arguments.polygons, arguments.rounds) for who in WORK}
        size = (folder / "ours.dcm").stat().st_size / 1e6
        print(f"{arguments.polygons} polygons, {size:.0f} MB")
        report("writing", runs["peer"], runs["ours"], " (bar 10)")
        print(f"  coordinates, indices and measurements are byte for byte the same: {same_payload(folder)}")
        report("reading", runs["peer_read"], runs["ours_read"], "")


if __name__ == "__main__":
    main()
