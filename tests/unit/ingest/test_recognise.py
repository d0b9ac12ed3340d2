"""What files are, and what a search finds."""

import os
from pathlib import Path

import pytest

from dicomsvc.errors import NotFound
from dicomsvc.ingest.imports import plan
from dicomsvc.ingest.recognise import Kind, companion, recognise, search
from dicomsvc.ingest.requests import ImportOptions
from tests.instances import part10, wsi_dataset

OPTIONS = ImportOptions()


def test_content_goes_before_name(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(part10(wsi_dataset()))
    (tmp_path / "b.svs").write_bytes(b"II*\0")
    (tmp_path / "c.txt").write_bytes(b"text")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    kinds = {found.name: found.kind for found in search(tmp_path)}
    assert kinds == {"a.svs": Kind.DICOM, "b.svs": Kind.SLIDE, "c.txt": Kind.OTHER, "DICOMDIR": Kind.DICOMDIR}
    assert recognise(tmp_path / "nothing") is Kind.OTHER


def test_links_and_pipes_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "real.dcm").write_bytes(b"x")
    (tmp_path / "link.dcm").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.svs")
    assert [found.name for found in search(tmp_path)] == ["real.dcm"]


def test_the_data_of_a_mirax_slide_is_no_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "s.mrxs").write_bytes(b"index")
    (tmp_path / "s").mkdir()
    for name in ("Slidedat.ini", "Data0001.dat"):
        (tmp_path / "s" / name).write_bytes(b"x")
    assert [found.name for found in search(tmp_path)] == ["s.mrxs"]
    assert companion(tmp_path / "s.mrxs") == tmp_path / "s"
    kind, inputs = plan(tmp_path, OPTIONS)
    assert kind == "convert" and inputs["path"].endswith("s.mrxs")


def test_a_plan_is_made_by_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(part10(wsi_dataset()))
    (tmp_path / "b.svs").write_bytes(b"II*\0")
    assert plan(tmp_path / "a.dcm", OPTIONS)[0] == "import"
    assert plan(tmp_path / "b.svs", OPTIONS)[0] == "convert"
    assert plan(tmp_path, OPTIONS)[0] == "import"
    with pytest.raises(NotFound):
        plan(tmp_path / "c", OPTIONS)
