"""Subscriptions and event reports (PS3.4 CC.2.3, CC.2.4; PS3.18 8.10, 11.10 to 11.13), whoever performs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr
from websockets.exceptions import InvalidStatus

from dicomsvc.auth import hash_token
from dicomsvc.config import AuthSettings
from dicomsvc.jobs import Worker
from dicomsvc.jobs.subscriptions import Subscriptions
from dicomsvc.store import Store
from tests.instances import wsi_dataset
from tests.integration.dicomweb_client import keep, new_store
from tests.integration.test_jobs import IMPATIENT
from tests.integration.ups_client import (
    TRANSACTION,
    Item,
    Ups,
    code,
    event_type,
    finished,
    is_state,
    item,
    step,
    tag,
    value,
)
from tests.integration.ups_server import serving
from tests.integration.work_handlers import HANDLERS

GLOBAL, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"
PROGRESS, PERFORMED = "ProcedureStepProgressInformationSequence", "UnifiedProcedureStepPerformedProcedureSequence"


@pytest.fixture(scope="module")
def kept(database_server: str) -> Iterator[Store]:
    with new_store(database_server) as store:
        yield store


@pytest.fixture(scope="module")
def ups(kept: Store) -> Iterator[Ups]:
    with serving(kept) as root:
        yield Ups(root)


@contextmanager
def working(store: Store) -> Iterator[None]:
    worker = Worker(store.settings, store.engine, HANDLERS, patience=IMPATIENT)
    ready = threading.Event()
    thread = threading.Thread(target=worker.run, kwargs={"on_ready": ready.set})
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        worker.stop()
        thread.join(20)


def analysis(study: str, series: str, version: str = "") -> Item:
    """Return what IHE AIW-I's task requester sends for one of our models."""
    source = item(
        TypeOfInstances="DICOM",
        StudyInstanceUID=study,
        SeriesInstanceUID=series,
        ReferencedSOPSequence=item(
            ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6", ReferencedSOPInstanceUID="1.2"
        ),
    )
    made = step("count nuclei", code("nuclei", "99DICOMSVC", "nuclei"), InputInformationSequence=source)
    if version:
        name = code("111003", "DCM", "Algorithm Version")
        said = item(ValueType="TEXT", ConceptNameCodeSequence=name, TextValue=version)
        made |= item(ScheduledProcessingParametersSequence=said)
    return made


def test_an_analysis_is_requested_watched_and_fetched(ups: Ups, kept: Store) -> None:
    """AIW-I: create, subscribe, our worker claims, progress, completion, outputs."""
    slide = wsi_dataset(frames=1, tile=16, patient_id="AIW-1")
    keep(kept, slide)
    uid = ups.create(analysis(slide.StudyInstanceUID, slide.SeriesInstanceUID))
    subscribed = ups.subscribe(uid, "REQUESTER")
    assert subscribed.status_code == 201
    assert subscribed.headers["Content-Location"] == f"ws{ups.root[4:]}/subscribers/REQUESTER"
    with ups.channel("REQUESTER") as channel:
        first = channel.next()
        assert is_state("SCHEDULED")(first) and value(first, "InputReadinessState") == "READY"
        assert value(first, "AffectedSOPInstanceUID") == uid
        assert value(first, "AffectedSOPClassUID") == "1.2.840.10008.5.1.4.34.6.1"
        with working(kept):
            started = channel.until(is_state("IN PROGRESS"))
            assert uid == value(started[-1], "AffectedSOPInstanceUID")
            halfway = channel.until(lambda event: event_type(event) == 3)[-1]
            assert value(halfway, PROGRESS, "ProcedureStepProgress") in (25.0, 50.0, 75.0)
            found = ups.get(uid)
            assert value(found, "ProcedureStepState") == "IN PROGRESS"
            assert value(found, PROGRESS, "ProcedureStepProgressDescription").startswith("tiles (")
            assert value(found, "ScheduledStationNameCodeSequence", "CodeMeaning")
            channel.until(is_state("COMPLETED"))
    found = ups.get(uid)
    assert value(found, "PatientID") == "AIW-1"
    assert value(found, PROGRESS, "ProcedureStepProgress") == 100.0
    performed = found[tag(PERFORMED)]["Value"][0]
    assert value(performed, "PerformedWorkitemCodeSequence", "CodeValue") == "nuclei"
    assert value(performed, "PerformedProcedureStepStartDateTime") < value(
        performed, "PerformedProcedureStepEndDateTime"
    )
    used = {value(entry, "TextValue") for entry in performed[tag("PerformedProcessingParametersSequence")]["Value"]}
    assert used == {"nuclei", "1", "ab" * 32}
    output = performed[tag("OutputInformationSequence")]["Value"][0]
    assert value(output, "SeriesInstanceUID") == "1.2.3.99"
    assert value(output, "ReferencedSOPSequence", "ReferencedSOPInstanceUID") == "1.2.3.99.1"
    assert value(output, "WADORSRetrievalSequence", "RetrieveURL").endswith("/series/1.2.3.99")


def test_an_analysis_that_fails_says_why_in_its_event_and_its_record(ups: Ups, kept: Store) -> None:
    uid = ups.create(analysis("1.2.3", "1.2.3.4", version="broken"))
    ups.subscribe(uid, "FAILURES")
    with ups.channel("FAILURES") as channel, working(kept):
        ended = channel.until(is_state("CANCELED"))[-1]
    assert value(ended, "ReasonForCancellation") == "the model gave what it does not promise"
    found = ups.get(uid)
    assert value(found, PROGRESS, "ReasonForCancellation") == "the model gave what it does not promise"
    assert value(found, PROGRESS, "ProcedureStepDiscontinuationReasonCodeSequence", "CodingSchemeDesignator") == "DCM"
    assert value(found, PROGRESS, "ProcedureStepCancellationDateTime")


def test_our_own_work_is_cancelled_on_request(ups: Ups, kept: Store) -> None:
    uid = ups.create(analysis("1.2.3", "1.2.3.4"))
    ups.subscribe(uid, "CANCELLER")
    with ups.channel("CANCELLER") as channel, working(kept):
        channel.until(is_state("IN PROGRESS"))
        assert ups.post(f"/workitems/{uid}/cancelrequest", item(ReasonForCancellation="not needed")).status_code == 202
        seen = channel.until(is_state("CANCELED"))
    asked = [event for event in seen if event_type(event) == 2]
    assert [value(event, "ReasonForCancellation") for event in asked] == ["not needed"]
    assert value(asked[0], "RequestingAE") == "local"
    assert value(seen[-1], "ReasonForCancellation") == "not needed"


def test_a_performer_outside_is_followed_from_claim_to_completion(ups: Ups) -> None:
    """AIW-I with another performer: it watches, claims, reports, completes; the requester hears of it."""
    assert ups.subscribe(GLOBAL, "PERFORMER").status_code == 201
    with ups.channel("PERFORMER") as performer:
        uid = ups.create(step(ScheduledStationNameCodeSequence=code("GPU1")))
        ups.subscribe(uid, "ASKER")
        new = performer.until(is_state("SCHEDULED"))[-1]
        assert value(new, "AffectedSOPInstanceUID") == uid
        assigned = performer.next()
        assert value(assigned, "ScheduledStationNameCodeSequence", "CodeValue") == "GPU1"
        with ups.channel("ASKER") as asker:
            ups.state(uid, "IN PROGRESS")
            asker.until(is_state("IN PROGRESS"))
            halfway = item(ProcedureStepProgressInformationSequence=item(ProcedureStepProgress=50))
            assert ups.update(uid, halfway).status_code == 200
            report = asker.next()
            assert event_type(report) == 3 and value(report, PROGRESS, "ProcedureStepProgress") == 50
            assert ups.post(f"/workitems/{uid}/cancelrequest", item(ContactDisplayName="Dr. A")).status_code == 202
            asked = performer.until(lambda event: event_type(event) == 2)[-1]
            assert value(asked, "ContactDisplayName") == "Dr. A"
            # It chooses to go on.
            ups.update(uid, finished())
            assert ups.state(uid, "COMPLETED").status_code == 200
            asker.until(is_state("COMPLETED"))
    assert value(ups.get(uid), PERFORMED, "OutputInformationSequence", "SeriesInstanceUID") == "1.2.3.4"
    assert ups.unsubscribe(GLOBAL, "PERFORMER").status_code == 200


def test_a_scheduled_step_is_cancelled_by_way_of_in_progress(ups: Ups) -> None:
    uid = ups.create(step())
    ups.subscribe(uid, "SEQUENCE")
    ups.post(f"/workitems/{uid}/cancelrequest")
    with ups.channel("SEQUENCE") as channel:
        seen = channel.until(is_state("CANCELED"))
    states = [value(event, "ProcedureStepState") for event in seen if event_type(event) == 1]
    assert states == ["SCHEDULED", "IN PROGRESS", "CANCELED"]


def test_what_happened_while_nobody_listened_comes_on_the_next_connection_once(ups: Ups) -> None:
    uid = ups.create(step())
    ups.subscribe(uid, "AWAY")
    with ups.channel("AWAY") as channel:
        channel.until(is_state("SCHEDULED"))
        assert channel.is_silent()
    ups.state(uid, "IN PROGRESS")
    with ups.channel("AWAY") as channel:
        assert is_state("IN PROGRESS")(channel.next())
        assert channel.is_silent()


def test_a_channel_may_be_opened_before_the_first_subscription(ups: Ups) -> None:
    uid = ups.create(step())
    with ups.channel("EARLY") as channel:
        assert channel.is_silent(0.7)
        ups.subscribe(uid, "EARLY")
        assert value(channel.next(), "AffectedSOPInstanceUID") == uid


def test_after_unsubscribing_there_is_nothing_to_hear(ups: Ups) -> None:
    uid = ups.create(step())
    ups.subscribe(uid, "LEAVER")
    with ups.channel("LEAVER") as channel:
        channel.until(is_state("SCHEDULED"))
        assert ups.unsubscribe(uid, "LEAVER").status_code == 200
        assert ups.unsubscribe(uid, "LEAVER").status_code == 404
        ups.state(uid, "IN PROGRESS")
        assert channel.is_silent()


def test_one_work_item_is_left_out_of_a_global_subscription(ups: Ups) -> None:
    ups.subscribe(GLOBAL, "MOSTLY")
    one, other = ups.create(step()), ups.create(step())
    assert ups.unsubscribe(one, "MOSTLY").status_code == 200
    ups.state(one, "IN PROGRESS")
    ups.state(other, "IN PROGRESS")
    with ups.channel("MOSTLY") as channel:
        seen = channel.until(is_state("IN PROGRESS"))
    assert {value(event, "AffectedSOPInstanceUID") for event in seen} == {other}
    ups.unsubscribe(GLOBAL, "MOSTLY")


def test_a_suspended_subscription_keeps_what_there_was(ups: Ups) -> None:
    ups.subscribe(GLOBAL, "SUSPENDED")
    before = ups.create(step())
    assert ups.post(f"/workitems/{GLOBAL}/subscribers/SUSPENDED/suspend").status_code == 200
    assert ups.post(f"/workitems/{GLOBAL}/subscribers/SUSPENDED/suspend").status_code == 404
    after = ups.create(step())
    ups.state(after, "IN PROGRESS")
    ups.state(before, "IN PROGRESS")
    with ups.channel("SUSPENDED") as channel:
        seen = channel.until(is_state("IN PROGRESS"))
    assert {value(event, "AffectedSOPInstanceUID") for event in seen} == {before}
    ups.unsubscribe(GLOBAL, "SUSPENDED")


def test_a_global_subscription_with_lock_begins_with_all_that_is_open(ups: Ups) -> None:
    uid = ups.create(step())
    assert ups.subscribe(GLOBAL, "LOCKED", "?deletionlock=true").status_code == 201
    with ups.channel("LOCKED") as channel:
        channel.until(lambda event: value(event, "AffectedSOPInstanceUID") == uid)
    ups.unsubscribe(GLOBAL, "LOCKED")
    assert ups.unsubscribe(GLOBAL, "LOCKED").status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "?filter=ScheduledWorkitemCodeSequence.CodeValue=rare,WorklistLabel=AI",
        "?ScheduledWorkitemCodeSequence.CodeValue=rare",
    ],
)
def test_a_filtered_subscription_hears_of_what_matches(ups: Ups, query: str) -> None:
    aet = f"FILTER{len(query)}"
    assert ups.subscribe(FILTERED, aet, query).status_code == 201
    ups.create(step())
    uid = ups.create(step(work=code("rare")))
    with ups.channel(aet) as channel:
        assert value(channel.next(), "AffectedSOPInstanceUID") == uid
        # Once matched, a work item stays subscribed (PS3.4 CC.2.3.3.1), also when the filter is suspended.
        assert ups.post(f"/workitems/{FILTERED}/subscribers/{aet}/suspend").status_code == 200
        ups.create(step(work=code("rare")))
        ups.state(uid, "IN PROGRESS")
        assert value(channel.next(), "ProcedureStepState") == "IN PROGRESS"
    ups.unsubscribe(FILTERED, aet)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{FILTERED}/subscribers/A", 400),
        (f"{FILTERED}/subscribers/A?filter=Nonsense=1", 400),
        (f"{GLOBAL}/subscribers/{'A' * 17}", 400),
        (f"{GLOBAL}/subscribers/A?deletionlock=perhaps", 400),
        ("2.25.404/subscribers/A", 404),
        ("2.25.404/subscribers/A/suspend", 404),
    ],
)
def test_wrong_subscriptions_are_refused(ups: Ups, path: str, status: int) -> None:
    assert ups.post(f"/workitems/{path}").status_code == status


def test_what_a_client_says_over_the_channel_does_no_harm(ups: Ups) -> None:
    uid = ups.create(step())
    with ups.channel("TALKER") as channel:
        for noise in ("hello", b"\x00\xff" * 1000, "{" * 5000):
            channel.connection.send(noise)
        ups.subscribe(uid, "TALKER")
        assert value(channel.next(), "AffectedSOPInstanceUID") == uid


def test_pages_of_other_origins_open_no_channel(ups: Ups) -> None:
    with pytest.raises(InvalidStatus) as refused, ups.channel("PAGE", origin="https://elsewhere.example.org"):
        pass
    assert refused.value.response.status_code == 403
    for origin in ("https://viewer.example.org", ups.root.removesuffix("/dicomweb")):
        with ups.channel("PAGE", origin=origin) as channel:
            assert channel.connection.state.name == "OPEN"


def test_a_channel_needs_the_same_authentication_as_everything_else(kept: Store) -> None:
    auth = AuthSettings(tokens={"anna": SecretStr(hash_token("secret"))})
    with serving(kept, auth) as root:
        ups = Ups(root)
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            with pytest.raises(InvalidStatus) as refused, ups.channel("ANNA", additional_headers=headers):
                pass
            assert refused.value.response.status_code == 401
        assert ups.subscribe(GLOBAL, "ANNA").status_code == 401
        with ups.channel("ANNA", additional_headers={"Authorization": "Bearer secret"}) as channel:
            assert channel.is_silent(0.6)


def test_events_that_nobody_fetched_are_forgotten_after_a_week(ups: Ups, kept: Store) -> None:
    old, new = ups.create(step()), ups.create(step())
    for uid in (old, new):
        ups.subscribe(uid, "SLEEPER")
    with kept.engine.begin() as connection:
        statement = "UPDATE work_item_event SET at = at - interval '8 days' WHERE uid = %(uid)s"
        assert connection.exec_driver_sql(statement, {"uid": old}).rowcount > 0
    Subscriptions(kept.engine).forget()
    with ups.channel("SLEEPER") as channel:
        assert value(channel.next(), "AffectedSOPInstanceUID") == new


def test_the_transaction_uid_is_in_no_event(ups: Ups) -> None:
    uid = ups.create(step())
    ups.subscribe(uid, "SNOOP")
    ups.state(uid, "IN PROGRESS", TRANSACTION)
    with ups.channel("SNOOP") as channel:
        seen = channel.until(is_state("IN PROGRESS"))
    assert TRANSACTION not in repr(seen)
