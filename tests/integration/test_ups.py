"""The worklist service (PS3.18 11) over a real database: states, locks, searches, statuses and Warnings."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from dicomsvc.jobs import Jobs, State
from dicomsvc.store import Store
from tests.conftest import REPOSITORY
from tests.instances import wsi_dataset
from tests.integration.dicomweb_client import keep, new_store
from tests.integration.ups_client import (
    JSON,
    OTHER_TRANSACTION,
    TRANSACTION,
    Item,
    Ups,
    code,
    finished,
    item,
    step,
    tag,
    value,
)
from tests.integration.ups_server import serving

GLOBAL, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"
CANCELLED = item(
    ProcedureStepProgressInformationSequence=item(
        ProcedureStepDiscontinuationReasonCodeSequence=code("110513", "DCM", "Discontinued for unspecified reason")
    )
)


@pytest.fixture(scope="module")
def kept(database_server: str) -> Iterator[Store]:
    with new_store(database_server) as store:
        yield store


@pytest.fixture(scope="module")
def ups(kept: Store) -> Iterator[Ups]:
    with serving(kept) as root:
        yield Ups(root)


def warning(answer: httpx.Response) -> str:
    return answer.headers.get("Warning", "")


def in_state(ups: Ups, state: str) -> str:
    """Return a work item in a state, claimed with TRANSACTION where it was claimed."""
    uid = ups.create(step())
    if state != "SCHEDULED":
        assert ups.state(uid, "IN PROGRESS").status_code == 200
    if state == "COMPLETED":
        assert ups.update(uid, finished()).status_code == 200
        assert ups.state(uid, "COMPLETED").status_code == 200
    if state == "CANCELED":
        assert ups.update(uid, CANCELLED).status_code == 200
        assert ups.state(uid, "CANCELED").status_code == 200
    return uid


def test_what_a_creator_said_comes_back_whole(ups: Ups) -> None:
    private = {"00991001": {"vr": "LO", "Value": ["a private word"]}, "00990010": {"vr": "LO", "Value": ["TEST"]}}
    said = step("with everything", CommentsOnTheScheduledProcedureStep="看", PatientID="P-1") | private
    said |= item(PatientName={"Alphabetic": "Doe^Jane"})
    uid = ups.create(said, "2.25.4711")
    found = ups.get(uid)
    assert uid == "2.25.4711"
    assert {name: found[name] for name in said} == said
    assert value(found, "SOPClassUID") == "1.2.840.10008.5.1.4.34.6.1" and value(found, "SOPInstanceUID") == uid
    assert list(found) == sorted(found)


def test_a_created_work_item_has_its_place(ups: Ups) -> None:
    answer = ups.post("/workitems?AffectedSOPInstanceUID=2.25.4712", step())
    assert answer.headers["Location"] == f"{ups.root}/workitems/2.25.4712"
    assert answer.content == b"" and "Warning" not in answer.headers


def test_the_same_uid_twice_is_a_conflict(ups: Ups) -> None:
    uid = ups.create(step())
    assert ups.post(f"/workitems?{uid}", step()).status_code == 409


def test_missing_priority_and_readiness_are_filled_in_and_said(ups: Ups) -> None:
    said = step()
    del said[tag("ScheduledProcedureStepPriority")], said[tag("InputReadinessState")]
    answer = ups.post("/workitems", said)
    assert answer.status_code == 201 and "created with modifications" in warning(answer)
    found = ups.get(answer.headers["Location"].rpartition("/")[2])
    assert value(found, "ScheduledProcedureStepPriority") == "MEDIUM"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({tag("ProcedureStepState"): {"vr": "CS", "Value": ["IN PROGRESS"]}}, 400),
        ({tag("ProcedureStepState"): {"vr": "CS"}}, 400),
        ({tag("ProcedureStepLabel"): {"vr": "LO"}}, 400),
        ({tag("ScheduledProcedureStepPriority"): {"vr": "CS", "Value": ["URGENT"]}}, 400),
        ({tag("InputReadinessState"): {"vr": "CS", "Value": ["MAYBE"]}}, 400),
        (item(TransactionUID="1.2.3"), 400),
        (finished(), 400),
        ({"0040": {"vr": "CS"}}, 400),
        ({tag("ProcedureStepLabel"): "text"}, 400),
        ({tag("ProcedureStepLabel"): {"vr": "LO", "Value": ["a\0b"]}}, 400),
        ({tag("ProcedureStepLabel"): {"vr": "LO", "Value": ["\ud800"]}}, 400),
        ({tag("ProcedureStepLabel"): {"vr": "LO", "Value": [["nested"]]}}, 400),
        ({tag("ProcedureStepLabel"): {"vr": "LO", "Value": [{"Alphabetic": "x"}]}}, 400),
        ({tag("ProcedureStepLabel"): {"vr": "LO", "Value": ["x"], "InlineBinary": "x"}}, 400),
        ({tag("PatientName"): {"vr": "PN", "Value": ["Doe^Jane"]}}, 400),
    ],
)
def test_what_is_no_unified_procedure_step_is_refused(ups: Ups, change: Item, status: int) -> None:
    assert ups.post("/workitems", step() | change).status_code == status


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/dicom+json", 400),
        (b"[]", "application/dicom+json", 400),
        (b"[NaN]", "application/dicom+json", 400),
        (b"[" * 100_000, "application/dicom+json", 400),
        (b" " * (2 << 20), "application/dicom+json", 413),
        (b"<NativeDicomModel/>", "application/dicom+xml", 415),
        (b"{}", "text/plain", 415),
    ],
)
def test_bodies_that_are_no_dicom_json_are_refused(ups: Ups, body: bytes, content_type: str, status: int) -> None:
    answer = ups.http.post(f"{ups.root}/workitems", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status


def test_deeply_nested_sequences_are_refused(ups: Ups) -> None:
    nested: Item = {}
    for _ in range(40):
        nested = {"0040A730": {"vr": "SQ", "Value": [nested]}}
    assert ups.post("/workitems", step() | nested).status_code == 400


# PS3.4 Table CC.1.1-2. `right`, `wrong` or no Transaction UID; the status, and the new state where there is one.
TRANSITIONS = [
    ("SCHEDULED", "IN PROGRESS", "right", 200, "IN PROGRESS"),
    ("SCHEDULED", "IN PROGRESS", "none", 400, None),
    ("SCHEDULED", "SCHEDULED", "right", 400, None),
    ("SCHEDULED", "COMPLETED", "right", 409, None),
    ("SCHEDULED", "CANCELED", "right", 409, None),
    ("IN PROGRESS", "IN PROGRESS", "right", 409, None),
    ("IN PROGRESS", "IN PROGRESS", "wrong", 400, None),
    ("IN PROGRESS", "SCHEDULED", "right", 400, None),
    ("IN PROGRESS", "COMPLETED", "wrong", 400, None),
    ("IN PROGRESS", "COMPLETED", "none", 400, None),
    ("IN PROGRESS", "COMPLETED", "right", 409, None),
    ("IN PROGRESS", "CANCELED", "right", 409, None),
    ("IN PROGRESS", "CANCELED", "wrong", 400, None),
    ("COMPLETED", "IN PROGRESS", "right", 409, None),
    ("COMPLETED", "IN PROGRESS", "wrong", 400, None),
    ("COMPLETED", "COMPLETED", "right", 200, None),
    ("COMPLETED", "COMPLETED", "wrong", 400, None),
    ("COMPLETED", "CANCELED", "right", 409, None),
    ("CANCELED", "IN PROGRESS", "right", 409, None),
    ("CANCELED", "COMPLETED", "right", 409, None),
    ("CANCELED", "CANCELED", "right", 200, None),
    ("CANCELED", "CANCELED", "none", 400, None),
]


@pytest.mark.parametrize(("state", "wanted", "lock", "status", "new"), TRANSITIONS)
def test_states_change_by_the_table_of_the_standard(
    ups: Ups, state: str, wanted: str, lock: str, status: int, new: str | None
) -> None:
    uid = in_state(ups, state)
    transaction = {"right": TRANSACTION, "wrong": OTHER_TRANSACTION, "none": None}[lock]
    answer = ups.state(uid, wanted, transaction)
    assert answer.status_code == status, answer.text
    assert value(ups.get(uid), "ProcedureStepState") == (new or state)
    if status == 400 and wanted != "SCHEDULED":
        assert ("is missing" if lock == "none" else "is incorrect") in warning(answer)
    if status == 409:
        assert warning(answer).startswith(f"299 {ups.root}: The submitted request is inconsistent")
    if status == 200 and new is None:
        assert f"already in the requested state of {wanted}" in warning(answer)


def test_what_the_final_state_lacks_is_named(ups: Ups) -> None:
    uid = in_state(ups, "IN PROGRESS")
    assert "PerformedStationNameCodeSequence" in ups.state(uid, "COMPLETED").json()["error"]
    performed = finished()
    del performed[tag("UnifiedProcedureStepPerformedProcedureSequence")]["Value"][0][tag("OutputInformationSequence")]
    ups.update(uid, performed)
    assert "OutputInformationSequence" in ups.state(uid, "COMPLETED").json()["error"]
    ups.update(uid, finished())
    assert ups.state(uid, "COMPLETED").status_code == 200


def test_a_cancelled_step_gets_the_time_of_its_cancellation(ups: Ups) -> None:
    found = ups.get(in_state(ups, "CANCELED"))
    assert value(found, "ProcedureStepProgressInformationSequence", "ProcedureStepCancellationDateTime")


def test_the_lock_is_never_shown(ups: Ups) -> None:
    uid = in_state(ups, "IN PROGRESS")
    assert TRANSACTION not in json.dumps(ups.get(uid))
    assert TRANSACTION not in json.dumps(
        ups.search("includefield=all&includefield=TransactionUID&SOPInstanceUID=" + uid)
    )
    said = ups.update(uid, item(ProcedureStepLabel="x", TransactionUID=TRANSACTION))
    assert said.status_code == 200
    assert TRANSACTION not in json.dumps(ups.get(uid))


@pytest.mark.parametrize(
    ("state", "transaction", "status"),
    [
        ("SCHEDULED", None, 200),
        ("SCHEDULED", TRANSACTION, 409),
        ("IN PROGRESS", TRANSACTION, 200),
        ("IN PROGRESS", OTHER_TRANSACTION, 400),
        ("IN PROGRESS", None, 400),
        ("COMPLETED", TRANSACTION, 400),
        ("CANCELED", TRANSACTION, 400),
    ],
)
def test_only_whoever_has_the_lock_updates(ups: Ups, state: str, transaction: str | None, status: int) -> None:
    uid = in_state(ups, state)
    answer = ups.update(uid, item(CommentsOnTheScheduledProcedureStep="changed"), transaction)
    assert answer.status_code == status, answer.text
    assert (value(ups.get(uid), "CommentsOnTheScheduledProcedureStep") == "changed") == (status == 200)
    assert bool(warning(answer)) == (status != 200)


def test_an_update_cannot_change_the_patient_or_the_state(ups: Ups) -> None:
    uid = ups.create(step(PatientID="P-1"))
    assert ups.update(uid, item(PatientID="P-2"), None).status_code == 400
    assert ups.update(uid, item(ProcedureStepState="COMPLETED"), None).status_code == 400
    assert ups.update(uid, item(PatientID="P-1", ScheduledProcedureStepPriority="HIGH"), None).status_code == 200
    assert uid in {value(found, "SOPInstanceUID") for found in ups.search("ScheduledProcedureStepPriority=HIGH")}


def test_an_unknown_work_item_is_not_found(ups: Ups) -> None:
    assert ups.http.get(f"{ups.root}/workitems/2.25.1", headers=JSON).status_code == 404
    assert ups.http.get(f"{ups.root}/workitems/x", headers=JSON).status_code == 400
    assert ups.state("2.25.1", "IN PROGRESS").status_code == 404
    assert ups.update("2.25.1", item(ProcedureStepLabel="x")).status_code == 404
    assert ups.post("/workitems/2.25.1/cancelrequest").status_code == 404
    assert ups.subscribe("2.25.1").status_code == 404


def test_a_scheduled_step_is_cancelled_on_request_with_what_was_said(ups: Ups) -> None:
    uid = ups.create(step())
    assert ups.post(f"/workitems/{uid}/cancelrequest", item(ReasonForCancellation="wrong slide")).status_code == 202
    found = ups.get(uid)
    progress = "ProcedureStepProgressInformationSequence"
    assert value(found, "ProcedureStepState") == "CANCELED"
    assert value(found, progress, "ReasonForCancellation") == "wrong slide"
    assert value(found, progress, "ProcedureStepDiscontinuationReasonCodeSequence", "CodeValue") == "110513"
    again = ups.post(f"/workitems/{uid}/cancelrequest")
    assert again.status_code == 202 and "already in the requested state of CANCELED" in warning(again)


def test_a_completed_step_is_not_cancelled(ups: Ups) -> None:
    answer = ups.post(f"/workitems/{in_state(ups, 'COMPLETED')}/cancelrequest")
    assert answer.status_code == 409 and "already COMPLETED" in warning(answer)


def test_a_performer_that_nobody_reaches_is_not_asked_to_cancel(ups: Ups) -> None:
    uid = in_state(ups, "IN PROGRESS")
    answer = ups.post(f"/workitems/{uid}/cancelrequest")
    assert answer.status_code == 409 and "cannot be contacted" in warning(answer)
    assert ups.subscribe(uid, "PERFORMER").status_code == 201
    assert ups.post(f"/workitems/{uid}/cancelrequest").status_code == 202
    assert value(ups.get(uid), "ProcedureStepState") == "IN PROGRESS"
    assert ups.unsubscribe(uid, "PERFORMER").status_code == 200


@pytest.fixture(scope="module")
def worklist(database_server: str) -> Iterator[Ups]:
    """A worklist of four, which no test changes: A to C from outside, and our own work over a stored study."""
    with new_store(database_server) as store, serving(store) as root:
        slide = wsi_dataset(patient_name="Müller^Anna", patient_id="P9", frames=1, tile=16)
        keep(store, slide)
        ups = Ups(root)
        study = item(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")
        ups.create(step("A", code("seg"), PatientID="P1", InputInformationSequence=study))
        ups.create(step("B", code("det"), PatientID="P2", ScheduledStationNameCodeSequence=code("GPU1")), "2.25.2")
        late = step("C", code("seg", "OTHER"), PatientID="P1") | item(
            ScheduledProcedureStepStartDateTime="20260301080000+0000",
            InputReadinessState="INCOMPLETE",
            ScheduledProcedureStepPriority="HIGH",
        )
        ups.create(late)
        ups.state("2.25.2", "IN PROGRESS")
        inputs = {"study_instance_uid": slide.StudyInstanceUID, "series_instance_uid": slide.SeriesInstanceUID}
        Jobs(store.engine).create("analyze", {"model": "nuclei", **inputs}, "a requester")
        yield ups


OURS = "AI analysis: nuclei"


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("", {"A", "B", "C", OURS}),
        ("ProcedureStepState=SCHEDULED", {"A", "C", OURS}),
        ("ProcedureStepState=IN%20PROGRESS", {"B"}),
        ("ProcedureStepState=COMPLETED", set()),
        ("ScheduledWorkitemCodeSequence.CodeValue=seg", {"A", "C"}),
        ("00404018.00080100=seg&00404018.00080102=OTHER", {"C"}),
        ("ScheduledWorkitemCodeSequence.CodeValue=nuclei", {OURS}),
        ("PatientID=P1", {"A", "C"}),
        ("PatientID=P9", {OURS}),
        ("PatientName=müller*", {OURS}),
        ("InputInformationSequence.StudyInstanceUID=1.2.3", {"A"}),
        ("ScheduledProcedureStepStartDateTime=20260101-20260131", {"A", "B"}),
        ("ScheduledProcedureStepStartDateTime=20260201-20260331", {"C"}),
        ("InputReadinessState=INCOMPLETE", {"C"}),
        ("ScheduledProcedureStepPriority=HIGH", {"C"}),
        ("ProcedureStepLabel=AI*", {OURS}),
        ("WorklistLabel=AI", {"A", "B", "C"}),
        ("ScheduledStationNameCodeSequence.CodeValue=GPU?", {"B"}),
        ("SOPInstanceUID=2.25.2", {"B"}),
        ("PatientID=P1&ScheduledProcedureStepPriority=MEDIUM", {"A"}),
    ],
)
def test_searches_find_what_matches(worklist: Ups, query: str, labels: set[str]) -> None:
    assert worklist.labels(query) == labels


def test_pages_neither_repeat_nor_skip(worklist: Ups) -> None:
    pages = [worklist.search(f"limit=1&offset={offset}") for offset in range(5)]
    assert {value(found, "ProcedureStepLabel") for [found] in pages[:4]} == {"A", "B", "C", OURS}
    assert pages[4] == []
    more = worklist.http.get(f"{worklist.root}/workitems?limit=2")
    assert "additional results" in warning(more)


def test_results_have_the_return_keys_and_what_was_asked_for(worklist: Ups) -> None:
    [found] = worklist.search("ProcedureStepLabel=A")
    assert tag("InputInformationSequence") in found and tag("PatientBirthDate") in found
    assert tag("CommentsOnTheScheduledProcedureStep") not in found
    [found] = worklist.search("ProcedureStepLabel=A&includefield=CommentsOnTheScheduledProcedureStep")
    assert tag("CommentsOnTheScheduledProcedureStep") in found
    [found] = worklist.search("ProcedureStepLabel=A&includefield=all")
    assert tag("UnifiedProcedureStepPerformedProcedureSequence") in found


def test_nothing_found_is_no_content_and_nonsense_is_a_bad_request(worklist: Ups) -> None:
    assert worklist.http.get(f"{worklist.root}/workitems?PatientID=nobody").status_code == 204
    assert worklist.http.get(f"{worklist.root}/workitems?NoSuchThing=1").status_code == 400
    assert worklist.http.get(f"{worklist.root}/workitems?limit=-1").status_code == 400


def test_work_items_come_as_xml_too(worklist: Ups) -> None:
    answer = worklist.http.get(f"{worklist.root}/workitems/2.25.2", headers={"Accept": "application/dicom+xml"})
    assert answer.headers["Content-Type"] == "application/dicom+xml" and b"ProcedureStepLabel" in answer.content
    accept = {"Accept": 'multipart/related; type="application/dicom+xml"'}
    assert worklist.http.get(f"{worklist.root}/workitems", headers=accept).content.count(b"<NativeDicomModel") == 4


def test_our_own_work_says_patient_input_and_requester(worklist: Ups) -> None:
    [found] = worklist.search(f"ProcedureStepLabel={OURS}&includefield=all")
    study, series = (
        value(found, "InputInformationSequence", name) for name in ("StudyInstanceUID", "SeriesInstanceUID")
    )
    assert value(found, "PatientID") == "P9" and value(found, "StudyInstanceUID") == study
    assert value(found, "ReferencedRequestSequence", "StudyInstanceUID") == study
    assert value(found, "InputInformationSequence", "ReferencedSOPSequence", "ReferencedSOPInstanceUID")
    url = value(found, "InputInformationSequence", "WADORSRetrievalSequence", "RetrieveURL")
    assert url == f"{worklist.root}/studies/{study}/series/{series}"
    assert value(found, "ScheduledProcessingParametersSequence", "TextValue") == "a requester"


def analysis(**parameters: Any) -> Item:
    source = item(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", TypeOfInstances="DICOM")
    texts = [
        item(ValueType="TEXT", ConceptNameCodeSequence=code(name, scheme), TextValue=text)
        for name, scheme, text in parameters.get("texts", [])
    ]
    more = {"ScheduledProcessingParametersSequence": texts} if texts else {}
    return step("count", code("nuclei", "99DICOMSVC"), InputInformationSequence=source, **more)


def test_the_code_of_a_model_makes_work_of_our_own(ups: Ups, kept: Store) -> None:
    texts = [("111003", "DCM", "3"), ("region", "99DICOMSVC", "0,0,512,256"), ("111002", "DCM", '{"tta": true}')]
    uid = ups.create(analysis(texts=texts))
    made = Jobs(kept.engine).get(uid)
    assert (made.kind, made.state) == ("analyze", State.SCHEDULED)
    assert made.inputs == {
        "model": "nuclei",
        "study_instance_uid": "1.2.3",
        "series_instance_uid": "1.2.3.4",
        "version": "3",
        "regions": [[0, 0, 512, 256]],
        "options": {"tta": True},
    }
    assert value(ups.get(uid), "ScheduledProcessingParametersSequence", "TextValue") == "3"


def test_the_documented_request_makes_an_analysis(ups: Ups, kept: Store) -> None:
    page = (REPOSITORY / "docs" / "jobs.md").read_text(encoding="utf-8")
    [body] = re.findall(r"workitems -d '(\[.*?\])'\n", page, re.DOTALL)
    answer = ups.http.post(f"{ups.root}/workitems", content=body, headers=JSON)
    assert answer.status_code == 201 and "Warning" not in answer.headers
    made = Jobs(kept.engine).get(answer.headers["Location"].rpartition("/")[2])
    assert (made.kind, made.inputs["model"], made.inputs["series_instance_uid"]) == ("analyze", "nuclei", "1.2.3.4")


def test_nobody_claims_or_redirects_our_own_work(ups: Ups) -> None:
    uid = ups.create(analysis())
    claimed = ups.state(uid, "IN PROGRESS")
    assert claimed.status_code == 409 and "own workers" in claimed.json()["error"]
    other = item(ScheduledWorkitemCodeSequence=code("tissue", "99DICOMSVC"))
    assert ups.update(uid, other, None).status_code == 409
    assert ups.update(uid, item(ProcedureStepLabel="renamed"), None).status_code == 200
    assert value(ups.get(uid), "ProcedureStepLabel") == "renamed"


def test_our_own_work_needs_one_series(ups: Ups) -> None:
    said = analysis()
    del said[tag("InputInformationSequence")]
    assert ups.post("/workitems", said).status_code == 400
    for region in ("1,2,3", "a,b,c,d", "1e400,0,1,1"):
        assert ups.post("/workitems", analysis(texts=[("region", "99DICOMSVC", region)])).status_code == 400


def test_work_whose_input_is_not_ready_waits_for_it(ups: Ups, kept: Store) -> None:
    uid = ups.create(analysis() | item(InputReadinessState="INCOMPLETE"))

    def queued() -> int:
        with kept.engine.connect() as connection:
            statement = "SELECT count(*) FROM procrastinate_jobs WHERE args->>'uid' = %(uid)s"
            count: int = connection.exec_driver_sql(statement, {"uid": uid}).scalar_one()
            return count

    assert queued() == 0
    for _ in range(2):
        assert ups.update(uid, item(InputReadinessState="READY"), None).status_code == 200
        assert queued() == 1


def test_an_update_of_the_priority_moves_our_own_work_in_the_queue(ups: Ups, kept: Store) -> None:
    uid = ups.create(analysis())
    assert ups.update(uid, item(ScheduledProcedureStepPriority="HIGH"), None).status_code == 200
    with kept.engine.connect() as connection:
        statement = "SELECT priority FROM procrastinate_jobs WHERE args->>'uid' = %(uid)s"
        assert connection.exec_driver_sql(statement, {"uid": uid}).scalar_one() == 1
    assert value(ups.get(uid), "ScheduledProcedureStepPriority") == "HIGH"


def test_attributes_do_not_grow_without_end(ups: Ups) -> None:
    uid = ups.create(step())
    for number in range(4):
        grown = {f"0099100{number}": {"vr": "UT", "Value": ["x" * 400_000]}}
        status = ups.update(uid, grown, None).status_code
    assert status == 413
