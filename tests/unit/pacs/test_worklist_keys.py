"""Keys of worklist queries: character sets, sequences, ranges of moments."""

import pytest
from pydicom import Dataset

from dicomsvc.dimse.data_set import decode_data_set
from dicomsvc.errors import DicomsvcError, InvalidIdentifier
from dicomsvc.pacs.worklist.keys import conditions, read_keys
from dicomsvc.store.query.conditions import Parameters
from dicomsvc.store.query.values import Names, Range, Texts

IMPLICIT = "1.2.840.10008.1.2"


def element(tag: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return tag + len(value).to_bytes(4, "little") + value


@pytest.mark.parametrize(
    ("charset", "encoded", "name"),
    [
        ("\\ISO 2022 IR 58", b"\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1\xc3\xf7*", "王^小明*"),
        ("\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B^*", "山田^*"),
        ("\\ISO 2022 IR 149", b"\x1b$)C\xfb\xf3*", "洪*"),
        ("GB18030", "王*".encode("gb18030"), "王*"),
        ("ISO_IR 100", "müller*".encode("latin-1"), "MÜLLER*"),
    ],
)
def test_name_is_read_in_the_character_set_of_the_query(charset: str, encoded: bytes, name: str) -> None:
    identifier = element(b"\x08\x00\x05\x00", charset.encode()) + element(b"\x10\x00\x10\x00", encoded)
    wanted = read_keys(decode_data_set(identifier, IMPLICIT))
    assert wanted.matches == {("00100010",): ("PN", Names((name,)))}


def query(**said: object) -> Dataset:
    ds, step = Dataset(), Dataset()
    for keyword, value in said.items():
        setattr(step, keyword, value)
    ds.ScheduledProcedureStepSequence = [step]
    return ds


def test_keys_in_sequences_are_matched_there_and_shape_what_is_returned() -> None:
    ds = query(Modality="SM", ScheduledProcedureStepID="")
    ds.AccessionNumber, ds.ScheduledSpecimenSequence = "S26*", []
    wanted = read_keys(ds)
    assert wanted.matches == {("00080050",): ("SH", Texts(("S26*",))), ("00400100", "00080060"): ("CS", Texts(("SM",)))}
    assert wanted.shape == {
        "00080005": None,
        "00080050": None,
        "00400100": {"00080060": None, "00400009": None},
        "00400500": None,
    }
    assert list(wanted.shape) == sorted(wanted.shape)
    assert wanted.all_supported


@pytest.mark.parametrize(
    ("date", "time", "condition", "values"),
    [
        ("20260305", "", "start_date >= {0} AND start_date <= {1}", ["20260305", "20260305"]),
        ("20260305-", "", "start_date >= {0}", ["20260305"]),
        (
            "20260305-20260306",
            "1030-0759",
            "(start_date, start_time) >= ({0}, {1}) AND (start_date, start_time) <= ({2}, {3})",
            ["20260305", "103000", "20260306", "075959"],
        ),
        ("-20260306", "-0759", "(start_date, start_time) <= ({0}, {1})", ["20260306", "075959"]),
    ],
)
def test_start_is_one_range_of_moments(date: str, time: str, condition: str, values: list[str]) -> None:
    wanted = read_keys(query(ScheduledProcedureStepStartDate=date, ScheduledProcedureStepStartTime=time))
    parameters = Parameters()
    found = " AND ".join(conditions(wanted, parameters))
    assert found == condition.format(*(f"%({name})s" for name in parameters.values))
    assert list(parameters.values.values()) == values


def test_times_of_one_day_stay_a_key_of_their_own() -> None:
    wanted = read_keys(query(ScheduledProcedureStepStartDate="20260305", ScheduledProcedureStepStartTime="10-11"))
    assert isinstance(wanted.matches[("00400100", "00400003")][1], Range)
    assert len(conditions(wanted, Parameters())) == 3


def test_sequence_key_with_two_items_or_too_deep_is_refused() -> None:
    two = Dataset()
    two.ScheduledProcedureStepSequence = [Dataset(), Dataset()]
    deep = Dataset()
    deep.PatientID = "x"
    for _ in range(8):
        outer = Dataset()
        outer.ScheduledProtocolCodeSequence = [deep]
        deep = outer
    for identifier in (two, deep):
        with pytest.raises(InvalidIdentifier):
            read_keys(identifier)


def test_value_that_is_none_of_its_vr_is_refused_without_being_repeated() -> None:
    with pytest.raises(DicomsvcError) as caught:
        read_keys(query(ScheduledProcedureStepStartDate="Quillfeather"))
    assert "Quillfeather" not in str(caught.value)
