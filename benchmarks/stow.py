"""STOW-RS against Orthanc in one run: one big instance in MB/s, many small ones in instances/s.

Run ``python -m benchmarks.stow [--megabytes N] [--small N] [--rounds N]``. Our durability is on. Small
instances are sent one a request over one connection, then all in requests of 100.
"""

import argparse
import io
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

from benchmarks.servers import own_web_server, running_orthanc, system_load
from dicomsvc.config import Settings
from dicomsvc.store.database import make_engine, migrate
from dicomsvc.store.embedded import with_database

BOUNDARY = "stow-benchmark"
HEADERS = {
    "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
    "Accept": "application/dicom+json",
}
HEAD = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


def _dataset(number: int, study: str, series: str) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), study, series
    ds.Modality, ds.PatientName, ds.PatientID = "SM", f"Test{number}^Slide", f"P{number:08d}"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "20260102", "101112", f"A{number}"
    ds.SeriesNumber, ds.InstanceNumber = 1, number + 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    return ds


def _part10(ds: Dataset) -> bytes:
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def small_instance(number: int, study: str = "", series: str = "") -> bytes:
    """Return an instance with one uncompressed frame of 64 x 64, in a study of its own unless one is given."""
    ds = _dataset(number, study or generate_uid(), series or generate_uid())
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.Rows = ds.Columns = ds.TotalPixelMatrixRows = ds.TotalPixelMatrixColumns = 64
    ds.NumberOfFrames = 1
    ds.PixelData = number.to_bytes(4, "little") * (64 * 64 * 3 // 4)
    ds["PixelData"].VR = "OB"
    return _part10(ds)


def big_instance(path: Path, megabytes: int) -> None:
    """Write an encapsulated instance of that size with frames of 21.5 kB."""
    frame = b"\xff\xd8\xff" + bytes(range(256)) * 84 + b"\xff\xd9\0"
    count = megabytes * 1_000_000 // (len(frame) + 8)
    ds = _dataset(0, generate_uid(), generate_uid())
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.Rows = ds.Columns = 256
    ds.TotalPixelMatrixRows, ds.TotalPixelMatrixColumns = 256, 256 * count
    ds.NumberOfFrames = count
    item = b"\xfe\xff\x00\xe0" + len(frame).to_bytes(4, "little") + frame
    with path.open("wb") as file:
        file.write(_part10(ds))
        file.write(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0")
        for _ in range(count):
            file.write(item)
        file.write(b"\xfe\xff\xdd\xe0\0\0\0\0")


def stow_body(contents: list[bytes]) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a request that stores these instances."""
    body = b"\r\n".join(HEAD + content for content in contents)
    return HEADERS, body + TAIL


def _stream(path: Path) -> Iterator[bytes]:
    yield HEAD
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece
    yield TAIL


def with_new_uid(path: Path, target: Path) -> None:
    """Copy an instance under another SOP Instance UID of the same length."""
    with path.open("rb") as source, target.open("wb") as copy:
        head = source.read(1 << 20)
        at = head.index(b"\x08\x00\x18\x00UI") + 8
        length = int.from_bytes(head[at - 2 : at], "little")
        old = head[at : at + length]
        digits = str(uuid.uuid4().int)[:30].encode()
        new = old[:-32] + digits.ljust(30, b"1") + old[-2:]
        copy.write(head.replace(old.rstrip(b"\0"), new.rstrip(b"\0")))
        while piece := source.read(1 << 20):
            copy.write(piece)


def send_big(root: str, path: Path) -> float:
    """Return MB/s of one request with one instance."""
    size = path.stat().st_size
    length = str(len(HEAD) + size + len(TAIL))
    started = time.perf_counter()
    with httpx.Client(timeout=600) as client:
        answer = client.post(f"{root}/studies", content=_stream(path), headers={**HEADERS, "Content-Length": length})
    taken = time.perf_counter() - started
    assert answer.status_code == 200, (answer.status_code, answer.text[:500])
    return size / 1e6 / taken


def send_small(root: str, contents: list[bytes], together: int) -> float:
    """Return instances/s, ``together`` of them a request."""
    started = time.perf_counter()
    with httpx.Client(timeout=600) as client:
        for start in range(0, len(contents), together):
            headers, body = stow_body(contents[start : start + together])
            answer = client.post(f"{root}/studies", content=body, headers=headers)
            assert answer.status_code == 200, (answer.status_code, answer.text[:500])
    return len(contents) / (time.perf_counter() - started)


def one_study(count: int) -> list[bytes]:
    study, series = generate_uid(), generate_uid()
    return [small_instance(number, study, series) for number in range(count)]


def compare(name: str, unit: str, measure: Callable[[str], float], ours: str, theirs: str, rounds: int) -> None:
    """Measure both, taking turns, and print the medians and their ratio."""
    figures: dict[str, list[float]] = {ours: [], theirs: []}
    for _ in range(rounds):
        for root in (ours, theirs):
            figures[root].append(measure(root))
    own, peer = statistics.median(figures[ours]), statistics.median(figures[theirs])
    verdict = "" if own >= 2 * peer else "  MISSED the bar of 2x"
    print(
        f"{name:42} dicomsvc {own:7.1f} {unit}, Orthanc {peer:7.1f} {unit}, ratio {own / peer:5.1f}{verdict}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=551)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dicomsvc-stow-") as name:
        Path(name).chmod(0o755)
        settings, embedded = with_database(Settings(data=Path(name) / "data"))
        engine = make_engine(settings.database)
        migrate(engine)
        engine.dispose()
        original, copy = Path(name) / "original.dcm", Path(name) / "copy.dcm"
        big_instance(original, arguments.megabytes)

        def big(root: str) -> float:
            with_new_uid(original, copy)
            return send_big(root, copy)

        try:
            with own_web_server(settings) as ours, running_orthanc() as theirs:
                print(f"{arguments.rounds} rounds; {system_load()}")
                own = [child for child in psutil.Process().children() if "python" in child.name()]
                before = max(child.memory_info().rss for child in own)
                size = f"one instance of {arguments.megabytes} MB"
                compare(size, "MB/s", big, ours, theirs, arguments.rounds)
                after = max(child.memory_info().rss for child in own)
                print(f"our process grew by {(after - before) / 1e6:.0f} MB")
                for together in (1, 100):
                    compare(
                        f"{arguments.small} small instances, {together} a request",
                        "instances/s",
                        lambda root, together=together: send_small(root, one_study(arguments.small), together),  # type: ignore[misc]
                        ours,
                        theirs,
                        max(1, arguments.rounds - 1),
                    )
        finally:
            if embedded is not None:
                embedded.stop()


if __name__ == "__main__":
    main()
