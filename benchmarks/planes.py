"""Tiles of 256 px decoded from a stored slide: `Plane` with 1 and 2 threads against wsidicom with 1 and 2.

Run ``python -m benchmarks.planes [--slide FILE] [--mpp UM] [--tiles N] [--rounds N]``. Without a slide the CC0 one in
``tests/data`` is used. Every round reads the same tiles of the finest level afresh, row by row; figures are the best of
the rounds. The bar: ours takes no more processor time a tile than wsidicom; that is steadier than the rate on a machine
that others use too. Then the rate at other resolutions, which wsidicom does not resample to.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pydicom
import wsidicom
from pydantic import SecretStr

from dicomsvc.config import DatabaseSettings, Settings, StoreSettings
from dicomsvc.ingest.convert import ConversionOptions, FolderSink, convert_slide
from dicomsvc.store import Source, Store
from dicomsvc.store.database import make_engine, migrate
from dicomsvc.store.embedded import start_embedded
from dicomsvc.wsi.levels import slide_mpp
from dicomsvc.wsi.plan import Rectangle
from dicomsvc.wsi.resampling import Plane
from dicomsvc.wsi.slide import Slide, open_slide

TILE = 256
SMALL_SLIDE = Path(__file__).parent.parent / "tests" / "data" / "CMU-1-Small-Region.svs"


@contextmanager
def stored(folder: Path) -> Iterator[Slide]:
    """Store converted instances and open the slide."""
    with tempfile.TemporaryDirectory(prefix="dicomsvc-bench-") as name:
        Path(name).chmod(0o755)
        server = start_embedded(Path(name) / "database")
        try:
            database = DatabaseSettings(url=SecretStr(server.url))
            engine = make_engine(database)
            migrate(engine)
            engine.dispose()
            settings = Settings(data=Path(name) / "data", database=database, store=StoreSettings(disk_reserve_mb=0))
            with Store(settings) as store:
                paths = sorted(folder.glob("*.dcm"))
                for path in paths:
                    with store.spool() as spooled:
                        spooled.write(path.read_bytes())
                        store.add(spooled, Source("import"))
                ds = pydicom.dcmread(paths[0], stop_before_pixels=True)
                yield open_slide(store, ds.StudyInstanceUID, ds.SeriesInstanceUID)
        finally:
            server.stop()


def grid(columns: int, rows: int, count: int) -> list[Rectangle]:
    tiles = [Rectangle(x, y, TILE, TILE) for y in range(0, rows - TILE, TILE) for x in range(0, columns - TILE, TILE)]
    return tiles[:count]


def best(rounds: int, work: Callable[[], int]) -> tuple[float, float]:
    """Return tiles a second and milliseconds of processor time a tile, each of its best round."""
    rates, costs = [], []
    for _ in range(rounds):
        start, processor = time.perf_counter(), time.process_time()
        count = work()
        rates.append(count / (time.perf_counter() - start))
        costs.append((time.process_time() - processor) * 1000 / count)
    return max(rates), min(costs)


def ours(slide: Slide, mpp: float, tiles: list[Rectangle], threads: int) -> int:
    return sum(1 for _ in Plane(slide, mpp).read_many(tiles, threads))


def theirs(folder: Path, tiles: list[Rectangle], threads: int) -> int:
    def read(tile: Rectangle) -> None:
        opened.read_region((tile.x, tile.y), 0, (TILE, TILE)).load()

    with wsidicom.WsiDicom.open(folder) as opened, ThreadPoolExecutor(threads) as pool:
        return sum(1 for _ in pool.map(read, tiles))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", type=Path, default=SMALL_SLIDE)
    parser.add_argument("--mpp", type=float, help="of the slide, where the file does not say it")
    parser.add_argument("--tiles", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "slide"
        with FolderSink(folder) as sink:
            convert_slide(arguments.slide, sink, ConversionOptions(mpp=arguments.mpp))
        with stored(folder) as slide:
            return compare(slide, folder, arguments.tiles, arguments.rounds)


def compare(slide: Slide, folder: Path, count: int, rounds: int) -> int:
    base, mpp = slide.levels[0], slide_mpp(slide)[0]
    tiles = grid(base.columns, base.rows, count)
    print(f"{len(tiles)} tiles of {TILE} px of a level of {base.columns} x {base.rows}")
    ratios = []
    for threads in (1, 2):
        peer, peer_cost = best(rounds, lambda threads=threads: theirs(folder, tiles, threads))  # type: ignore[misc]
        rate, cost = best(rounds, lambda threads=threads: ours(slide, mpp, tiles, threads))  # type: ignore[misc]
        ratios.append(peer_cost / cost)
        print(
            f"{threads} thread(s): {rate:5.0f} tiles/s, {cost:.2f} ms a tile; wsidicom {peer:5.0f}, {peer_cost:.2f} ms"
        )
        print(f"    ratio of rates {rate / peer:.2f}, of processor time {ratios[-1]:.2f}")
    for factor in (0.5, 1.1, 1.7, 2.0, 3.3):
        plane = Plane(slide, mpp * factor)
        chosen = grid(plane.columns, plane.rows, count)
        if chosen:
            rate, cost = best(rounds, lambda: ours(slide, mpp * factor, chosen, 2))  # noqa: B023 - called at once
            print(f"at {mpp * factor:5.3f} um a pixel, 2 threads: {rate:5.0f} tiles/s, {cost:.2f} ms a tile")
    return 0 if ratios[0] >= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
