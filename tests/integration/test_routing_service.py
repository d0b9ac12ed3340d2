"""Routing in a running service: from C-STORE in to C-STORE out, by API and command line, and through deaths."""

import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from pynetdicom.events import Event

from dicomsvc.dimse import Peer, send_files
from tests.conftest import RunningService, start_service
from tests.instances import part10
from tests.integration.routed import Scp, series_of

CONFIGURATION = """
[peers.PEER]
ae_title = "PEER"
host = "127.0.0.1"
port = {port}

[peers.SCANNER]
ae_title = "SCANNER"
may = ["store"]

[routing]
first_pause_seconds = 1
longest_pause_seconds = 2

[[routing.rules]]
name = "archive"
sop_classes = ["VLWholeSlideMicroscopyImage"]
stable_seconds = {stable}
send = ["PEER"]
"""


@contextmanager
def serving(port: int, stable: float = 0) -> Iterator[RunningService]:
    with tempfile.TemporaryDirectory(prefix="dicomsvc-routing-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "dicomsvc.toml").write_text(CONFIGURATION.format(port=port, stable=stable))
        running = start_service(folder / "data", environment={"DICOMSVC_CONFIG": str(folder / "dicomsvc.toml")})
        try:
            yield running
            running.process.terminate()
            assert running.process.wait(60) == 0, running.log.read_text()
        finally:
            running.process.kill()


def call(service: RunningService, path: str, body: object = None, *, post: bool = False) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        service.url + path,
        data=b"" if post and data is None else data,
        headers={"Content-Type": "application/json"},
        method="POST" if post else "GET",
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def deliver(service: RunningService, folder: Path, data_sets: list[Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(data_sets):
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(part10(ds))
    peer = Peer("127.0.0.1", service.dimse_port, calling_ae_title="SCANNER")
    assert all(result.ok for result in send_files(paths, peer))


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def forwards(service: RunningService) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(service, "/api/forwards")
    return found


def done(service: RunningService) -> bool:
    found = forwards(service)
    return bool(found) and all(each["state"] == "done" for each in found)


def worker_of(service: RunningService) -> psutil.Process:
    [worker] = [
        process for process in psutil.Process(service.process.pid).children() if process.cmdline()[-1:] == ["worker"]
    ]
    return worker


@pytest.mark.slow
def test_forwards_survive_kills_of_worker_and_work_process_and_a_peer_that_goes_away(tmp_path: Path) -> None:
    def slow(number: int, event: Event) -> int:
        time.sleep(0.2)
        return 0

    slides = series_of(40)
    with Scp(slow) as peer, serving(peer.port) as service:
        deliver(service, tmp_path / "in", slides)
        until(lambda: len(peer.received) >= 4)
        for process in worker_of(service).children():
            process.send_signal(signal.SIGKILL)
        until(lambda: len(set(peer.received)) >= 12)
        worker_of(service).send_signal(signal.SIGKILL)
        until(lambda: done(service), 180)
        records = forwards(service)
        assert sum(each["sent"] for each in records) == 40
        again = Counter(peer.received)
    assert set(again) == {str(ds.SOPInstanceUID) for ds in slides}
    assert peer.pixel_data == {str(ds.SOPInstanceUID): bytes(ds.PixelData) for ds in slides}
    # What was under way at a kill is sent once more; nothing else is.
    assert sum(again.values()) - 40 <= 2 * 4, again


@pytest.mark.slow
def test_what_waits_for_a_peer_is_seen_by_api_and_command_line_and_sent_when_it_is_up(
    tmp_path: Path, free_port: int
) -> None:
    slides = series_of(2)
    with serving(free_port, stable=1) as service:
        deliver(service, tmp_path / "in", slides)
        until(lambda: any(each["state"] == "pausing" for each in forwards(service)))
        [record] = forwards(service)
        assert "cannot be reached" in record["reason"]
        [rule] = call(service, "/api/routing/rules")
        assert (rule["name"], rule["forwards"]) == ("archive", {"pausing": 1})
        study = {"study_instance_uid": str(slides[0].StudyInstanceUID)}
        [would] = call(service, "/api/routing/try", study, post=True)
        assert would["orders"] == [
            {"action": "store", "destination": "PEER", "instances": 2, "series_instance_uid": None}
        ]
        with urllib.request.urlopen(service.url + "/metrics", timeout=10) as response:
            assert b'dicomsvc_forwards{state="pausing"} 1.0' in response.read()
        dropped = call(service, f"/api/forwards/{record['id']}/drop", post=True)
        assert dropped["state"] == "dropped"
        listed = command(service, "forwards", "list", "--json")
        assert [(each["id"], each["state"]) for each in listed] == [(record["id"], "dropped")]
        with Scp(port=free_port) as peer:
            [retried] = command(service, "forwards", "retry", str(record["id"]), "--json")
            assert retried["state"] == "waiting"
            until(lambda: done(service))
            assert len(peer.received) == 2
        shown = command(service, "forwards", "show", str(record["id"]), "--json")
        assert {each["state"] for each in shown["list"]} == {"sent"}
        with pytest.raises(urllib.error.HTTPError, match="409"):
            call(service, f"/api/forwards/{record['id']}/retry", post=True)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            call(service, "/api/forwards/4711")


def command(service: RunningService, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "dicomsvc", *arguments, "--data", str(service.data)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
