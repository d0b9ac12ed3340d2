"""C-FIND over a large archive, ours against Orthanc's in one run: responses a second, and queries a second.

    python -m benchmarks.cfind [--instances 100000] [--repeat 200] [--without-orthanc]

Two clients, each the same for both: DCMTK's `findscu`, quiet, which decodes every response and so is a part of what is
measured; and one that only counts the responses in the bytes that come, which leaves the servers. Beside the rates
stands the processor time that the servers take for a response, ours with its database's, counted in hundredths of a
second. Both servers hold as many studies, series and instances: Orthanc gets them as files by its REST interface (some
minutes; its data lie in memory where there is a /dev/shm), ours as rows of the index, which is all that a query reads
here. Keys are among those that Orthanc keeps in its own index, so that it need not open files.
"""

import argparse
import io
import socket
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.processor_time import database_server, listening, seconds_taken
from benchmarks.qido import INSTANCES_A_STUDY, fill
from benchmarks.servers import own_dicom_server, running_orthanc_ports, system_load
from dicomsvc.config import Settings
from dicomsvc.dimse import pdu
from dicomsvc.dimse.channel import pdu_and_pdv_header
from dicomsvc.dimse.commands import AFFECTED_SOP_CLASS_UID, C_FIND_RQ, encode_request
from dicomsvc.dimse.data_set import encode_data_set
from dicomsvc.store.database import make_engine, migrate
from dicomsvc.store.embedded import with_database

BAR = 3.0
STUDIES_A_POST = 200
MEMORY = Path("/dev/shm")
STUDY_KEYS = ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "AccessionNumber")
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STATUS = b"\x00\x00\x00\x09\x02\x00\x00\x00"
PENDING, UNSUPPORTED_PENDING, SUCCESS = STATUS + b"\x00\xff", STATUS + b"\x01\xff", STATUS + b"\x00\x00"
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


def counting(port: int, kind: Measured) -> float:
    """Return how many seconds the query took with a client that does nothing with what comes but count it."""
    query = Dataset()
    for key in kind.keys:
        keyword, _, value = key.partition("=")
        setattr(query, keyword, value)
    context = pdu.ProposedContext(1, STUDY_ROOT_FIND, (str(ExplicitVRLittleEndian),))
    user = pdu.UserInformation(1 << 17, "1.2.826.0.1.3680043.8.498.1")
    request = pdu.encode_associate_request(pdu.AssociateRequest("ANY-SCP", "BENCHMARK", (context,), user))
    command = encode_request(C_FIND_RQ, 1, {AFFECTED_SOP_CLASS_UID: STUDY_ROOT_FIND})
    identifier = encode_data_set(query, str(ExplicitVRLittleEndian))
    message = pdu_and_pdv_header(1, len(command), 3) + command + pdu_and_pdv_header(1, len(identifier), 2) + identifier
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        assert connection.recv(1 << 16)[0] == pdu.A_ASSOCIATE_AC
        for _ in range(kind.times):
            connection.sendall(message)
            found = count_responses(connection)
            if found != kind.responses:
                raise SystemExit(f"{kind.name}: {found} responses instead of {kind.responses}")
        connection.sendall(pdu.encode_release_request())
        connection.recv(1 << 16)
    return time.perf_counter() - started


def count_responses(connection: socket.socket) -> int:
    """Read until the final response, and return how many pending ones came before it."""
    found, rest = 0, b""
    while True:
        received = connection.recv(1 << 20)
        if not received:
            raise SystemExit("the server ended the association")
        chunk = rest + received
        found += chunk.count(PENDING) + chunk.count(UNSUPPORTED_PENDING)
        if SUCCESS in chunk:
            return found
        rest = chunk[1 - len(STATUS) - 2 :]


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
    for first in range(1, studies + 1, STUDIES_A_POST):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as packed:
            for study in range(first, min(first + STUDIES_A_POST, studies + 1)):
                for number in range(1, INSTANCES_A_STUDY + 1):
                    packed.writestr(f"{study}-{number}.dcm", part10(study, number))
        # A connection of its own each: Orthanc closes one that waits for the next archive.
        httpx.post(url, content=archive.getvalue(), timeout=600).raise_for_status()


@dataclass(frozen=True)
class Server:
    """A server's port, and the processes that answer there: of ours also the database."""

    port: int
    processes: list[psutil.Process]


@dataclass(frozen=True)
class Cost:
    """The least that some rounds took, and how much of the server's processors, in seconds."""

    passed: float
    taken: float


def compare(servers: list[Server], kind: Measured, rounds: int, client: Callable[[int, Measured], float]) -> list[Cost]:
    """Return what each server costs in the best of some rounds, in which they take turns."""
    for server in servers:
        require_responses(server.port, kind)
    costs = [[cost(server, kind, client) for server in servers] for _ in range(rounds)]
    return [Cost(min(c.passed for c in each), min(c.taken for c in each)) for each in zip(*costs, strict=True)]


def cost(server: Server, kind: Measured, client: Callable[[int, Measured], float]) -> Cost:
    before = seconds_taken(server.processes)
    passed = client(server.port, kind)
    return Cost(passed, seconds_taken(server.processes) - before)


def report(servers: list[Server], measured: list[Measured], rounds: int) -> None:
    names = [f"{name:>10}" for name in ("dicomsvc", "Orthanc")[: len(servers)]]
    columns = " ".join([*names, *["   ratio"] * (len(servers) - 1)])
    for client in (findscu, counting):
        print(f"client: {client.__name__}; {system_load()}")
        print(f"{'':32} {'responses a second':>{len(columns)}} | {'us of processors a response':>{len(columns)}}")
        print(f"{'':32} {columns} | {columns}", flush=True)
        for kind in measured:
            print(f"{kind.name:32} {line(kind, compare(servers, kind, rounds, client))}", flush=True)
    print(system_load())


def line(kind: Measured, costs: list[Cost]) -> str:
    """Return rates and processor times, each as ours, theirs, and how often ours is the better."""
    responses = kind.times * kind.responses
    rates = [responses / cost.passed for cost in costs]
    taken = [1e6 * cost.taken / responses for cost in costs]
    rate_ratios = [rates[0] / rate for rate in rates[1:]]
    taken_ratios = [other / taken[0] for other in taken[1:] if taken[0]]
    text = " ".join([*(f"{rate:10.0f}" for rate in rates), *(f"{ratio:8.1f}" for ratio in rate_ratios)])
    text += " | " + " ".join([*(f"{each:10.1f}" for each in taken), *(f"{ratio:8.1f}" for ratio in taken_ratios)])
    return text + "".join(f"  below the bar of {BAR:g}" for ratio in rate_ratios if ratio < BAR)


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
            database = database_server(engine)
            engine.dispose()
            with own_dicom_server(settings) as own_port:
                ours = Server(own_port, [listening(own_port), database])
                print(f"{studies} studies, {arguments.instances} instances", flush=True)
                if arguments.without_orthanc:
                    report([ours], measured, arguments.rounds)
                    return
                with running_orthanc_ports(str(MEMORY) if MEMORY.is_dir() else None) as (http_port, dicom_port):
                    started = time.perf_counter()
                    fill_orthanc(http_port, studies)
                    print(f"Orthanc was filled in {time.perf_counter() - started:.0f} s", flush=True)
                    orthanc = Server(dicom_port, [listening(dicom_port)])
                    report([ours, orthanc], measured, arguments.rounds)
        finally:
            if embedded is not None:
                embedded.stop()


if __name__ == "__main__":
    main()
