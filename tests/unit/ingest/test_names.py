"""Names that clients give files."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomsvc.errors import DicomsvcError, UnsupportedMediaType
from dicomsvc.ingest.names import own_name


@given(st.text(max_size=300))
def test_whatever_the_name_the_path_is_plain_and_stays_below(name: str) -> None:
    try:
        path = own_name(name)
    except DicomsvcError:
        return
    assert not path.is_absolute()
    assert ".." not in path.parts
    for part in path.parts:
        assert part.isascii() and not part.startswith(".") and 0 < len(part) <= 80
        assert all(character.isalnum() or character in "_-." for character in part)


def test_plain_names_are_kept() -> None:
    assert own_name("S21-1234_A1.SVS") == PurePosixPath("S21-1234_A1.svs")
    assert own_name("disc/DICOMDIR") == PurePosixPath("disc/DICOMDIR")


@pytest.mark.parametrize("stem", ["Müller, Eva", "A.B", "切片 1", "a" * 200])
def test_the_file_and_the_folder_of_a_mirax_slide_stay_together(stem: str) -> None:
    index = own_name(f"{stem}.mrxs")
    data = own_name(f"{stem}/Slidedat.ini")
    assert index.suffix == ".mrxs" and index.stem == data.parts[0]
    assert data.name == "Slidedat.ini"


def test_two_names_stay_two() -> None:
    assert own_name("a b.svs") != own_name("a_b.svs") != own_name("a?b.svs")


@pytest.mark.parametrize("name", ["slides.zip", "x/y.TAR", "slides.tar.gz"])
def test_archives_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        own_name(name)


def test_an_unknown_suffix_becomes_harmless() -> None:
    assert "." not in own_name("run.sh").name
