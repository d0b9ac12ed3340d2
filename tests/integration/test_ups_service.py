"""The worklist of a whole running service: our own work is in it, and its subscribers hear of it."""

from pathlib import Path

from tests.conftest import RunningService
from tests.integration.ups_client import Ups, is_state, item, step, value

GLOBAL = "1.2.840.10008.5.1.4.34.5"


def test_the_conversion_of_an_uploaded_slide_is_followed_as_a_procedure_step(
    service: RunningService, cmu_small_region: Path
) -> None:
    ups = Ups(service.dicomweb)
    assert ups.subscribe(GLOBAL, "HOSPITAL").headers["Content-Location"].startswith("ws://127.0.0.1:")
    with ups.channel("HOSPITAL") as channel:
        sent = ups.http.post(f"{service.url}/api/slides?filename=slide.svs", content=cmu_small_region.read_bytes())
        assert sent.status_code == 202, sent.text
        uid = sent.headers["Location"].rpartition("/")[2]
        seen = channel.until(is_state("COMPLETED"), 60)
    states = [value(event, "ProcedureStepState") for event in seen if value(event, "EventTypeID") == 1]
    assert states == ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
    found = ups.get(uid)
    performed = "UnifiedProcedureStepPerformedProcedureSequence"
    series = value(found, performed, "OutputInformationSequence", "WADORSRetrievalSequence", "RetrieveURL")
    assert ups.http.get(f"{series}/metadata").status_code == 200
    references = value(
        found, performed, "OutputInformationSequence", "ReferencedSOPSequence", "ReferencedSOPInstanceUID"
    )
    assert references
    study = value(found, "StudyInstanceUID")
    assert [value(match, "SOPInstanceUID") for match in ups.search(f"StudyInstanceUID={study}")] == [uid]


def test_a_step_for_others_is_left_alone_by_our_workers_and_shown_among_the_jobs(service: RunningService) -> None:
    ups = Ups(service.dicomweb)
    uid = ups.create(step("for others"))
    [job] = [job for job in ups.http.get(f"{service.url}/api/jobs?kind=outside").json() if job["uid"] == uid]
    assert job["state"] == "SCHEDULED" and job["time_left_seconds"] is None
    assert ups.state(uid, "IN PROGRESS").status_code == 200
    # Who asks for a stop over our API asks the performer, as everybody does.
    asked = ups.http.post(f"{service.url}/api/jobs/{uid}/cancel").json()
    assert asked["state"] == "IN PROGRESS" and asked["cancellation_requested"]
    assert ups.update(uid, item(ProcedureStepLabel="still mine")).status_code == 200
