"""A large object is de-identified in little memory: as a whole, and frame by frame."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian

from tests.instances import part10, wsi_dataset

SIZE = 300 << 20
FRAME = 1 << 20
LIMIT_KB = 64 << 10
SCRIPT = """
import re, sys
from pathlib import Path
from dicomsvc.config import Settings
from dicomsvc.deidentify import deidentifier

def most_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

small, large, target = map(Path, sys.argv[1:4])
cleaner = deidentifier(Settings(data=target.parent), "basic")
assert cleaner.write(small, target)
before = most_kb()
assert cleaner.write(large, target.with_name("other.dcm"))
print(most_kb() - before)
"""


@pytest.mark.parametrize("compressed", [True, False])
def test_memory_does_not_grow_with_the_object(tmp_path: Path, compressed: bool) -> None:
    small, large = wsi_dataset(frames=1), wsi_dataset(frames=1)
    count = SIZE // FRAME
    if compressed:
        frame = b"\xff\xd8" + b"\x5a" * (FRAME - 4) + b"\xff\xd9"
        large.PixelData = encapsulate([frame] * count)
        large["PixelData"].VR = "OB"
    else:
        large.Rows = large.Columns = 1024
        large.SamplesPerPixel, large.PhotometricInterpretation = 1, "MONOCHROME2"
        del large.PlanarConfiguration
        large.PixelData = b"\x5a" * SIZE
        large["PixelData"].is_undefined_length = False
        large.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    large.NumberOfFrames = count
    for name, ds in (("small.dcm", small), ("large.dcm", large)):
        (tmp_path / name).write_bytes(part10(ds))
    arguments = (str(tmp_path / name) for name in ("small.dcm", "large.dcm", "target.dcm"))
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "other.dcm").stat().st_size > SIZE
    assert int(done.stdout) < LIMIT_KB
