"""Documents with the fields of pathology reports are valid for dicom3tools and readable, Chinese too, for DCMTK."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicomsvc.objects.report import ResultReference, report_file
from dicomsvc.reports.sr import report_sr
from dicomsvc.reports.values import Quality
from tests.conftest import require_program
from tests.unit.objects.result_slide import EQUIPMENT, identity, slide
from tests.unit.reports.exchange_case import CASE, REPORT, SIGNED

pytestmark = pytest.mark.peer


def document(*, signed: bool, referenced: bool, language: str = "en") -> Dataset:
    source = slide()
    finest = source.levels[0]
    image = ResultReference(source.series_instance_uid, finest.sop_class_uid, finest.sop_instance_uid)
    return report_sr(
        replace(REPORT, quality=Quality(1.0, language, True)),
        replace(CASE, sign_off=SIGNED if signed else None),
        source.dataset,
        identity("report"),
        EQUIPMENT,
        referenced=[image] if referenced else (),
        predecessors=[image] if signed else (),
    )


def saved(ds: Dataset, folder: Path) -> Path:
    path = folder / "report.dcm"
    path.write_bytes(report_file(ds))
    return path


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("referenced", [True, False], ids=["with slides", "alone"])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "not signed"])
def test_report_document_is_valid(signed: bool, referenced: bool, language: str, tmp_path: Path) -> None:
    path = saved(document(signed=signed, referenced=referenced, language=language), tmp_path)
    done = subprocess.run([require_program("dciodvfy"), "-new", str(path)], capture_output=True, text=True, check=False)
    assert "EnhancedSR" in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith(("Error", "Abort"))] == []


def test_dcmtk_shows_chinese_evidence_and_who_verified(tmp_path: Path) -> None:
    path = saved(document(signed=True, referenced=True), tmp_path)
    shown = subprocess.run(
        [require_program("dsrdump"), "+U8", "+Pl", str(path)], capture_output=True, check=True
    ).stdout.decode("utf-8")
    assert "左肾 Left kidney" in shown
    assert "hilar 肾门" in shown
    assert "王^小东" in shown and "李^四" in shown
    assert '<inferred from TEXT:(,,"Text of Report")="LVI: not identified">' in shown
    assert '(272519000,SCT,"Absent")' in shown
