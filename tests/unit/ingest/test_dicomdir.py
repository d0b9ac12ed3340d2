"""Which files a DICOMDIR names."""

from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from dicomsvc.errors import NotParseable
from dicomsvc.ingest.dicomdir import referenced_files


def write(folder: Path, *identifiers: object) -> Path:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.DirectoryRecordSequence = []
    for identifier in identifiers:
        record = Dataset()
        record.ReferencedFileID = identifier
        ds.DirectoryRecordSequence.append(record)
    path = folder / "DICOMDIR"
    ds.save_as(path, enforce_file_format=True)
    return path


def test_files_are_named_relative_to_the_dicomdir(tmp_path: Path) -> None:
    dicomdir = write(tmp_path, ["SL", "IM0"], "IM1", "IM1")
    assert referenced_files(dicomdir) == [tmp_path / "SL" / "IM0", tmp_path / "IM1"]


@pytest.mark.parametrize("identifier", [["..", "X"], "../X", "/etc/passwd", ["A", "", "B"], ["link", "passwd"]])
def test_no_file_outside_its_folder_is_named(tmp_path: Path, identifier: object) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(NotParseable):
        referenced_files(write(tmp_path, identifier))


def test_a_damaged_one_is_not_parseable(tmp_path: Path) -> None:
    path = write(tmp_path, "IM1")
    path.write_bytes(path.read_bytes()[:-7])
    try:
        files = referenced_files(path)
    except NotParseable:
        return
    assert files == []
