"""What is too large, or gone, is not rewritten."""

from pathlib import Path

import pytest

from dicomsvc.errors import NotAcceptable, NotFound
from dicomsvc.wsi.native import native_pieces


def test_a_large_instance_without_frames_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    with path.open("wb") as file:
        file.truncate((512 << 20) + 1)
    with pytest.raises(NotAcceptable, match=r"instance 1\.2 is too large to be rewritten"):
        next(native_pieces(path, "1.2", None))


def test_a_file_that_was_deleted_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        next(native_pieces(tmp_path / "gone.dcm", "1.2", None))
