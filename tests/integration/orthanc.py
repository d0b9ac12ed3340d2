"""A running Orthanc as a peer: its DICOM port, and its REST interface to have it call others."""

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import require_program

AE_TITLE = "ORTHANC"


def dicomweb_plugins() -> list[str]:
    """Return the files of its DICOMweb plugin; the test is skipped without."""
    plugins = [str(path) for path in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb*")]
    if not plugins:
        pytest.skip("orthanc-dicomweb is not installed")
    return plugins


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Orthanc:
    """``url`` of its REST interface, and its DICOM port."""

    url: str
    dicom_port: int

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=60).raise_for_status().json()

    def post(self, path: str, document: object) -> Any:
        return httpx.post(self.url + path, json=document, timeout=120).raise_for_status().json()

    def post_file(self, content: bytes) -> None:
        """Put a Part 10 file into it."""
        httpx.post(f"{self.url}/instances", content=content, timeout=120).raise_for_status()

    def files(self) -> dict[str, bytes]:
        """Return every file it holds by SOP Instance UID."""
        found = {}
        for identifier in self.get("/instances"):
            uid = self.get(f"/instances/{identifier}")["MainDicomTags"]["SOPInstanceUID"]
            found[uid] = httpx.get(f"{self.url}/instances/{identifier}/file", timeout=60).raise_for_status().content
        return found

    def query(self, modality: str, level: str, keys: Mapping[str, str]) -> tuple[str, list[dict[str, Any]]]:
        """Have it send a C-FIND; return the query's path and the answers by keyword."""
        path = self.post(f"/modalities/{modality}/query", {"Level": level, "Query": dict(keys)})["Path"]
        numbers = self.get(f"{path}/answers")
        return path, [self.get(f"{path}/answers/{number}/content?simplify") for number in numbers]


@contextmanager
def running_orthanc(modalities: Mapping[str, tuple[str, int]], **more: object) -> Iterator[Orthanc]:
    """Run Orthanc on loopback; it knows ``modalities`` by name, as AE title and port. ``more``: its own settings."""
    program = require_program("Orthanc")
    with tempfile.TemporaryDirectory(prefix="dicomsvc-orthanc-") as name:
        http_port, dicom_port = a_free_port(), a_free_port()
        configuration = Path(name) / "orthanc.json"
        known = {key: {"AET": title, "Host": "127.0.0.1", "Port": port} for key, (title, port) in modalities.items()}
        settings = {
            "StorageDirectory": f"{name}/store",
            "IndexDirectory": f"{name}/index",
            "HttpPort": http_port,
            "DicomPort": dicom_port,
            "DicomAet": AE_TITLE,
            "DefaultEncoding": "Utf8",
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": known,
            "Plugins": [],
            **more,
        }
        configuration.write_text(json.dumps(settings))
        process = subprocess.Popen([program, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{http_port}"
            _await(url)
            yield Orthanc(url, dicom_port)
        finally:
            process.terminate()
            process.wait(30)


def _await(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(url + "/system", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "Orthanc does not answer"
        time.sleep(0.1)
