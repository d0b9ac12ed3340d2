"""Servers that benchmarks measure: our DICOMweb routes in a process of their own, an Orthanc."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from dicomsvc.config import Settings

ORTHANC = "/usr/sbin/Orthanc"
ORTHANC_DICOMWEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


def system_load() -> str:
    """Return what the figures of a shared machine should be read with."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def _serve(settings: Settings, ready: Connection) -> None:
    import uvicorn
    from starlette.applications import Starlette

    from dicomsvc.dicomweb import search_routes, store_routes
    from dicomsvc.store import Store

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    with Store(settings) as store:
        app = Starlette(routes=[*store_routes(store, settings), *search_routes(store, settings)])
        config = uvicorn.Config(
            app, loop="uvloop", http="httptools", access_log=False, log_level="warning", lifespan="off"
        )
        ready.send(listener.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def own_web_server(settings: Settings) -> Iterator[str]:
    """Serve the store of ``settings``, whose database is migrated; yields the DICOMweb root."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(settings, sending))
    process.start()
    try:
        root = f"http://127.0.0.1:{receiving.recv()}/dicomweb"
        _await(root + "/studies?limit=0")
        yield root
    finally:
        if process.pid is not None:
            os.kill(process.pid, signal.SIGTERM)
        process.join(10)
        process.kill()


def _serve_dicom(settings: Settings, ready: Connection) -> None:
    from dicomsvc.dimse import DimseServer
    from dicomsvc.service.dimse import SERVICES
    from dicomsvc.store import Store

    with Store(settings) as store:
        server = DimseServer(settings.dimse, SERVICES, store)
        server.start()
        ready.send(server.port)
        ready.recv()
        server.stop(1)


@contextmanager
def own_dicom_server(settings: Settings) -> Iterator[int]:
    """Serve the store of ``settings``, whose database is migrated, by DICOM in a process; yields the port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_dicom, args=(settings, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join(10)
        process.kill()


@contextmanager
def running_orthanc() -> Iterator[str]:
    """Run Orthanc with its DICOMweb plugin on loopback; yields its DICOMweb root."""
    with running_orthanc_ports() as (port, _):
        yield f"http://127.0.0.1:{port}/dicom-web"


@contextmanager
def running_orthanc_ports(folder: str | None = None) -> Iterator[tuple[int, int]]:
    """Run Orthanc with its DICOMweb plugin on loopback, its data below ``folder``; yields its HTTP and DICOM port."""
    with tempfile.TemporaryDirectory(prefix="dicomsvc-orthanc-", dir=folder) as name:
        port, dicom_port = _free_port(), _free_port()
        configuration = Path(name) / "orthanc.json"
        configuration.write_text(
            json.dumps(
                {
                    "StorageDirectory": f"{name}/store",
                    "IndexDirectory": f"{name}/index",
                    "HttpPort": port,
                    "DicomPort": dicom_port,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomAlwaysAllowFind": True,
                    "StoreMD5ForAttachments": False,
                    "SyncStorageArea": False,
                    "OverwriteInstances": True,
                    "Plugins": [ORTHANC_DICOMWEB],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
            )
        )
        process = subprocess.Popen([ORTHANC, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await(f"http://127.0.0.1:{port}/dicom-web/studies?limit=1")
            yield port, dicom_port
        finally:
            process.terminate()
            process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"no answer from {url}")
        time.sleep(0.1)
