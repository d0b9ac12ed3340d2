"""C-STORE against DCMTK's `storescp` and Orthanc, in one run: one big slide instance, and many small ones.

    python benchmarks/cstore.py [--megabytes 551] [--small 1000] [--rounds 3] [--without-orthanc]

The sender is DCMTK's `storescu` in every case. Our service runs with its durability on (fsync of file and folder,
commit), in a process of its own with its own PostgreSQL; `storescp` only writes. Needs `storescu` and `storescp`; and
`Orthanc`, which is left out when it is not installed.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import JPEGBaseline8Bit, generate_uid

FRAME_BYTES = 21_500
UID_TAIL_DIGITS = 12


@dataclass(frozen=True)
class Receiver:
    """A running C-STORE SCP."""

    name: str
    port: int
    pid: int


def template(frames: int, sop_instance_uid: str) -> bytes:
    """Return a Part 10 file of a VL WSI up to, and without, its pixel data."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.6", sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    ds.Modality, ds.PatientID, ds.PatientName = "SM", "BENCH", "Bench^Mark"
    ds.Rows = ds.Columns = 256
    ds.NumberOfFrames = frames
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = 256, 256 * frames
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_FULL_422", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def write_instance(path: Path, frames: int, uid: str, frame_bytes: int = FRAME_BYTES) -> None:
    """Write an encapsulated instance without ever holding it in memory; frames only look like JPEG."""
    filler = os.urandom(frame_bytes - 4).replace(b"\xff", b"\xfe")
    frame = b"\xff\xd8\xff" + filler + b"\xff\xd9"
    frame = frame[: len(frame) & ~1]
    item = b"\xfe\xff\x00\xe0" + len(frame).to_bytes(4, "little") + frame
    with path.open("wb", buffering=1 << 20) as file:
        file.write(template(frames, uid))
        file.write(b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0" + bytes(4))
        for _ in range(frames):
            file.write(item)
        file.write(b"\xfe\xff\xdd\xe0" + bytes(4))


class Uids:
    """SOP Instance UIDs of one length, so that a file gets a new one in place."""

    def __init__(self) -> None:
        self._stem = f"2.25.{int.from_bytes(os.urandom(8), 'big') | 1 << 63}."
        self._number = 10 ** (UID_TAIL_DIGITS - 1)

    def new(self) -> str:
        self._number += 1
        return f"{self._stem}{self._number}"

    def renew(self, path: Path) -> None:
        """Give the instance in ``path`` another SOP Instance UID."""
        with path.open("r+b") as file:
            head = file.read(4096)
            stem = self._stem.encode()
            at = head.index(stem)
            old = head[at : at + len(stem) + UID_TAIL_DIGITS]
            file.seek(0)
            file.write(head.replace(old, self.new().encode()))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_open(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"the receiver on port {port} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


@contextlib.contextmanager
def running(name: str, command: list[str], port: int, cwd: Path) -> Iterator[Receiver]:
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_open(port, process)
        yield Receiver(name, port, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def dicomsvc_receiver(folder: Path) -> Iterator[Receiver]:
    port = free_port()
    command = [sys.executable, __file__, "--serve", str(folder / "dicomsvc"), "--port", str(port)]
    with running("dicomsvc", command, port, folder) as receiver:
        yield receiver


@contextlib.contextmanager
def storescp_receiver(folder: Path) -> Iterator[Receiver]:
    port, out = free_port(), folder / "storescp"
    out.mkdir()
    command = ["storescp", "+B", "-pdu", "131072", "+xa", "-od", str(out), str(port)]
    with running("storescp +B", command, port, folder) as receiver:
        yield receiver


@contextlib.contextmanager
def orthanc_receiver(folder: Path) -> Iterator[Receiver]:
    port, out = free_port(), folder / "orthanc"
    out.mkdir()
    configuration = {
        "Name": "bench",
        "StorageDirectory": str(out),
        "IndexDirectory": str(out),
        "DicomPort": port,
        "HttpPort": free_port(),
        "RemoteAccessAllowed": False,
        "DicomAlwaysAllowStore": True,
        "OrthancPeers": {},
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with running("Orthanc", ["Orthanc", str(folder / "orthanc.json")], port, folder) as receiver:
        yield receiver


def serve(data: Path, port: int) -> None:
    """Run our service until SIGTERM (the benchmark's own child process)."""
    from pydantic import SecretStr

    from dicomsvc.config import DatabaseSettings, Settings, StoreSettings
    from dicomsvc.dimse import DimseServer
    from dicomsvc.service.dimse import SERVICES
    from dicomsvc.store import Store
    from dicomsvc.store.database import make_engine, migrate
    from dicomsvc.store.embedded import start_embedded

    data.mkdir()
    data.chmod(0o755)
    embedded = start_embedded(data)
    settings = Settings(
        data=data,
        database=DatabaseSettings(url=SecretStr(embedded.url)),
        store=StoreSettings(disk_reserve_mb=0),
        dimse={"bind": f"127.0.0.1:{port}"},
    )
    engine = make_engine(settings.database)
    migrate(engine)
    engine.dispose()
    stopped = signal.sigwait
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with Store(settings) as store:
        server = DimseServer(settings.dimse, SERVICES, store)
        server.start()
        stopped({signal.SIGTERM})
        server.stop(5)
    embedded.stop()


def send(receiver: Receiver, files: list[Path], *options: str) -> float:
    """Send files with one `storescu`; return the seconds it took."""
    os.sync()
    started = time.perf_counter()
    sent = subprocess.run(
        ["storescu", "-R", *options, "127.0.0.1", str(receiver.port), *map(str, files)],
        check=False,
        capture_output=True,
        text=True,
    )
    if sent.returncode or "Failed" in sent.stderr or "Refused" in sent.stderr:
        raise SystemExit(f"{receiver.name}: {sent.stderr[-500:]}")
    return time.perf_counter() - started


def kilobytes(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def growth_mb(pid: int, before_kb: int) -> float:
    return (kilobytes(pid, "VmHWM") - before_kb) / 1024


def big(receivers: list[Receiver], path: Path, uids: Uids, rounds: int) -> None:
    size_mb = path.stat().st_size / 1e6
    seconds: dict[str, list[float]] = {receiver.name: [] for receiver in receivers}
    before = {receiver.name: kilobytes(receiver.pid, "VmRSS") for receiver in receivers}
    cpu: dict[str, float] = {}
    for number in range(rounds):
        for receiver in receivers:
            if receiver.name == "Orthanc" and number:
                continue
            uids.renew(path)
            used = cpu_seconds(receiver.pid)
            seconds[receiver.name].append(send(receiver, [path], "-xy"))
            cpu[receiver.name] = cpu_seconds(receiver.pid) - used
    report(
        f"one instance of {size_mb:.0f} MB, MB/s (median of {rounds}; Orthanc once)",
        {name: size_mb / statistics.median(taken) for name, taken in seconds.items()},
    )
    for receiver in receivers:
        print(
            f"    {receiver.name}: {growth_mb(receiver.pid, before[receiver.name]):.0f} MB of growth,"
            f" {cpu[receiver.name]:.2f} CPU s"
        )


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def small(receivers: list[Receiver], files: list[Path], uids: Uids) -> None:
    rates = {}
    for receiver in receivers:
        for file in files:
            uids.renew(file)
        count = min(len(files), 100) if receiver.name == "Orthanc" else len(files)
        rates[receiver.name] = count / send(receiver, files[:count], "-xy")
    report(f"{len(files)} instances of {files[0].stat().st_size / 1e3:.0f} kB, instances/s (Orthanc: 100)", rates)


def report(title: str, rates: dict[str, float]) -> None:
    ours = rates["dicomsvc"]
    print(f"{title}; load {os.getloadavg()[0]:.1f}")
    for name, rate in rates.items():
        ratio = "" if name == "dicomsvc" else f"   dicomsvc is {ours / rate:.2f} times that"
        print(f"    {name:12} {rate:8.1f}{ratio}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=551)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-orthanc", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve, arguments.port)
        return
    uids = Uids()
    with tempfile.TemporaryDirectory(prefix="dicomsvc-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        receivers = [
            stack.enter_context(dicomsvc_receiver(folder)),
            stack.enter_context(storescp_receiver(folder)),
        ]
        if not arguments.without_orthanc and shutil.which("Orthanc"):
            receivers.append(stack.enter_context(orthanc_receiver(folder)))
        time.sleep(1)
        if arguments.megabytes:
            path = folder / "big.dcm"
            write_instance(path, arguments.megabytes * 1_000_000 // (FRAME_BYTES + 8), uids.new())
            big(receivers, path, uids, arguments.rounds)
            path.unlink()
        if arguments.small:
            files = [folder / f"small-{number:05d}.dcm" for number in range(arguments.small)]
            for file in files:
                write_instance(file, 2, uids.new(), 8000)
            small(receivers, files, uids)


if __name__ == "__main__":
    main()
