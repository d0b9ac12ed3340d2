"""Measurements have coded names and units, and find back to their names."""

import pytest
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomsvc.errors import InvalidInstance
from dicomsvc.objects.codes import MEASURES, measure, measure_named
from dicomsvc.objects.common import code_item


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_every_measure_is_found_by_its_concept_and_unit(name: str) -> None:
    known = measure(name)
    assert measure_named(known.concept, known.unit) == known


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_every_concept_fits_the_code_sequence_macro(name: str) -> None:
    for code in (measure(name).concept, measure(name).unit):
        item = code_item(code)
        assert 0 < len(item.CodeValue) <= 16
        assert 0 < len(item.CodeMeaning) <= 64


def test_micrometres_and_millimetres_are_told_apart() -> None:
    assert measure("area_um2").concept == measure("area_mm2").concept
    assert measure_named(codes.SCT.Area, codes.UCUM.SquareMillimeter).name == "area_mm2"


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("nuclear_area_um2", "um2"),
        ("mean_cd3_intensity", "1"),
        ("tumour_cells_per_mm2", "/mm2"),
        ("stroma_percent", "%"),
        ("a_name_that_is_much_longer_than_a_code_value_may_be", "1"),
    ],
)
def test_a_name_of_a_model_s_own_becomes_a_private_concept_and_comes_back(name: str, unit: str) -> None:
    made = measure(name)
    assert made.concept.scheme_designator == "99DICOMSVC"
    assert made.unit.value == unit
    assert len(made.concept.value) <= 16
    assert measure_named(made.concept, made.unit).name == name


def test_names_that_are_no_names_are_refused() -> None:
    for name in ("", "Area", "area um2", "x" * 65, "9lives", "área"):
        with pytest.raises(InvalidInstance):
            measure(name)


def test_a_foreign_measure_is_named_after_its_meaning() -> None:
    found = measure_named(Code("X-1", "99OTHER", "Nuclear Grade (WHO)"), codes.UCUM.NoUnits)
    assert found.name == "nuclear_grade_who"
