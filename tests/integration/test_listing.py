"""Listings of the index: all results, page by page, at four levels."""

import json

import pytest

from dicomsvc.store import Selection, Store
from dicomsvc.store.query import (
    PLAIN,
    Key,
    Level,
    Listing,
    Query,
    list_results,
    parse_attribute,
    parse_match,
    read_pages,
    vr_of,
)
from dicomsvc.store.query import listing as listing_module
from dicomsvc.store.query.search import prepare
from tests.instances import wsi_dataset
from tests.integration.archive import keep, make_archive

INSTANCE_NUMBER, PATIENT_ID, STUDY_UID = "00200013", "00100020", "0020000D"


def key(name: str, text: str) -> Key:
    attribute = parse_attribute(name)
    return Key(attribute, parse_match(name, attribute.vr, text))


def documents(store: Store, listing: Listing, *keys: Key) -> list[dict[str, dict[str, list[object]]]]:
    listed = list_results(store.engine, listing, Query(keys=keys))
    rows = [row for page in read_pages(store.engine, listing, listed) for row in page]
    assert len(rows) == len(listed.keys)
    return [
        {
            tag: of_value(tag, text) if tag in PLAIN else json.loads(text)
            for tag, text in zip(listing.asked, row, strict=True)
            if text
        }
        for row in rows
    ]


def of_value(tag: str, text: str) -> dict[str, object]:
    vr = vr_of(tag)
    return {"vr": vr, "Value": [int(text) if vr == "IS" else text]}


@pytest.mark.parametrize("characters", [1, 400, 8 << 20])
def test_pages_of_any_size_hold_every_result_once_and_in_order(
    store: Store, monkeypatch: pytest.MonkeyPatch, characters: int
) -> None:
    monkeypatch.setattr(listing_module, "_PAGE_CHARACTERS", characters)
    uids = {"study_instance_uid": "1.2.9", "series_instance_uid": "1.2.9.1"}
    keep(store, *(wsi_dataset(**uids, frames=1, tile=16, instance_number=number) for number in range(70, 0, -1)))
    found = documents(store, Listing(Level.INSTANCE, (INSTANCE_NUMBER,)), key("StudyInstanceUID", "1.2.9"))
    assert [document[INSTANCE_NUMBER]["Value"] for document in found] == [[number] for number in range(1, 71)]


@pytest.mark.parametrize("level", [None, *Level])
def test_a_page_is_read_by_its_keys_and_no_table_as_a_whole(store: Store, level: Level | None) -> None:
    statement = listing_module._reading(Listing(level, (STUDY_UID, PATIENT_ID)))
    values = {"keys": f"{{{','.join(map(str, range(1, 1000)))}}}"}
    with store.engine.connect() as connection:
        prepare(connection, by_key=True)
        # A table that is nearly empty is read as a whole, being cheaper than its index.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", values))
    assert "Index Cond: (id = found.id)" in plan
    assert not any(join in plan for join in ("Hash Join", "Merge Join", "Seq Scan"))


def test_a_listing_has_what_was_asked_for(store: Store) -> None:
    make_archive(store)
    [document] = documents(store, Listing(Level.STUDY, (PATIENT_ID,)), key("StudyInstanceUID", "1.2.3.3"))
    assert document == {PATIENT_ID: {"vr": "LO", "Value": ["P-2"]}}
    study = {STUDY_UID: {"vr": "UI", "Value": ["1.2.3.1"]}}
    below = "00080018"
    of_series = Listing(Level.SERIES, (STUDY_UID, below))
    assert documents(store, of_series, key("StudyInstanceUID", "1.2.3.1")) == [study, study]
    assert not documents(store, of_series, key("PatientID", "nobody"))


def test_values_are_whole_whether_a_column_has_all_of_them_or_not(store: Store) -> None:
    ds = wsi_dataset(study_instance_uid="1.2.8", frames=1, tile=16, instance_number=3)
    ds.StudyDescription, ds.SeriesDescription = "x" * 511, "y" * 700
    ds.ContainerIdentifier, ds.SeriesNumber = r"one\\two", None
    ds.add_new("AccessionNumber", "SH", ["z" * 300, "", "z" * 300])
    keep(store, ds)
    tags = ("00081030", "0008103E", "00400512", "00200011", "00200013", "00080050", "00080060", "00200010")
    listing = Listing(Level.INSTANCE, tags)
    [row] = list_results(store.engine, listing, Query(keys=(key("StudyInstanceUID", "1.2.8"),))).first
    found = dict(zip(tags, row, strict=True))
    assert found["00081030"] == "x" * 511
    assert found["0008103E"] == "y" * 700
    assert found["00400512"] == r"one\\two"
    assert found["00200011"] is None
    assert found["00200013"] == "3"
    assert found["00080050"] == f"{'z' * 300}\\\\{'z' * 300}"
    assert found["00080060"] == "SM"
    assert found["00200010"] == (str(ds.StudyID) or None)


def test_a_number_that_is_none_is_returned_as_it_is(store: Store) -> None:
    keep(store, wsi_dataset(study_instance_uid="1.2.8", frames=1, tile=16))
    with store.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE instance SET instance_number = NULL, attributes = attributes ||"
            " jsonb_build_object('00200013', jsonb_build_object('vr', 'IS', 'Value', jsonb_build_array('1A')))"
        )
    listed = list_results(store.engine, Listing(Level.INSTANCE, (INSTANCE_NUMBER,)), Query())
    assert [tuple(row) for row in listed.first] == [("1A",)]


def test_patients_of_two_issuers_with_one_id_are_two(store: Store) -> None:
    for issuer, name in (("NORTH", "Adams^Anna"), ("SOUTH", "Brown^Bob"), ("NORTH", "Adams^Anna")):
        ds = wsi_dataset(patient_id="1", patient_name=name, frames=1, tile=16)
        ds.IssuerOfPatientID = issuer
        keep(store, ds)
    asked = (PATIENT_ID, "00100010", "00100021", "00201200", STUDY_UID)
    found = documents(store, Listing(None, asked), key("PatientID", "1"))
    told = {
        (document["00100021"]["Value"][0], document["00201200"]["Value"][0]): document["00100010"]["Value"]
        for document in found
    }
    assert told == {("NORTH", 2): [{"Alphabetic": "Adams^Anna"}], ("SOUTH", 1): [{"Alphabetic": "Brown^Bob"}]}
    assert not any(STUDY_UID in document for document in found)


def test_most_results_are_a_bound(store: Store) -> None:
    make_archive(store)
    listing = Listing(Level.INSTANCE, (PATIENT_ID,))
    assert len(list_results(store.engine, listing, Query(), most=3).keys) == 3
    assert len(list_results(store.engine, listing, Query()).keys) == 10


def test_a_selection_is_narrowed_by_every_level_that_it_names(store: Store) -> None:
    make_archive(store)

    def selected(**unique_keys: tuple[str, ...]) -> list[str]:
        keys = store.instances.select(Selection(**unique_keys)).keys
        return sorted(record.sop_instance_uid for record in store.instances.read(keys))

    assert len(selected(patient_ids=("P-1",))) == 6
    assert len(selected(patient_ids=("P-1",), study_instance_uids=("1.2.3.1", "1.2.3.3"))) == 4
    assert selected(study_instance_uids=("1.2.3.1",), series_instance_uids=("1.2.3.4.1",)) == []
    assert selected(sop_instance_uids=("1.2.3.4.1.2", "1.2.3.1.1.1")) == ["1.2.3.1.1.1", "1.2.3.4.1.2"]
    contexts = store.instances.select(Selection(patient_ids=("P-1",))).contexts
    assert contexts == (("1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.2.4.50"),)
