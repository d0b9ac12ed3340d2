"""A stop amid the work: what was acknowledged is there, what was not left no trace, and it ends in order."""

import random
import tempfile
import time
from pathlib import Path

from tests.conftest import start_service
from tests.faults.node import FIGURES, Load, assert_kept, assert_sound, eventually, rounds, running, spooled
from tests.instances import write_instances

STOP_SECONDS = 40


def test_a_stop_under_load_is_in_order_and_loses_nothing(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    acknowledged: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="dicomsvc-stop-") as name:
        Path(name).chmod(0o755)
        data = Path(name) / "data"
        for turn in range(rounds(3)):
            service = start_service(data)
            instances = write_instances(tmp_path / str(turn), 400)
            with Load(service, instances) as load:
                assert eventually(lambda: len(load.acknowledged) > 10), "there is no load"
                time.sleep(chance.uniform(0, 1))
                asked = time.monotonic()
                service.process.terminate()
                status = service.process.wait(STOP_SECONDS)
                seconds = time.monotonic() - asked
            assert status == 0, service.log.read_text()
            written = service.log.read_text()
            assert "Traceback" not in written and '  File "' not in written, written[-4000:]
            acknowledged |= load.acknowledged
            assert not spooled(service), "a stop in order leaves a spool file"
            FIGURES.append(f"stop under load after {seconds:.1f} s, {len(load.acknowledged)} acknowledged before")
        with running(data) as again:
            assert_kept(again, acknowledged)
            assert_sound(again)
