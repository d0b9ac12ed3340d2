"""OML and ORM messages as orders for the worklist."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomsvc.errors import DicomsvcError
from dicomsvc.hl7.acknowledge import Condition, Objection
from dicomsvc.hl7.message import parse_message
from dicomsvc.pacs.worklist.entry import Code, EntryContent, Status
from dicomsvc.pacs.worklist.items import item_attributes
from dicomsvc.pacs.worklist.orders import Action, Order, read_orders
from tests.unit.pacs.worklist_messages import PID, header, message, obr, oml, orc, sac, spm

BEIJING = timezone(timedelta(hours=8))


def orders(content: bytes) -> list[Order]:
    return read_orders(parse_message(content))


def only(content: bytes) -> EntryContent:
    (order,) = orders(content)
    (entry,) = order.entries
    return entry


def objection(content: bytes) -> Objection:
    with pytest.raises(Objection) as caught:
        orders(content)
    return caught.value


def test_every_field_of_the_mapping_is_read() -> None:
    entry = only(oml())
    assert entry.patient.model_dump() == {
        "id": "P-1",
        "issuer": "HOSP",
        "name": "Wang^Xiaoming=王^小明",
        "birth_date": date(1960, 2, 3),
        "sex": "M",
    }
    assert (entry.accession_number, entry.placer_order_number, entry.filler_order_number) == (
        "S26-100",
        "PL-1",
        "S26-100",
    )
    assert entry.admission_id == "V-9"
    procedure, step = entry.procedure, entry.step
    assert procedure.codes == (Code(value="HE", scheme="L", meaning="Hematoxylin and eosin"),)
    assert (procedure.description, procedure.priority) == ("Hematoxylin and eosin", "STAT")
    assert (procedure.requesting_physician, procedure.referring_physician) == ("House^Greg^^Dr", "Referrer^Rita")
    assert (step.modality, step.start) == ("SM", datetime(2026, 3, 5, 10, 30, tzinfo=BEIJING))
    assert (entry.container.identifier, entry.container.issuer) == ("S26-100-A-1", "LAB")
    (specimen,) = entry.specimens
    assert (specimen.identifier, specimen.issuer, specimen.short_description) == ("S26-100-A", "LAB", "Left apex")
    assert specimen.type == Code(value="309134004", scheme="SCT", meaning="Prostate tissue")
    assert specimen.anatomic_sites == (Code(value="41216001", scheme="SCT", meaning="Prostate"),)


def test_imaging_procedure_control_goes_before_the_other_fields() -> None:
    ipc = "IPC|ACC-9|RP-9|1.2.3.4|SPS-9|SM|WSI40^40x^99LAB|SCANNER 1|Room 7|SCAN1"
    entry = only(oml(orc(), obr(), ipc, spm(), sac()))
    assert (entry.accession_number, entry.procedure.id, entry.study_instance_uid) == ("ACC-9", "RP-9", "1.2.3.4")
    assert (entry.step.id, entry.step.station_ae_titles, entry.step.station_name) == ("SPS-9", ("SCAN1",), "SCANNER 1")
    assert (entry.step.location, entry.step.protocol[0].value) == ("Room 7", "WSI40")


def test_several_orders_with_several_slides_are_an_entry_a_slide() -> None:
    content = oml(
        *(orc(), obr(), spm(1), sac("A-1"), sac("A-2")),
        *(orc(placer="PL-2"), obr("PL-2"), spm(1, "S26-100-B"), sac("B-1")),
    )
    first, second = orders(content)
    assert [entry.container.identifier for entry in first.entries] == ["A-1", "A-2"]
    assert [entry.specimens[0].identifier for entry in second.entries] == ["S26-100-B"]
    assert (first.placer_order_number, second.placer_order_number) == ("PL-1", "PL-2")


def test_specimens_go_before_their_orders_in_o33() -> None:
    content = message(
        header("OML^O33^OML_O33"),
        PID,
        *(spm(1), sac("A-1"), orc(), obr()),
        *(spm(2, "S26-100-B"), sac("B-1"), orc(placer="PL-2"), obr("PL-2"), orc(placer="PL-3"), obr("PL-3")),
    )
    read = orders(content)
    said = [(order.placer_order_number, order.entries[0].container.identifier) for order in read]
    assert said == [("PL-1", "A-1"), ("PL-2", "B-1"), ("PL-3", "B-1")]
    assert [entry.specimens[0].identifier for order in read for entry in order.entries] == [
        "S26-100-A",
        "S26-100-B",
        "S26-100-B",
    ]


def test_orm_has_its_numbers_in_the_fields_of_imaging_orders() -> None:
    fields = [""] * 45
    fields[0:5] = ["OBR", "1", "PL-1", "F-1", "H^Histology^L^WSI^Whole slide^99LAB"]
    fields[18], fields[19], fields[20], fields[24], fields[27] = "ACC-7", "RP-7", "SPS-7", "GM", "^^^20260305103000^^A"
    entry = only(message(header("ORM^O01^ORM_O01"), PID, orc(filler="F-1"), "|".join(fields), "ZDS|1.2.840.99^App"))
    assert (entry.accession_number, entry.procedure.id, entry.step.id, entry.step.modality) == (
        "ACC-7",
        "RP-7",
        "SPS-7",
        "GM",
    )
    assert (entry.study_instance_uid, entry.procedure.priority) == ("1.2.840.99", "HIGH")
    assert [code.value for code in entry.step.protocol] == ["WSI"]
    assert entry.step.start == datetime(2026, 3, 5, 10, 30, tzinfo=BEIJING)


def test_stain_that_is_observed_of_a_specimen_is_its_preparation() -> None:
    stain = "OBX|1|CWE|424361007^Using substance^SCT||12710003^hematoxylin stain^SCT||||||F"
    other = "OBX|2|ST|1234^Colour^L||brown||||||F"
    (specimen,) = only(oml(orc(), obr(), spm(), stain, other, sac())).specimens
    assert [code.value for step in specimen.preparation for code in step.staining] == ["12710003"]


def test_order_without_a_barcode_is_one_entry_without_one() -> None:
    entry = only(oml(orc(), obr(), spm()))
    assert (entry.container.identifier, entry.specimens[0].identifier) == ("", "S26-100-A")
    assert only(oml(orc(), obr())).specimens == ()


def test_codes_without_a_coding_system_are_words_only() -> None:
    entry = only(oml(orc(), obr(service="HE^Hematoxylin and eosin"), sac()))
    assert (entry.procedure.codes, entry.procedure.description) == ((), "Hematoxylin and eosin")


@pytest.mark.parametrize(
    ("control", "status", "action", "then"),
    [
        ("NW", "", Action.NEW, None),
        ("XO", "IP", Action.CHANGE, Status.STARTED),
        ("CA", "", Action.CANCEL, None),
        ("SC", "CM", Action.STATUS, Status.COMPLETED),
    ],
)
def test_order_control_says_what_is_asked(control: str, status: str, action: Action, then: Status | None) -> None:
    (order,) = orders(oml(orc(control, status=status)))
    assert (order.action, order.status) == (action, then)


@pytest.mark.parametrize(
    ("content", "condition", "place"),
    [
        (oml().replace(b"P-1^^^HOSP^MR", b"").replace(b"77^^^CITY^SS~", b""), Condition.REQUIRED_FIELD, ("PID", 1, 3)),
        (message(header("OML^O21"), orc()), Condition.REQUIRED_FIELD, ("PID", 1, 3)),
        (message(header("OML^O21"), PID, obr()), Condition.SEGMENT_SEQUENCE, None),
        (oml(orc("")), Condition.REQUIRED_FIELD, ("ORC", 1, 1)),
        (oml(orc("ZZ")), Condition.DATA_TYPE, ("ORC", 1, 1)),
        (oml(orc(), obr(), orc(placer="", filler="")), Condition.REQUIRED_FIELD, ("ORC", 2, 2)),
        (oml(orc("SC", status="HD")), Condition.DATA_TYPE, ("ORC", 1, 5)),
        (oml(orc(filler="S26-100-MUCH-TOO-LONG")), Condition.DATA_TYPE, ("ORC", 1, 1)),
        (oml(orc(), obr(), sac("x" * 65)), Condition.DATA_TYPE, ("ORC", 1, 2)),
        (oml().replace(b"19600203", b"00010203"), Condition.DATA_TYPE, ("ORC", 1, 1)),
    ],
)
def test_what_cannot_be_taken_is_told_with_its_place(
    content: bytes, condition: Condition, place: tuple[str, int, int] | None
) -> None:
    answer = objection(content).answer
    assert (answer.condition, answer.location) == (condition, place)
    assert "Wang" not in answer.reason and "P-1" not in answer.reason


def test_number_of_orders_and_containers_is_bounded() -> None:
    assert "orders" in objection(oml(*[orc()] * 600)).message
    slides = [sac(f"C-{number}") for number in range(60)]
    assert "slides" in objection(oml(*[segment for _ in range(20) for segment in (orc(), obr(), *slides)])).message
    assert "containers" in objection(oml(orc(), obr(), *[sac(f"C-{number}") for number in range(100)])).message


PIECES = st.sampled_from(
    [
        orc(),
        orc("XO"),
        obr(),
        spm(),
        sac(),
        "SAC",
        "SPM",
        "ORC",
        "ORC|NW",
        "TQ1|1||||||99999999",
        "IPC|a|b|c|d|e|f|g|h|i",
    ]
) | st.text(alphabet=st.sampled_from("ORCSPMNW|^~\\&0123456789AX\x00\x1b王\r"), max_size=60)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=8))
def test_whatever_comes_is_orders_that_dicom_can_hold_or_an_error_of_ours(pieces: list[str]) -> None:
    with suppress(DicomsvcError):
        for order in orders(oml(*pieces)):
            for entry in order.entries:
                filled = entry.model_copy(
                    update={
                        "study_instance_uid": "1.2",
                        "specimens": tuple(each.model_copy(update={"uid": "1.3"}) for each in entry.specimens),
                    }
                )
                assert item_attributes(filled, "a" * 32, Status.SCHEDULED, datetime.now(UTC), ())
