"""Frames of a large instance by HTTP: processor time a request, beside nginx and a bare ASGI application.

Makes one instance of 25,600 JPEG frames (551 MB), stores it, and asks for random frames with ``wrk`` at 1, 8 and 32
connections: of the whole service, of `FrameApp` alone, of an ASGI application that does nothing but the same ``pread``,
and of nginx with the same bytes as files. Then lists of 500 frames. Figures are medians of three rounds. Processor time
is that of the server's process: it is steadier than the rate on a machine that others use too.

Run ``python -m benchmarks.frames [--seconds N] [--frames N]``.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import re
import signal
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import psutil

from benchmarks.servers import system_load
from dicomsvc.config import Settings
from dicomsvc.store import Source, Store
from dicomsvc.store.database import make_engine, migrate
from dicomsvc.store.embedded import with_database
from dicomsvc.wsi.frame_reader import open_frames
from tests.instances import part10, wsi_dataset

FRAME_BYTES = 21_512
FILES = 2000
ACCEPT = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
WRK_SCRIPT = """
local prefix, count = "{prefix}", {count}
math.randomseed(os.time())
wrk.headers["Accept"] = '{accept}'
request = function() return wrk.format("GET", prefix .. math.random(count)) end
"""
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 256; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; default_type image/jpeg;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; root {folder}/files; }} }}
"""
Serve = Callable[[Settings, Connection], None]


@dataclass(frozen=True)
class Place:
    """The instance: its UIDs, its file, where its first frame lies and how far the next one is."""

    uids: tuple[str, str, str]
    path: Path
    offset: int
    stride: int
    frames: int


def write_instance(store: Store, frames: int) -> Place:
    """Store an instance of so many frames of `FRAME_BYTES`, written piece by piece."""
    ds = wsi_dataset(frames=4, tile=256)
    ds.NumberOfFrames = frames
    ds.TotalPixelMatrixColumns, ds.TotalPixelMatrixRows = 256 * 160, 256 * -(-frames // 160)
    ds.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
    head = part10(ds)
    with store.spool() as spooled:
        spooled.write(head[:-8])
        for first in range(0, frames, 256):
            pieces = []
            for _ in range(first, min(first + 256, frames)):
                content = b"\xff\xd8\xff\xe0" + random.randbytes(FRAME_BYTES - 6) + b"\xff\xd9"
                pieces.append(struct.pack("<II", 0xE000FFFE, FRAME_BYTES) + content)
            spooled.write(b"".join(pieces))
        spooled.write(head[-8:])
        store.add(spooled, Source("import"))
    uids = (str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID))
    (record,) = store.instances.find(*uids)
    index = open_frames(store, record).index
    ((offset, _),) = index.ranges(1)
    return Place(uids, record.path, offset, FRAME_BYTES + 8, frames)


def serve_service(settings: Settings, ready: Connection) -> None:
    from dicomsvc.web import build_app

    with Store(settings) as store:
        _run(build_app(store), ready)


def serve_frame_app(settings: Settings, ready: Connection) -> None:
    from dicomsvc.dicomweb import FrameApp

    with Store(settings) as store:
        _run(FrameApp(store, settings), ready)


class BareApp:
    """The least that an ASGI application can do: number, offset, read, send."""

    def __init__(self, place: Place) -> None:
        from array import array

        self._fd = os.open(place.path, os.O_RDONLY)
        self._offsets = array("Q", range(place.offset, place.offset + place.stride * place.frames, place.stride))

    def __call__(self, settings: Settings, ready: Connection) -> None:
        _run(self._answer, ready)

    async def _answer(self, scope, receive, send) -> None:
        number = int(scope["path"].rpartition("/")[2])
        body = os.pread(self._fd, FRAME_BYTES, self._offsets[number - 1])
        length = str(len(body)).encode()
        headers = [(b"content-type", b"image/jpeg"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def serve_bare(place: Place) -> Serve:
    def serve(settings: Settings, ready: Connection) -> None:
        BareApp(place)(settings, ready)

    return serve


def _run(app, ready: Connection) -> None:
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        interface="asgi3",
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )
    ready.send(listener.getsockname()[1])
    uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def running(serve: Serve, settings: Settings) -> Iterator[tuple[int, int]]:
    """Run a server in a process of its own; yields its process and port."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=serve, args=(settings, sending))
    process.start()
    try:
        port = receiving.recv()
        time.sleep(0.5)
        yield process.pid or 0, port
    finally:
        os.kill(process.pid or 0, signal.SIGTERM)
        process.join(10)
        process.kill()


@contextlib.contextmanager
def nginx(place: Place) -> Iterator[tuple[int, int]]:
    """Serve the first frames as files."""
    with tempfile.TemporaryDirectory(prefix="dicomsvc-nginx-") as name, socket.socket() as probe:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "files").mkdir()
        with place.path.open("rb") as file:
            for number in range(1, FILES + 1):
                file.seek(place.offset + (number - 1) * place.stride)
                (folder / "files" / str(number)).write_bytes(file.read(FRAME_BYTES))
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
        process = subprocess.Popen(["/usr/sbin/nginx", "-c", f"{folder}/nginx.conf"], stderr=subprocess.DEVNULL)
        try:
            time.sleep(1)
            yield process.pid, port
        finally:
            process.terminate()
            process.wait(10)


def measure(pid: int, port: int, prefix: str, count: int, connections: int, seconds: int) -> tuple[float, float, float]:
    """Return requests a second, microseconds of the server's processor time a request, 99th percentile in ms."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT.format(prefix=prefix, count=count, accept=ACCEPT))
        script.flush()
        before = sum(psutil.Process(pid).cpu_times()[:2])
        output = subprocess.run(
            [
                "wrk",
                "-t1",
                f"-c{connections}",
                f"-d{seconds}s",
                "--latency",
                "-s",
                script.name,
                f"http://127.0.0.1:{port}",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        used = sum(psutil.Process(pid).cpu_times()[:2]) - before
    assert "Non-2xx" not in output and "Socket errors" not in output, output
    requests = int(re.search(r"(\d+) requests in", output)[1])
    amount, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", output).groups()
    return requests / seconds, used / requests * 1e6, float(amount) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]


def compare(settings: Settings, place: Place, seconds: int) -> None:
    path = "/dicomweb/studies/{}/series/{}/instances/{}/frames/".format(*place.uids)
    contenders = {
        "nginx": (nginx(place), "/", FILES),
        "bare ASGI": (running(serve_bare(place), settings), path, place.frames),
        "FrameApp": (running(serve_frame_app, settings), path, place.frames),
        "service": (running(serve_service, settings), path, place.frames),
    }
    with contextlib.ExitStack() as stack:
        servers = {
            name: (*stack.enter_context(server), prefix, count) for name, (server, prefix, count) in contenders.items()
        }
        for pid, port, prefix, count in servers.values():
            measure(pid, port, prefix, count, 2, 1)
        print("connections server     requests/s  CPU us  p99 ms  x nginx  x bare")
        for connections in (1, 8, 32):
            cost = {}
            for name, (pid, port, prefix, count) in servers.items():
                rounds = [measure(pid, port, prefix, count, connections, seconds) for _ in range(3)]
                rate, cost[name], p99 = (statistics.median(column) for column in zip(*rounds, strict=True))
                ratios = f"{cost[name] / cost['nginx']:8.1f} {cost[name] / cost.get('bare ASGI', cost[name]):7.2f}"
                print(f"{connections:11} {name:<10} {rate:10.0f} {cost[name]:7.0f} {p99:7.2f} {ratios}")
        pid, port, *_ = servers["service"]
        measure_lists(pid, f"http://127.0.0.1:{port}{path}", place)


def measure_lists(pid: int, url: str, place: Place) -> None:
    """Ask for lists of 500 frames and print the processor time a frame and the growth of the server."""
    process = psutil.Process(pid)
    before, resident = sum(process.cpu_times()[:2]), process.memory_info().rss
    lists, peak = 20, 0
    started = time.perf_counter()
    with httpx.Client() as client:
        for _ in range(lists):
            numbers = ",".join(str(random.randint(1, place.frames)) for _ in range(500))
            with client.stream("GET", url + numbers, headers={"accept": ACCEPT}) as response:
                size = sum(len(piece) for piece in response.iter_raw())
                peak = max(peak, process.memory_info().rss)
            assert response.status_code == 200 and size > 500 * FRAME_BYTES
    elapsed = time.perf_counter() - started
    used = sum(process.cpu_times()[:2]) - before
    print(
        f"lists of 500: {lists * size / elapsed / 1e6:.0f} MB/s, {used / lists / 500 * 1e6:.0f} us of CPU a frame, "
        f"the process grew by {(peak - resident) / 1e6:.1f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--frames", type=int, default=25_600)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dicomsvc-bench-") as name:
        Path(name).chmod(0o755)
        settings, embedded = with_database(Settings(data=Path(name) / "data"))
        try:
            engine = make_engine(settings.database)
            migrate(engine)
            engine.dispose()
            with Store(settings) as store:
                place = write_instance(store, arguments.frames)
            print(
                f"{place.frames} frames of {FRAME_BYTES} bytes, 3 rounds of {arguments.seconds} s each, {system_load()}"
            )
            compare(settings, place, arguments.seconds)
        finally:
            if embedded is not None:
                embedded.stop()


if __name__ == "__main__":
    main()
