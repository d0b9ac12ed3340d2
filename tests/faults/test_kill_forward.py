"""Kill the whole service while it forwards: started again, each instance arrives, with the pixel data it came with."""

import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from pynetdicom.events import Event

from dicomsvc.dimse import Peer, send_files
from tests.conftest import start_service
from tests.faults.node import FIGURES, assert_sound, eventually, kill, rounds, stop
from tests.instances import part10
from tests.integration.routed import Scp, series_of

COUNT = 30
END_SECONDS = 240


def patiently(number: int, event: Event) -> int:
    """Answer a C-STORE after a moment, so that there is one to be killed in."""
    time.sleep(0.1)
    return 0


@pytest.mark.slow
def test_what_is_being_forwarded_when_the_service_dies_arrives(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    slides = series_of(COUNT)
    paths = []
    for number, ds in enumerate(slides):
        paths.append(tmp_path / f"{number:03d}.dcm")
        paths[-1].write_bytes(part10(ds))
    with Scp(patiently) as peer, tempfile.TemporaryDirectory(prefix="dicomsvc-kill-") as name:
        Path(name).chmod(0o755)
        environment = {
            "DICOMSVC_PEERS": json.dumps(
                {
                    "SCP": {"ae_title": "SCP", "host": "127.0.0.1", "port": peer.port},
                    "SCANNER": {"ae_title": "SCANNER", "may": ["store"]},
                }
            ),
            "DICOMSVC_ROUTING": json.dumps(
                {
                    "first_pause_seconds": 1,
                    "longest_pause_seconds": 2,
                    "rules": [{"name": "archive", "sop_classes": ["VLWholeSlideMicroscopyImage"], "send": ["SCP"]}],
                }
            ),
        }
        service = start_service(Path(name) / "data", environment=environment)
        sent = send_files(paths, Peer("127.0.0.1", service.dimse_port, calling_ae_title="SCANNER"))
        assert all(result.ok for result in sent)
        kills = 0
        for _ in range(rounds(6) + 1):
            before = len(set(peer.received))
            if before == COUNT:
                break
            assert eventually(lambda: len(set(peer.received)) > before, END_SECONDS), "forwarding does not go on"  # noqa: B023
            time.sleep(chance.uniform(0, 0.3))
            kill(service)
            kills += 1
            service = start_service(Path(name) / "data", environment=environment)
        assert kills, "there was nothing to kill"
        started = time.monotonic()
        assert eventually(lambda: len(set(peer.received)) == COUNT, END_SECONDS), "an instance was not sent"
        done = f"{service.url}/api/forwards"
        assert eventually(lambda: {each["state"] for each in httpx.get(done).json()} == {"done"}, 60)
        FIGURES.append(
            f"forward killed {kills} times: all {COUNT} there {time.monotonic() - started:.0f} s after the last, "
            f"{sum(Counter(peer.received).values()) - COUNT} sent twice"
        )
        assert_sound(service)
        stop(service)
    assert peer.pixel_data == {str(ds.SOPInstanceUID): bytes(ds.PixelData) for ds in slides}
