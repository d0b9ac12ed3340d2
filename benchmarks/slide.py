"""A whole slide through a model, end to end: time, cost, memory.

Converts a slide file, stores it in a service of its own, runs a model over it, and says how long that took, how much
processor time and memory the worker and Triton used, and what the slide costs at a price for a core's hour. The bar is
a worker of less than 1.5 GB beside Triton for a slide of 250 megapixels.

Run ``python -m benchmarks.slide SLIDE [--mpp UM] [--model nuclei] [--price 0.05]``. ``--mpp`` overrides what the slide
says: a slide of 1.3 um is refused by `nuclei`, but declared as 0.25 um it is a load of the same number of pixels.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks.servers import system_load
from tests.conftest import RunningService, import_slide, start_service

BAR_MB = 1500


class Meter(threading.Thread):
    """Follows memory (peak of the sum) and processor time of the worker's processes and of Triton's."""

    def __init__(self, service: RunningService) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(service.process.pid)
        self._cpu: dict[int, tuple[str, float]] = {}
        self.peak_mb = {"worker": 0.0, "triton": 0.0}
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.wait(0.2):
            now = dict.fromkeys(self.peak_mb, 0.0)
            for process in self._root.children(recursive=True):
                try:
                    group = self._group(process)
                    if group is None:
                        continue
                    times = process.cpu_times()
                    self._cpu[process.pid] = group, times.user + times.system
                    now[group] += process.memory_info().rss / 1e6
                except psutil.Error:
                    continue
            self.peak_mb = {group: max(peak, now[group]) for group, peak in self.peak_mb.items()}

    @staticmethod
    def _group(process: psutil.Process) -> str | None:
        family = " ".join(" ".join(each.cmdline()) for each in [process, *process.parents()[:3]])
        if "role_process worker" in family:
            return "worker"
        return "triton" if "role_process triton" in family else None

    def cpu_seconds(self, group: str) -> float:
        return sum(seconds for name, seconds in self._cpu.values() if name == group)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--mpp", type=float)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--price", type=float, default=0.05, help="of a core's hour, in any currency")
    arguments = parser.parse_args()
    print(system_load())
    with tempfile.TemporaryDirectory(prefix="dicomsvc-bench-") as name:
        Path(name).chmod(0o755)
        service = start_service(Path(name) / "data", models=True)
        try:
            start = time.monotonic()
            options = () if arguments.mpp is None else ("--mpp", str(arguments.mpp))
            study, _series = import_slide(service, arguments.slide, *options)
            imported = time.monotonic() - start
            meter = Meter(service)
            command = [sys.executable, "-m", "dicomsvc", "analyze", study, "--model", arguments.model, "--json"]
            before = {group: meter.cpu_seconds(group) for group in meter.peak_mb}
            start = time.monotonic()
            done = subprocess.run(
                [*command, "--data", str(service.data)], stdout=subprocess.PIPE, text=True, check=True
            )
            taken = time.monotonic() - start
            meter.over.set()
            meter.join()
            outputs = json.loads(done.stdout)[0]["outputs"]
            stored = sum(file.stat().st_size for file in service.data.rglob("instances/*/*.dcm")) / 1e6
        finally:
            service.process.terminate()
            service.process.wait(60)
    cpu = {group: meter.cpu_seconds(group) - before[group] for group in meter.peak_mb}
    cost = sum(cpu.values()) / 3600 * arguments.price
    print(
        f"import {imported:.0f} s; {arguments.model}: {outputs['summary']}\n"
        f"{outputs['tiles']} tiles, {outputs['megapixels']:g} megapixels of the model's plane in {taken:.0f} s "
        f"({outputs['megapixels'] / taken:.1f} megapixels/s), tiles {outputs['tile_seconds']:.0f} s of it\n"
        f"processor time: worker {cpu['worker']:.0f} s, Triton {cpu['triton']:.0f} s; "
        f"{cost:.4f} a slide at {arguments.price} a core's hour; {stored:.0f} MB stored in all\n"
        f"peak memory: worker {meter.peak_mb['worker']:.0f} MB (bar {BAR_MB}), Triton {meter.peak_mb['triton']:.0f} MB"
    )


if __name__ == "__main__":
    main()
