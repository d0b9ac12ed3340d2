"""A small archive behind a running DICOM service, and peers' programs that ask it."""

import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread

from dicomsvc.dimse import Peer, PeerFailure, echo
from dicomsvc.store import Source, Store, Stored
from tests.conftest import require_program
from tests.instances import part10, wsi_dataset


def keep(store: Store, *data_sets: Dataset) -> list[Stored]:
    """Store data sets as if they had been received."""
    stored = []
    for ds in data_sets:
        with store.spool() as spooled:
            spooled.write(part10(ds))
            stored.append(store.add(spooled, Source("dimse", "TEST", "127.0.0.1")))
    return stored


def make_archive(store: Store) -> list[Dataset]:
    """Store three patients: one with two studies, of which one has two series; one with a Chinese name."""
    studies = [
        {"patient_name": "Adams^Anna", "patient_id": "P-1", "study_instance_uid": "1.2.3.1"},
        {"patient_name": "Adams^Anna", "patient_id": "P-1", "study_instance_uid": "1.2.3.2"},
        {"patient_name": "Brown^Bob", "patient_id": "P-2", "study_instance_uid": "1.2.3.3"},
        {"patient_name": "Wang^XiaoDong=王^小东", "patient_id": "P-3", "study_instance_uid": "1.2.3.4"},
    ]
    made = []
    for number, of_study in enumerate(studies):
        uid = of_study["study_instance_uid"]
        for series in range(2 if number == 0 else 1):
            for instance in range(2):
                ds = wsi_dataset(
                    **of_study,
                    series_instance_uid=f"{uid}.{series + 1}",
                    sop_instance_uid=f"{uid}.{series + 1}.{instance + 1}",
                    instance_number=instance + 1,
                    seed=number * 10 + series * 4 + instance,
                    frames=2,
                )
                ds.SeriesNumber = series + 1
                ds.StudyDate, ds.AccessionNumber = f"2026010{number + 1}", f"A{number + 1}"
                ds.StudyDescription = f"Slide {number + 1}"
                made.append(ds)
    keep(store, *made)
    return made


@dataclass(frozen=True)
class Answers:
    """What a query of a peer's program brought."""

    identifiers: list[Dataset]
    output: str

    def values(self, keyword: str) -> list[str]:
        return sorted(str(identifier.get(keyword)) for identifier in self.identifiers)


def findscu(port: int, folder: Path, *arguments: str, keys: Sequence[str] = ()) -> Answers:
    """Ask with DCMTK's findscu; the responses come back as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("rsp*.dcm"):
        old.unlink()
    key_arguments = [part for key in keys for part in ("-k", key)]
    command = [require_program("findscu"), "-v", "-X", "-od", str(folder), *arguments, *key_arguments]
    done = subprocess.run(
        [*command, "127.0.0.1", str(port)], capture_output=True, text=True, timeout=60, check=False, errors="replace"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [dcmread(path, force=True) for path in sorted(folder.glob("rsp*.dcm"))]
    return Answers(found, done.stdout + done.stderr)


class Receiver:
    """A running `storescp` that writes to a folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self._arguments = arguments
        self.port = 0

    def __enter__(self) -> "Receiver":
        self.folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [require_program("storescp"), "+B", "+xa", "-od", str(self.folder), *self._arguments, str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                echo(Peer("127.0.0.1", self.port))
                return self
            except PeerFailure:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
