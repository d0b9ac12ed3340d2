"""Metadata of a TILED_SPARSE instance with 25,600 frames by HTTP: time to the last byte, gzipped and plain.

Also prints how long the instance took to be stored (its metadata is made then).
Run ``python -m benchmarks.metadata [--frames N]``.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import httpx
from pydicom.dataset import Dataset

from benchmarks.frames import running, serve_service
from benchmarks.servers import system_load
from dicomsvc.config import Settings
from dicomsvc.store import Source, Store
from dicomsvc.store.database import make_engine, migrate
from dicomsvc.store.embedded import with_database
from tests.instances import part10, wsi_dataset


def sparse(frames: int) -> Dataset:
    """Return an instance whose frames each tell their position."""
    ds = wsi_dataset(frames=4)
    ds.NumberOfFrames, ds.DimensionOrganizationType = frames, "TILED_SPARSE"
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.Rows = ds.Columns = 2
    ds.PhotometricInterpretation = "RGB"
    ds.PixelData = bytes(12 * frames)
    groups = []
    for number in range(frames):
        position, group, content = Dataset(), Dataset(), Dataset()
        position.ColumnPositionInTotalImagePixelMatrix = number % 160 * 2 + 1
        position.RowPositionInTotalImagePixelMatrix = number // 160 * 2 + 1
        position.XOffsetInSlideCoordinateSystem = f"{number % 160 * 0.001:.6f}"
        position.YOffsetInSlideCoordinateSystem = f"{number // 160 * 0.001:.6f}"
        position.ZOffsetInSlideCoordinateSystem = "0.0"
        content.DimensionIndexValues = [number % 160 + 1, number // 160 + 1]
        group.PlanePositionSlideSequence, group.FrameContentSequence = [position], [content]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    return ds


def ask(client: httpx.Client, path: str, encoding: str) -> tuple[float, int]:
    """Return milliseconds and bytes on the wire."""
    started = time.perf_counter()
    with client.stream("GET", path, headers={"accept-encoding": encoding}) as response:
        size = sum(len(piece) for piece in response.iter_raw())
    assert response.status_code == 200
    return (time.perf_counter() - started) * 1e3, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=25_600)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dicomsvc-bench-") as name:
        Path(name).chmod(0o755)
        settings, embedded = with_database(Settings(data=Path(name) / "data"))
        try:
            engine = make_engine(settings.database)
            migrate(engine)
            engine.dispose()
            ds = sparse(arguments.frames)
            content = part10(ds)
            with Store(settings) as store, store.spool() as spooled:
                spooled.write(content)
                started = time.perf_counter()
                store.add(spooled, Source("import"))
                stored = time.perf_counter() - started
            print(f"{arguments.frames} frames, {len(content) / 1e6:.1f} MB, stored in {stored:.2f} s, {system_load()}")
            path = f"/dicomweb/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/metadata"
            with (
                running(serve_service, settings) as (_, port),
                httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
            ):
                for encoding in ("gzip", "identity"):
                    rounds = [ask(client, path, encoding) for _ in range(20)]
                    times = sorted(milliseconds for milliseconds, _ in rounds)
                    print(
                        f"{encoding:<9} median {statistics.median(times):.1f} ms, slowest {times[-1]:.1f} ms, "
                        f"{rounds[0][1] / 1e3:.0f} kB"
                    )
        finally:
            if embedded is not None:
                embedded.stop()


if __name__ == "__main__":
    main()
