"""A folder gets all instances of a slide, or none."""

from pathlib import Path

import pytest

from dicomsvc.errors import ConversionError
from dicomsvc.ingest.convert import FolderSink


def test_files_appear_when_all_went_well(tmp_path: Path) -> None:
    with FolderSink(tmp_path / "out") as sink:
        for name in ("1.2", "1.3"):
            sink.open(name).write(name.encode())
        assert list((tmp_path / "out").glob("[!.]*")) == []
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        "1.2.dcm": "1.2",
        "1.3.dcm": "1.3",
    }


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), FolderSink(tmp_path) as sink:
        sink.open("1.2").write(b"data")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "1.3.dcm").write_bytes(b"precious")
    with pytest.raises(ConversionError), FolderSink(tmp_path) as sink:
        sink.open("1.2").write(b"new")
        sink.open("1.3").write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["1.3.dcm"]
    assert (tmp_path / "1.3.dcm").read_bytes() == b"precious"


def test_discarded_files_are_not_published(tmp_path: Path) -> None:
    with FolderSink(tmp_path) as sink:
        sink.open("1.2").discard()
        sink.open("1.3").write(b"kept")
    assert [path.name for path in tmp_path.iterdir()] == ["1.3.dcm"]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConversionError):
        FolderSink(tmp_path / "file" / "out")
