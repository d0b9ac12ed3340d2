"""Untrusted objects are cleaned, or refused by our own errors; nothing is left behind, and memory stays flat."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    RawDataStorage,
    SecondaryCaptureImageStorage,
)

from dicomsvc.deidentify import Deidentifier, Profile
from dicomsvc.errors import DicomsvcError, NotParseable, OutOfResources
from tests.instances import part10, wsi_dataset
from tests.unit.deidentify.marked import MARKER, plant

SECRET = b"a secret of this test, long enough"
DEIDENTIFIER = Deidentifier(Profile(), SECRET)


@pytest.fixture(scope="module")
def whole() -> bytes:
    ds = wsi_dataset(patient_name=MARKER)
    item = Dataset()
    item.ReferencedInstanceSequence = [plant(Dataset())]
    ds.ReferencedSeriesSequence = [item]
    return part10(plant(ds))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_objects_are_cleaned_or_refused(whole: bytes, data: st.DataObject, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(132, len(changed) - 1))
        changed[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    folder = tmp_path_factory.mktemp("mutated")
    source, target = folder / "a.dcm", folder / "b.dcm"
    source.write_bytes(changed)
    try:
        made = DEIDENTIFIER.write(source, target)
    except DicomsvcError as error:
        assert MARKER not in str(error)
        assert not target.exists()
    else:
        assert target.exists() == (made is not None)


def test_sequences_nested_too_deep_are_refused(tmp_path: Path) -> None:
    ds = inner = Dataset()
    for _ in range(40):
        inner.ReferencedSeriesSequence = [Dataset()]
        inner = inner.ReferencedSeriesSequence[0]
    whole = wsi_dataset()
    whole.ReferencedSeriesSequence = ds.ReferencedSeriesSequence
    (tmp_path / "deep.dcm").write_bytes(part10(whole))
    with pytest.raises(NotParseable):
        DEIDENTIFIER.write(tmp_path / "deep.dcm", tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()


def test_text_in_an_offset_table_does_not_go_out(tmp_path: Path) -> None:
    ds = wsi_dataset()
    ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = (MARKER.encode() * 4)[:32], (MARKER.encode() * 4)[:32]
    content = part10(ds)
    frames = content.index(b"\xfe\xff\x00\xe0") + 4
    length = int.from_bytes(content[frames : frames + 4], "little")
    table = (MARKER.encode() * 4)[:length]
    assert length == 16
    (tmp_path / "a.dcm").write_bytes(content[: frames + 4] + table + content[frames + 4 + length :])
    DEIDENTIFIER.write(tmp_path / "a.dcm", tmp_path / "b.dcm")
    clean = dcmread(tmp_path / "b.dcm")
    assert MARKER.encode() not in (tmp_path / "b.dcm").read_bytes() and "ExtendedOffsetTable" not in clean
    del ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths
    assert (clean.pixel_array == ds.pixel_array).all()


@pytest.mark.parametrize("size", [70_000, 3_000_000])
def test_huge_texts_do_not_go_out(size: int, tmp_path: Path) -> None:
    ds = wsi_dataset()
    ds.TextComments = MARKER * (size // len(MARKER))
    ds.SegmentLabel = "x"
    ds.add_new(0x00080119, "UC", MARKER * (size // len(MARKER)))
    (tmp_path / "a.dcm").write_bytes(part10(ds))
    DEIDENTIFIER.write(tmp_path / "a.dcm", tmp_path / "b.dcm")
    assert MARKER.encode() not in (tmp_path / "b.dcm").read_bytes()


@pytest.mark.parametrize(
    "sop_class", [EncapsulatedPDFStorage, RawDataStorage, "1.2.3.4.5", "1.2.840.10008.5.1.4.1.1.11.1"]
)
def test_objects_that_cannot_be_cleaned_stay(sop_class: str, tmp_path: Path) -> None:
    ds = wsi_dataset()
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    (tmp_path / "a.dcm").write_bytes(part10(ds))
    assert DEIDENTIFIER.write(tmp_path / "a.dcm", tmp_path / "b.dcm") is None
    assert not (tmp_path / "b.dcm").exists()
    assert DEIDENTIFIER.judge(tmp_path / "a.dcm").reason


@pytest.mark.parametrize(
    ("sop_class", "flavour", "burned_in", "goes"),
    [
        (None, "VOLUME", "NO", True),
        (None, "VOLUME", "YES", False),
        (None, "THUMBNAIL", "NO", True),
        (None, "LABEL", "NO", False),
        (None, "OVERVIEW", "YES", False),
        (None, "LOCALIZER", "NO", False),
        (SecondaryCaptureImageStorage, "VOLUME", "NO", True),
        (SecondaryCaptureImageStorage, "VOLUME", "YES", False),
        (SecondaryCaptureImageStorage, "VOLUME", "", False),
    ],
)
def test_pixels_that_may_show_text_stay(
    sop_class: str | None, flavour: str, burned_in: str, goes: bool, tmp_path: Path
) -> None:
    ds = wsi_dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY", flavour, "NONE"]
    ds.BurnedInAnnotation = burned_in
    if sop_class is not None:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    (tmp_path / "a.dcm").write_bytes(part10(ds))
    assert (DEIDENTIFIER.write(tmp_path / "a.dcm", tmp_path / "b.dcm") is not None) == goes


def test_documents_stay_without_the_option_that_cleans_them(tmp_path: Path) -> None:
    ds = wsi_dataset()
    for element in list(ds):
        if element.tag.group in (0x0028, 0x0048, 0x7FE0):
            del ds[element.tag]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    (tmp_path / "a.dcm").write_bytes(part10(ds))
    assert DEIDENTIFIER.write(tmp_path / "a.dcm", tmp_path / "b.dcm") is not None
    strict = Deidentifier(Profile(clean_structured_content=False), SECRET)
    assert strict.write(tmp_path / "a.dcm", tmp_path / "c.dcm") is None


def test_a_target_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(part10(wsi_dataset()))
    (tmp_path / "b.dcm").write_bytes(b"here before")
    with pytest.raises(OutOfResources):
        DEIDENTIFIER.write(tmp_path / "a.dcm", tmp_path / "b.dcm")
    assert (tmp_path / "b.dcm").read_bytes() == b"here before"


def test_a_stream_gets_what_a_file_gets(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(part10(wsi_dataset()))
    stream = io.BytesIO()
    made = DEIDENTIFIER.write(tmp_path / "a.dcm", stream)
    DEIDENTIFIER.write(tmp_path / "a.dcm", tmp_path / "b.dcm")
    assert made is not None and stream.getvalue() == (tmp_path / "b.dcm").read_bytes()
    assert made.size == len(stream.getvalue())
    assert str(dcmread(tmp_path / "b.dcm").SOPInstanceUID) == made.sop_instance_uid


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(part10(wsi_dataset()))
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from dicomsvc.deidentify import *; from dicomsvc.errors import OutOfResources\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: Deidentifier(Profile(), b'x' * 32).write(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except OutOfResources: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.dcm"), str(tmp_path / "b.dcm")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "refused\n", done.stderr
    assert not (tmp_path / "b.dcm").exists()


@pytest.mark.slow
@pytest.mark.parametrize("native", [True, False], ids=["native", "jpeg"])
def test_memory_stays_flat(native: bool, tmp_path: Path) -> None:
    """Clean a gigabyte; the process grows by less than 100 MB."""
    big = tmp_path / "big.dcm"
    write_big(big, native=native)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from dicomsvc.deidentify import *\n"
        "d = Deidentifier(Profile(), b'x' * 32); d.write(Path(sys.argv[2]), Path(sys.argv[3]).with_suffix('.small'))\n"
        "def anonymous():\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith('RssAnon'))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, anonymous()\n"
        "made = d.write(Path(sys.argv[1]), Path(sys.argv[3]))\n"
        "print(made.size, anonymous() - before[1])\n"
    )
    small = tmp_path / "small.dcm"
    small.write_bytes(part10(wsi_dataset()))
    done = subprocess.run(
        [sys.executable, "-c", code, str(big), str(small), str(tmp_path / "out.dcm")],
        capture_output=True,
        text=True,
        check=True,
    )
    size, grown_kb = map(int, done.stdout.split())
    assert abs(size - big.stat().st_size) < 10_000
    assert grown_kb < 100_000


def write_big(path: Path, *, native: bool) -> None:
    ds = wsi_dataset(frames=4, tile=64)
    frames = 16384
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames, 144, 144
    if native:
        ds.PhotometricInterpretation = "RGB"
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    body = (
        b"\xff\xd8\xff\xfe\x00\x0cPATMARKER"
        + bytes(1)
        + b"\xff\xda\x00\x02"
        + b"\x01" * (144 * 144 * 3 - 20)
        + b"\xff\xd9"
    )
    assert len(body) % 2 == 0
    del ds.PixelData
    head = part10(ds)
    with path.open("wb") as file:
        file.write(head)
        if native:
            length = 144 * 144 * 3 * frames
            file.write(b"\xe0\x7f\x10\x00OB\0\0" + length.to_bytes(4, "little"))
            for _ in range(frames):
                file.write(b"\x80" * (144 * 144 * 3))
            return
        file.write(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\0\0\0\0")
        for _ in range(frames):
            file.write(b"\xfe\xff\x00\xe0" + len(body).to_bytes(4, "little") + body)
        file.write(b"\xfe\xff\xdd\xe0\0\0\0\0")
