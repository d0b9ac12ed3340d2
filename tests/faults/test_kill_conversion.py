"""Kill the whole service while it converts a slide: started again, it makes one result, whole, and no other."""

import contextlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.conftest import REPOSITORY, RunningService, start_service
from tests.faults.node import FIGURES, assert_sound, eventually, kill, rounds, running

END_SECONDS = 150


def jobs(service: RunningService) -> list[dict[str, object]]:
    """Return the work items, latest first; none while the service does not answer."""
    with contextlib.suppress(httpx.HTTPError):
        answer = httpx.get(f"{service.url}/api/jobs", timeout=10)
        if answer.status_code == 200:
            found: list[dict[str, object]] = answer.json()
            return found
    return []


def test_a_conversion_that_the_whole_service_dies_in_makes_one_result(cmu_small_region: Path) -> None:
    chance = random.Random(20261121)
    with tempfile.TemporaryDirectory(prefix="dicomsvc-kill-") as name:
        Path(name).chmod(0o755)
        data = Path(name) / "data"
        for turn in range(rounds(6)):
            service = start_service(data)
            importing = subprocess.Popen(
                [sys.executable, "-m", "dicomsvc", "import", str(cmu_small_region), "--data", str(data), "--json"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=REPOSITORY,
            )
            try:
                assert eventually(lambda: len(jobs(service)) == turn + 1, 60)  # noqa: B023
                assert eventually(lambda: jobs(service)[0]["state"] != "SCHEDULED", 60)  # noqa: B023
                time.sleep(chance.uniform(0, 0.5))
            finally:
                kill(service)
                importing.kill()
                importing.wait()
            with running(data) as again:
                started = time.monotonic()
                ended = ("COMPLETED", "CANCELED")
                assert eventually(lambda: [item["state"] in ended for item in jobs(again)[:1]] == [True], END_SECONDS)  # noqa: B023
                seconds = time.monotonic() - started
                [item, *_] = jobs(again)
                assert item["state"] == "COMPLETED", item
                outputs = item["outputs"]
                assert isinstance(outputs, dict)
                rows = httpx.get(f"{again.dicomweb}/studies/{outputs['study_instance_uid']}/instances").json()
                found = sorted(row["00080018"]["Value"][0] for row in rows)
                assert found == sorted(outputs["sop_instance_uids"])
                assert_sound(again)
            FIGURES.append(f"conversion killed with its service: one result {seconds:.0f} s after the restart")
        assert not list((data / "spool").rglob("*.part"))
