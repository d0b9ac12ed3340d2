import subprocess
import sys

PROGRAM = """
import warnings, sys
from pydicom import Dataset
from dicomsvc.logs import configure_logging
configure_logging("DEBUG")
ds = Dataset()
ds.PatientBirthDate = "Marker19700101"
ds.PatientID = "Marker" * 20
ds.to_json()
sys.stderr.write("end")
"""


def test_pydicom_tells_nobody_a_value_that_is_not_valid() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stderr == "end"
