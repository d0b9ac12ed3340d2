"""What stays of a text is what is on a list."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from dicomsvc.deidentify import Deidentifier, Profile
from dicomsvc.deidentify.vocabulary import clinical_words, known_meaning
from tests.instances import part10, wsi_dataset


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("HE stain, John Smith 12.3.1957", "HE stain"),
        ("invasive ductal carcinoma of Mary Jones' breast", "invasive ductal carcinoma of breast"),
        ("20x S26-1234-A Ki-67 (block 3)", "20x Ki-67 block"),
        ("患者王小东 tumour", "tumour"),
        ("Taipei, Dr. Müller", ""),
        ("", ""),
    ],
)
def test_words_of_the_vocabulary_stay(text: str, kept: str) -> None:
    assert clinical_words(text) == kept


@given(st.text(max_size=80))
def test_nothing_is_added_and_numbers_go(text: str) -> None:
    kept = clinical_words(text)
    assert all(word in text for word in kept.split())
    assert clinical_words(kept) == kept


def test_meanings_are_the_standards() -> None:
    assert known_meaning("DCM", "113100") == "Basic Application Confidentiality Profile"
    assert known_meaning("99LOCAL", "113100") is None


def test_a_patient_named_like_a_clinical_word_is_not_named(tmp_path: Path) -> None:
    ds = wsi_dataset(patient_name="Brown^Section^Grey")
    ds.SeriesDescription = "brown stain, tissue section of Brown-Grey"
    ds.OperatorsName = "Block^Anna"
    ds.StudyDescription = "tissue block"
    (tmp_path / "a.dcm").write_bytes(part10(ds))
    Deidentifier(Profile(clean_descriptors=True), b"a secret of this test, long enough").write(
        tmp_path / "a.dcm", tmp_path / "b.dcm"
    )
    clean = dcmread(tmp_path / "b.dcm")
    assert (clean.SeriesDescription, clean.StudyDescription) == ("stain tissue of", "tissue")
