"""Conversion of a 40,960 x 40,960 slide of JPEG tiles: ours against a bare splice, and against ``wsidicomizer``.

Run ``python benchmarks/conversion.py [--size 40960] [--rounds 3] [--work FOLDER]``. The slide is made of the CC0 slide
in ``tests/data`` and removed at the end. Ours runs in a warm process and counts SHA-256 and fsync, as the service needs
them; the splice is timed without and with both. Each figure is the best of the rounds, the slide in the page cache.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from dicomsvc.ingest.convert import ConversionOptions, OutputFile, convert_slide
from dicomsvc.ingest.convert.bitstream import ADOBE_RGB, EOI, SOI, SOS, segments
from dicomsvc.store.spool import SpoolArea, SpoolFile

TILE = 256
QUALITY = 87
SMALL_SLIDE = Path(__file__).parent.parent / "tests" / "data" / "CMU-1-Small-Region.svs"
DESCRIPTION = "Aperio Image Library v11.2.1\n40960x40960 (256x256) JPEG/RGB Q=90|AppMag = 20|MPP = 0.4990"


def source_tiles() -> tuple[list[bytes], bytes]:
    """Cut the real slide into tiles of 256 px, red-green-blue and abbreviated as Aperio's are, and their tables."""
    image = tifffile.imread(SMALL_SLIDE, key=0)
    rows, columns = image.shape[0] // TILE, image.shape[1] // TILE
    tiles, tables = [], b""
    for row in range(rows):
        for column in range(columns):
            part = np.ascontiguousarray(image[row * TILE :, column * TILE :][:TILE, :TILE])
            stream = imagecodecs.jpeg8_encode(part, level=QUALITY, colorspace="RGB", outcolorspace="RGB")
            tile, tables = abbreviate(stream)
            tiles.append(tile)
    return tiles, tables


def abbreviate(stream: bytes) -> tuple[bytes, bytes]:
    """Split a stream into an abbreviated one and its tables."""
    tile, tables = [SOI], [SOI]
    end = 2
    for marker, start, end in segments(stream):
        if marker in (0xDB, 0xC4):
            tables.append(stream[start:end])
        elif not 0xE0 <= marker <= 0xEF:
            tile.append(stream[start:end])
    return b"".join((*tile, stream[end:])), b"".join((*tables, EOI))


def make_slide(path: Path, size: int) -> None:
    tiles, tables = source_tiles()
    count = (size // TILE) ** 2
    step = 7  # neighbours differ

    def encoded() -> Iterator[bytes]:
        for index in range(count):
            yield tiles[index * step % len(tiles)]

    with tifffile.TiffWriter(path) as writer:
        writer.write(
            encoded(), shape=(size, size, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="rgb",
            compression="jpeg", compressionargs={"outcolorspace": "rgb"}, description=DESCRIPTION, metadata=None,
            extratags=[(347, 7, len(tables), tables, True)],
        )  # fmt: skip


def bare_splice(slide: Path, target: OutputFile) -> None:
    """Copy the tiles as items, with a header's place for each: what no conversion can do without."""
    with tifffile.TiffFile(slide) as tiff:
        offsets, counts = tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts
        tables = tiff.pages[0].jpegtables
    insertion = (tables[2:-2] + ADOBE_RGB) if tables else b""
    source = os.open(slide, os.O_RDONLY)
    start = 0
    while start < len(offsets):
        stop, size = start, 0
        while stop < len(offsets) and size + counts[stop] <= 8 << 20:
            size += counts[stop]
            stop += 1
        base = offsets[start]
        data = memoryview(os.pread(source, offsets[stop - 1] + counts[stop - 1] - base, base))
        parts: list[bytes | memoryview] = []
        for index in range(start, stop):
            tile = data[offsets[index] - base : offsets[index] - base + counts[index]]
            length = counts[index] + len(insertion)
            parts.append(struct.pack("<HHL", 0xFFFE, 0xE000, length + (length & 1)))
            if insertion:
                scan = bytes(tile[:1024]).find(SOS)
                parts += [tile[:scan], insertion, tile[scan:]]
            else:
                parts.append(tile)
            parts.append(b"\0" * (length & 1))
        target.write(b"".join(parts))
        start = stop
    os.close(source)


class BareFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)

    def write(self, data: bytes, /) -> int:
        return os.write(self._file, data)

    def discard(self) -> None:
        os.close(self._file)
        self.path.unlink()


class SpoolSink:
    def __init__(self, area: SpoolArea) -> None:
        self._area = area
        self.files: list[SpoolFile] = []

    def open(self, name: str, /) -> SpoolFile:
        self.files.append(self._area.open())
        return self.files[-1]


def ours(slide: Path, folder: Path, build: bool) -> list[SpoolFile]:
    folder.mkdir(exist_ok=True)
    sink = SpoolSink(SpoolArea(folder, reserve_bytes=0, max_bytes=1 << 40))
    convert_slide(slide, sink, ConversionOptions(build_levels=build))
    for file in sink.files:
        file.sync()
        file.digest()
    return sink.files


def best(rounds: int, work: Callable[[], None]) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


class BareSink:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: list[BareFile] = []

    def open(self, name: str, /) -> BareFile:
        self.files.append(BareFile(self._folder / name))
        return self.files[-1]


def ours_bare_seconds(slide: Path, folder: Path, rounds: int) -> float:
    """Time ours into a file that is neither hashed nor synced, as the bare splice's is."""
    times = []
    for _ in range(rounds):
        sink = BareSink(folder)
        start = time.perf_counter()
        convert_slide(slide, sink, ConversionOptions(build_levels=False))
        times.append(time.perf_counter() - start)
        for file in sink.files:
            file.discard()
    return min(times)


def splice_seconds(slide: Path, make: Callable[[], OutputFile], rounds: int) -> float:
    """Time the splice; removing what it wrote is not counted."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        target = make()
        bare_splice(slide, target)
        if isinstance(target, SpoolFile):
            target.sync()
            target.digest()
        times.append(time.perf_counter() - start)
        target.discard()
    return min(times)


def peak_rss_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def child(slide: Path, folder: Path, rounds: int, build: bool) -> None:
    """Time ours in this process, warmed by the small slide."""
    spool = folder / "spool"
    for file in ours(SMALL_SLIDE, spool, build):
        file.discard()
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_rss_mb()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        files = ours(slide, spool, build)
        times.append(time.perf_counter() - start)
        for file in files:
            file.discard()
    seconds = min(times)
    print(json.dumps({"seconds": seconds, "growth_mb": peak_rss_mb() - before}))


def measure(slide: Path, folder: Path, rounds: int, build: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", str(slide), "--work", str(folder), "--rounds", str(rounds)]
    done = subprocess.run([*command, *(["--levels"] if build else [])], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def wsidicomizer(slide: Path, folder: Path, *arguments: str) -> None:
    out = folder / "wsidicomizer"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    program = Path(sys.executable).parent / "wsidicomizer"
    command = [str(program), "-i", str(slide), "-o", str(out), *arguments]
    subprocess.run(command, check=True, capture_output=True)


def compare(slide: Path, folder: Path, rounds: int) -> None:
    megabytes = slide.stat().st_size / 1e6
    print(f"slide {megabytes:.0f} MB; load {os.getloadavg()[0]:.2f}; best of {rounds}")
    bare = splice_seconds(slide, lambda: BareFile(folder / "bare"), rounds)
    area = SpoolArea(folder, reserve_bytes=0, max_bytes=1 << 40)
    durable = splice_seconds(slide, area.open, rounds)
    ours_bare = ours_bare_seconds(slide, folder, rounds)
    ours_plain = measure(slide, folder, rounds, build=False)
    peer = best(rounds, lambda: wsidicomizer(slide, folder))
    seconds, growth = ours_plain["seconds"], ours_plain["growth_mb"]
    print(f"bare splice                     {bare:6.2f} s")
    print(f"the same, hashed and synced     {durable:6.2f} s  {durable / bare:.2f}x bare")
    print(f"ours, neither hashed nor synced {ours_bare:6.2f} s  {ours_bare / bare:.2f}x bare")
    print(f"ours, tiles as stored           {seconds:6.2f} s  {seconds / bare:.2f}x bare (bar 1.5)")
    print(f"                                {seconds / durable:.2f}x the bare splice hashed and synced")
    print(f"                                growth {growth:.0f} MB (bar 150)")
    print(f"wsidicomizer                    {peer:6.2f} s  {peer / seconds:.1f}x ours (bar 2.5)")
    built = measure(slide, folder, 1, build=True)
    peer_built = best(1, lambda: wsidicomizer(slide, folder, "--add-missing-levels"))
    print(f"ours, with all levels built     {built['seconds']:6.2f} s  growth {built['growth_mb']:.0f} MB")
    print(f"wsidicomizer, levels added      {peer_built:6.2f} s  {peer_built / built['seconds']:.1f}x ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=40960)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--levels", action="store_true")
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.child, arguments.work, arguments.rounds, arguments.levels)
        return
    with tempfile.TemporaryDirectory(dir=arguments.work) as name:
        slide = Path(name) / "large.svs"
        make_slide(slide, arguments.size)
        compare(slide, Path(name), arguments.rounds)


if __name__ == "__main__":
    main()
