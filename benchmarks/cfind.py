"""C-FIND over a large archive, ours against Orthanc's in one run: responses a second, and queries a second.

    python -m benchmarks.cfind [--instances 100000] [--repeat 200] [--without-orthanc]

The client is DCMTK's `findscu`, quiet, for both. Both hold as many studies, series and instances: Orthanc gets them as
files by its REST interface (some minutes; its data lie in memory where there is a /dev/shm), ours as rows of the index,
which is all that a query reads here. Keys are among those that Orthanc keeps in its own index, so that it need not open
files.
"""

import argparse
import io
import subprocess
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.qido import INSTANCES_A_STUDY, fill
from benchmarks.servers import own_dicom_server, running_orthanc_ports, system_load
from dicomsvc.config import Settings
from dicomsvc.store.database import make_engine, migrate
from dicomsvc.store.embedded import with_database

BAR = 3.0
STUDIES_A_POST = 200
MEMORY = Path("/dev/shm")
STUDY_KEYS = ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "AccessionNumber")
IMAGE_KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "InstanceNumber")


@dataclass(frozen=True)
class Measured:
    """A kind of query: its keys, how often it is sent on one association, and how many responses each brings."""

    name: str
    keys: tuple[str, ...]
    times: int
    responses: int


def kinds(instances: int, repeat: int) -> list[Measured]:
    studies = instances // INSTANCES_A_STUDY
    some = studies // 2
    return [
        Measured("all instances", ("QueryRetrieveLevel=IMAGE", *IMAGE_KEYS), 1, instances),
        Measured("all studies", ("QueryRetrieveLevel=STUDY", *STUDY_KEYS), 1, studies),
        Measured("one study by UID", ("QueryRetrieveLevel=STUDY", f"StudyInstanceUID=1.2.826.0.1.{some}"), repeat, 1),
        Measured(
            "one study by accession number", ("QueryRetrieveLevel=STUDY", f"AccessionNumber=A{some:08d}"), repeat, 1
        ),
        Measured(
            "the instances of a series",
            (
                *("QueryRetrieveLevel=IMAGE", f"StudyInstanceUID=1.2.826.0.1.{some}"),
                *(f"SeriesInstanceUID=1.2.826.0.1.{some}.1", "SOPInstanceUID", "InstanceNumber"),
            ),
            repeat,
            INSTANCES_A_STUDY,
        ),
    ]


def findscu(port: int, kind: Measured) -> float:
    """Return how many seconds the query took."""
    keys = [part for key in kind.keys for part in ("-k", key)]
    command = ["findscu", "-q", "-S", "--repeat", str(kind.times), *keys, "127.0.0.1", str(port)]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def require_responses(port: int, kind: Measured) -> None:
    """End when a server does not find what it holds."""
    keys = [part for key in kind.keys for part in ("-k", key)]
    done = subprocess.run(
        ["findscu", "-v", "-S", *keys, "127.0.0.1", str(port)],
        capture_output=True,
        check=True,
        errors="replace",
        text=True,
    )
    found = (done.stdout + done.stderr).count("(Pending)")
    if found != kind.responses:
        raise SystemExit(f"{kind.name}: {found} responses instead of {kind.responses}")


def part10(study: int, number: int) -> bytes:
    """Return an instance as a file; its UIDs and dates are those of the rows that `benchmarks.qido.fill` makes."""
    ds = Dataset()
    uid = f"1.2.826.0.1.{study}"
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.6", f"{uid}.1.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid, f"{uid}.1"
    ds.PatientID, ds.PatientName = f"PID{study * 7919 % 150000:07d}", f"Smith{study % 997}^Anna"
    ds.AccessionNumber = ds.StudyID = f"A{study:08d}"
    ds.StudyDate, ds.StudyTime, ds.StudyDescription = "20260102", "101112", f"Surgical pathology {study % 400}"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "SM", 1, number
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def fill_orthanc(port: int, studies: int) -> None:
    url = f"http://127.0.0.1:{port}/instances"

    with httpx.Client(timeout=600) as client:
        for first in range(1, studies + 1, STUDIES_A_POST):
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w") as packed:
                for study in range(first, min(first + STUDIES_A_POST, studies + 1)):
                    for number in range(1, INSTANCES_A_STUDY + 1):
                        packed.writestr(f"{study}-{number}.dcm", part10(study, number))
            client.post(url, content=archive.getvalue()).raise_for_status()


def compare(ports: list[int], kind: Measured, rounds: int) -> list[float]:
    """Return the responses a second that each server reaches in the best of some rounds, in which they take turns."""
    for port in ports:
        require_responses(port, kind)
    taken = [[findscu(port, kind) for port in ports] for _ in range(rounds)]
    return [kind.times * kind.responses / min(times) for times in zip(*taken, strict=True)]


def report(ports: list[int], measured: list[Measured], rounds: int) -> None:
    print(f"client: findscu; {system_load()}")
    print(f"{'responses a second':32} {'dicomsvc':>10} {'Orthanc':>10} {'ratio':>8}", flush=True)
    for kind in measured:
        ours, *others = compare(ports, kind, rounds)
        line = f"{kind.name:32} {ours:10.0f}"
        for theirs in others:
            ratio = ours / theirs
            line += f" {theirs:10.0f} {ratio:8.1f}{'' if ratio >= BAR else f'  below the bar of {BAR:g}'}"
        print(line, flush=True)
    print(system_load())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--without-orthanc", action="store_true")
    arguments = parser.parse_args()
    measured = kinds(arguments.instances, arguments.repeat)
    studies = arguments.instances // INSTANCES_A_STUDY
    with tempfile.TemporaryDirectory(prefix="dicomsvc-cfind-") as name:
        Path(name).chmod(0o755)
        settings, embedded = with_database(Settings(data=Path(name) / "data", dimse={"bind": "127.0.0.1:0"}))
        try:
            engine = make_engine(settings.database)
            migrate(engine)
            fill(engine, studies)
            engine.dispose()
            with own_dicom_server(settings) as own_port:
                print(f"{studies} studies, {arguments.instances} instances", flush=True)
                if arguments.without_orthanc:
                    report([own_port], measured, arguments.rounds)
                    return
                with running_orthanc_ports(str(MEMORY) if MEMORY.is_dir() else None) as (http_port, dicom_port):
                    started = time.perf_counter()
                    fill_orthanc(http_port, studies)
                    print(f"Orthanc was filled in {time.perf_counter() - started:.0f} s", flush=True)
                    report([own_port, dicom_port], measured, arguments.rounds)
        finally:
            if embedded is not None:
                embedded.stop()


if __name__ == "__main__":
    main()
