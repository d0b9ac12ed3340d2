"""A node under attack: what the fault suite does to a running service, and what it looks at afterwards."""

import contextlib
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from pydicom import dcmread

from dicomsvc.dimse import Peer, send_files
from tests.conftest import REPOSITORY, RunningService, start_service
from tests.waiting import eventually as eventually

BOUNDARY = "b0f1a7c3"
OUT_OF_RESOURCES = 0xA700
_ROUNDS = int(os.environ.get("DICOMSVC_KILL_ROUNDS", "1"))
FIGURES: list[str] = []
"""Lines that are printed at the end of the run."""


def rounds(share: int = 1) -> int:
    """Return how often something is to be done: once, or in the long form one of ``share`` times as often as most."""
    return max(1, _ROUNDS // share)


def spooled(service: RunningService) -> list[Path]:
    return list((service.data / "spool").rglob("*.part"))


def role_process(service: RunningService, role: str) -> psutil.Process:
    family = psutil.Process(service.process.pid).children(recursive=True)
    [process] = [process for process in family if process.cmdline()[-1:] == [role]]
    return process


def resident_bytes(service: RunningService, role: str) -> int:
    return int(role_process(service, role).memory_info().rss)


def kill(service: RunningService) -> None:
    """End every process of the service at once, without any of them noticing; the database's own live on."""
    family = [psutil.Process(service.process.pid), *psutil.Process(service.process.pid).children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() != "postgres":
                process.send_signal(signal.SIGKILL)
    service.process.wait()


def stop(service: RunningService) -> None:
    """End the service, which must end well."""
    service.process.terminate()
    try:
        assert service.process.wait(60) == 0, service.log.read_text()
    finally:
        service.process.kill()


@contextlib.contextmanager
def running(data: Path | None = None, **options: object) -> Iterator[RunningService]:
    """A service of its own; on a data folder that is given, or on a fresh one. It must end well."""
    with tempfile.TemporaryDirectory(prefix="dicomsvc-fault-") as name:
        Path(name).chmod(0o755)
        service = start_service(data or Path(name) / "data", **options)  # type: ignore[arg-type]
        try:
            yield service
        except BaseException:
            service.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                service.process.wait(30)
            service.process.kill()
            raise
        stop(service)


def verify(service: RunningService, **environment: str) -> dict[str, object]:
    """Return what ``dicomsvc verify`` says of a store, whose service may run or not."""
    done = subprocess.run(
        [sys.executable, "-m", "dicomsvc", "verify", "--json", "--data", str(service.data)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
    )
    assert done.stdout, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def assert_sound(service: RunningService, **environment: str) -> None:
    """Every row has its file, every file its row and its digest."""
    found = verify(service, **environment)
    assert not found["damaged"] and not found["missing"] and not found["orphans"], found


def stow_body(*contents: bytes) -> bytes:
    parts = [b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (BOUNDARY.encode(), each) for each in contents]
    return b"".join(parts) + b"--%s--\r\n" % BOUNDARY.encode()


def stow(service: RunningService, *contents: bytes, seconds: float = 60) -> httpx.Response:
    """Send instances by STOW-RS."""
    return httpx.post(
        f"{service.dicomweb}/studies",
        content=stow_body(*contents),
        headers={
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
            "Accept": "application/dicom+json",
        },
        timeout=seconds,
    )


def failure_reasons(answer: httpx.Response) -> list[int]:
    """Return the Failure Reasons of a STOW-RS answer, in the order of its items."""
    return [item["00081197"]["Value"][0] for item in answer.json().get("00081198", {}).get("Value", [])]


def c_store(service: RunningService, content: bytes) -> int | None:
    """Send a Part 10 file by C-STORE and return the status; `None` when there was none."""
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(content)
        file.flush()
        [sent] = send_files([Path(file.name)], Peer("127.0.0.1", service.dimse_port))
    return sent.status


def retrieve(service: RunningService, sop_instance_uid: str) -> httpx.Response:
    """Ask for an instance as it is stored, by WADO-RS."""
    rows = httpx.get(f"{service.dicomweb}/instances", params={"SOPInstanceUID": sop_instance_uid}, timeout=30)
    [row] = rows.json()
    return httpx.get(
        f"{instance_url(service, row, sop_instance_uid)}",
        headers={"Accept": "application/dicom; transfer-syntax=*"},
        timeout=60,
    )


def instance_url(service: RunningService, row: Mapping[str, Mapping[str, list[str]]], sop_instance_uid: str) -> str:
    study, series = row["0020000D"]["Value"][0], row["0020000E"]["Value"][0]
    return f"{service.dicomweb}/studies/{study}/series/{series}/instances/{sop_instance_uid}"


def same(content: bytes, original: bytes) -> bool:
    """Whether the data sets are the same; a sender by DIMSE leaves the File Meta Information to the receiver."""
    return content == original or dcmread(io.BytesIO(content)) == dcmread(io.BytesIO(original))


def assert_kept(service: RunningService, acknowledged: Mapping[str, bytes]) -> None:
    """Every acknowledged instance is served as it was sent."""
    for uid, original in acknowledged.items():
        answer = retrieve(service, uid)
        assert answer.status_code == 200, f"{uid}: {answer.status_code}"
        assert same(answer.content, original), f"{uid} was changed"


@dataclass
class Load:
    """Senders that send instance after instance, by C-STORE and by STOW-RS, and note what was acknowledged.

    What is refused is sent again; what is not answered is left: whether it was stored is for the node to know.
    """

    service: RunningService
    instances: Mapping[str, bytes]
    senders: int = 4
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    statuses: set[int | None] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Load":
        names = sorted(self.instances)
        for number in range(self.senders):
            call = self._by_dimse if number % 2 else self._by_stow
            self._threads.append(threading.Thread(target=self._send, args=(names[number :: self.senders], call)))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()

    def is_done(self) -> bool:
        """Whether all instances have been acknowledged."""
        return len(self.acknowledged) == len(self.instances)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _send(self, uids: list[str], call: Callable[[bytes], int | None]) -> None:
        for uid in uids:
            while not self.over.is_set():
                status = call(self.instances[uid])
                self.statuses.add(status)
                if status == 0:
                    self.acknowledged[uid] = self.instances[uid]
                if status != OUT_OF_RESOURCES:
                    break
                time.sleep(0.1)

    def _by_dimse(self, content: bytes) -> int | None:
        return c_store(self.service, content)

    def _by_stow(self, content: bytes) -> int | None:
        try:
            answer = stow(self.service, content)
        except httpx.HTTPError:
            return None
        if answer.status_code == 200:
            return 0
        return OUT_OF_RESOURCES if answer.status_code == 503 else answer.status_code


@dataclass(frozen=True)
class Echoes:
    """How long a C-ECHO took, in seconds, once after the other; endless where there was no answer."""

    seconds: tuple[float, ...]

    @property
    def p99(self) -> float:
        """The 99th percentile (nearest rank)."""
        return sorted(self.seconds)[max(0, math.ceil(0.99 * len(self.seconds)) - 1)]

    def __str__(self) -> str:
        longest = max(self.seconds) * 1000
        return f"{len(self.seconds)} echoes, p99 {self.p99 * 1000:.0f} ms, longest {longest:.0f} ms"


@contextlib.contextmanager
def echoing(port: int) -> Iterator[Callable[[], Echoes]]:
    """Ask for C-ECHO all the time from a process beside; what is yielded tells, afterwards, how that went."""
    peer = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.echoes", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert peer.stdout is not None and peer.stdin is not None
    lines: list[str] = [peer.stdout.readline()]
    reader = threading.Thread(target=lambda: lines.extend(peer.stdout or ()))
    reader.start()
    try:
        yield lambda: Echoes(tuple(math.inf if line == "failed\n" else float(line) for line in lines))
    finally:
        peer.stdin.close()
        peer.wait(30)
        reader.join()


def withstand(service: RunningService, name: str, abuse: Callable[[], None], least: int = 20) -> None:
    """Abuse a node: meanwhile C-ECHO is answered in under a second (99th percentile), every time.

    The abuse is repeated until so many echoes went beside it that they say something. A machine that is busy with
    something else gets a second try.
    """
    for attempt in range(2):
        with echoing(service.dimse_port) as echoes:
            abuse()
            while len(echoes().seconds) < least:
                abuse()
        measured = echoes()
        if measured.p99 < 1 or attempt:
            break
    FIGURES.append(f"C-ECHO during {name}: {measured}")
    assert measured.p99 < 1, str(measured)


def storescu_successes(output: str) -> list[str]:
    """Return the names of the files that DCMTK's ``storescu -v`` reports as acknowledged."""
    current, names = "", []
    for line in output.splitlines():
        if match := re.search(r"Sending file: .*/(\S+\.dcm)", line):
            current = match[1]
        elif "Received Store Response (Success)" in line:
            names.append(current)
    return names
