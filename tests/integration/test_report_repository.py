"""Reports in a real PostgreSQL: kept, versioned, linked or held, reviewed, found."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from dicomsvc.errors import BadRequest, Conflict, NotFound, PreconditionFailed
from dicomsvc.jobs import Jobs
from dicomsvc.reports.intake.received import Answer, ReceivedReport, ReportStatus, Source
from dicomsvc.reports.intake.receiving import Intake
from dicomsvc.reports.intake.structuring import order_structuring, structure_version, structure_waiting
from dicomsvc.reports.intake.upkeep import ReportUpkeep
from dicomsvc.reports.repository.filters import parse_filter
from dicomsvc.reports.repository.linking import hold_orphans, match_by_hand
from dicomsvc.reports.repository.reading import ATTEMPTS, take
from dicomsvc.reports.repository.receiving import Receipt
from dicomsvc.reports.repository.records import WholeReport
from dicomsvc.reports.repository.reviews import Act, Action, review
from dicomsvc.reports.repository.search import Hit, ReportQuery, search
from dicomsvc.reports.repository.tables import report, report_review, report_version
from dicomsvc.reports.repository.whole import held_reports, text_of_version, whole_report
from dicomsvc.store import Source as StoreSource
from dicomsvc.store import Store
from tests.instances import part10, wsi_dataset
from tests.integration.written_reports import BREAST, BREAST_AMENDED, KIDNEY, KIDNEY_ZH

WHO = "tester"
NINE = datetime(2026, 3, 1, 9, tzinfo=UTC)


def came(text: str = BREAST, **said: object) -> ReceivedReport:
    return replace(ReceivedReport(text, Source.HL7, report_id="F-1", sender="LIS"), **said)  # type: ignore[arg-type]


def receive(store: Store, text: str = BREAST, **said: object) -> Receipt:
    return Intake(store).receive(came(text, **said), WHO)


def whole(store: Store, uid: str | None) -> WholeReport:
    assert uid is not None
    with store.engine.connect() as connection:
        return whole_report(connection, uid)


def found(store: Store, query: ReportQuery, *columns: str) -> list[Hit]:
    with store.engine.connect() as connection:
        total, hits = search(connection, query, columns, 100, 0)
    assert total == len(hits)
    return hits


def add_slide(store: Store, accession_number: str, patient_id: str = "P-1") -> str:
    ds = wsi_dataset(patient_id=patient_id)
    ds.AccessionNumber = accession_number
    with store.spool() as file:
        file.write(part10(ds))
        return store.add(file, StoreSource("test", WHO)).study_instance_uid


def act(store: Store, uid: str | None, *actions: Action, revision: int | None = None, who: str = WHO) -> None:
    assert uid is not None
    with store.engine.begin() as connection:
        review(connection, uid, revision, actions, who)


def number_of(seen: WholeReport, field: str) -> int:
    return next(value.ordinal for value in seen.values if value.field == field)


def count(store: Store, table: object) -> int:
    with store.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()  # type: ignore[arg-type]


def test_a_report_is_kept_as_it_came_and_its_values_point_into_it(store: Store) -> None:
    receipt = receive(store)
    assert receipt.outcome.answer is Answer.ACCEPTED
    seen = whole(store, receipt.uid)
    assert (seen.text, seen.record.state, seen.record.status) == (BREAST, "structured", "final")
    values = {value.field: value.holds for value in seen.values}
    assert values["er"]["value"] == "positive"
    place = values["er"]["evidence"][0]
    assert "POSITIVE" in BREAST[place["start"] : place["end"]]


def test_the_same_message_twice_is_one_report(store: Store) -> None:
    first = receive(store, control_id="M-1")
    second = receive(store, control_id="M-1")
    assert (second.outcome.answer, second.uid, second.version) == (Answer.DUPLICATE, first.uid, 1)
    again = receive(store, control_id="M-2")
    assert again.outcome.answer is Answer.DUPLICATE
    assert count(store, report_version) == 1


def test_the_same_message_from_many_senders_at_once_is_one_report(store: Store) -> None:
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(Intake(store).keep(came(control_id="M-1"), WHO)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.outcome.answer for each in answers) == ["accepted", *["duplicate"] * 5]
    assert len({each.uid for each in answers}) == 1


def test_an_amended_report_is_a_new_version_and_the_old_one_stays(store: Store) -> None:
    first = receive(store)
    act(store, first.uid, Action(Act.ACCEPT_ALL), Action(Act.SIGN, person_name="Doe^Jane", organisation="Hospital"))
    second = receive(store, BREAST_AMENDED, status=ReportStatus.CORRECTED)
    assert (second.uid, second.version) == (first.uid, 2)
    seen = whole(store, first.uid)
    assert (seen.record.status, seen.record.version, seen.record.review) == ("corrected", 2, "open")
    assert next(value.holds["value"] for value in seen.values if value.field == "pr") == "positive"
    # The signature was of the other text, and is kept with it.
    assert (seen.record.signed_by, seen.reviews[-1].action, seen.reviews[-1].version) == (None, "sign", 1)
    with store.engine.connect() as connection:
        assert text_of_version(connection, seen.record.uid, 1)[0] == BREAST


def test_a_version_that_was_overtaken_does_not_replace_the_later_one(store: Store) -> None:
    receive(store, BREAST_AMENDED, status=ReportStatus.CORRECTED, observed=NINE + timedelta(hours=1))
    late = receive(store, BREAST, observed=NINE)
    assert late.outcome.answer is Answer.ACCEPTED
    seen = whole(store, late.uid)
    assert (seen.text, seen.record.version, len(seen.versions)) == (BREAST_AMENDED, 1, 2)
    assert next(value.holds["value"] for value in seen.values if value.field == "pr") == "positive"


def test_a_cancelled_report_is_marked_and_no_longer_found(store: Store) -> None:
    receipt = receive(store)
    receive(store, "", status=ReportStatus.CANCELLED)
    seen = whole(store, receipt.uid)
    assert (seen.record.status, seen.record.state, list(seen.values)) == ("cancelled", "withdrawn", [])
    assert found(store, ReportQuery()) == []
    assert [hit.record.uid for hit in found(store, ReportQuery(status="cancelled"))] == [receipt.uid]
    with pytest.raises(Conflict):
        act(store, receipt.uid, Action(Act.ACCEPT_ALL))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"text": "  "}, "no text"),
        ({"text": "", "status": ReportStatus.CANCELLED, "report_id": ""}, "identifier"),
        ({"accession_number": "A" * 300}, "longer"),
    ],
)
def test_what_cannot_be_kept_is_rejected_with_a_reason(store: Store, said: dict[str, object], reason: str) -> None:
    receipt = Intake(store).receive(replace(came(), **said), WHO)  # type: ignore[arg-type]
    assert receipt.outcome.answer is Answer.REJECTED
    assert reason in receipt.outcome.reason
    assert count(store, report) == 0


def test_text_that_no_database_holds_keeps_its_length(store: Store) -> None:
    receipt = receive(store, "\0\ud800" + BREAST)
    odd = receive(store, KIDNEY, report_id="F\0-2\ud800", study_instance_uid="1.2\0", patient_id="P\0")
    assert whole(store, odd.uid).record.named_study_instance_uid is None
    seen = whole(store, receipt.uid)
    assert len(seen.text) == len(BREAST) + 2
    place = next(value.holds["evidence"][0] for value in seen.values if value.field == "er")
    assert "POSITIVE" in seen.text[place["start"] : place["end"]]


def test_a_report_is_held_until_a_slide_with_its_accession_number_comes(store: Store) -> None:
    receipt = receive(store, accession_number="S26-100")
    assert whole(store, receipt.uid).record.held == "no_study"
    add_slide(store, "S26-999")
    assert ReportUpkeep(store).match() == []
    study = add_slide(store, "S26-100")
    assert ReportUpkeep(store).match() == [receipt.uid]
    record = whole(store, receipt.uid).record
    assert (record.study_instance_uid, record.linked_by, record.held) == (study, "accession_number", None)
    store.delete(WHO, study)
    with store.engine.begin() as connection:
        assert hold_orphans(connection) == 1
    assert whole(store, receipt.uid).record.held == "no_study"


def test_a_report_is_never_linked_by_a_guess(store: Store) -> None:
    add_slide(store, "S26-1", "P-1")
    add_slide(store, "S26-1", "P-2")
    other = receive(store, accession_number="S26-1", patient_id="P-9", report_id="1")
    several = receive(store, accession_number="S26-1", report_id="2")
    nothing = receive(store, accession_number="", report_id="3")
    one = receive(store, accession_number="S26-1", patient_id="P-2", report_id="4")
    held = [whole(store, each.uid).record.held for each in (other, several, nothing, one)]
    assert held == ["other_patient", "several_studies", "no_accession_number", None]


def test_a_version_of_another_patient_is_held_for_a_person(store: Store) -> None:
    study = add_slide(store, "S26-1", "P-1")
    receipt = receive(store, accession_number="S26-1", patient_id="P-1")
    assert whole(store, receipt.uid).record.study_instance_uid == study
    receive(store, BREAST_AMENDED, accession_number="S26-1", patient_id="P-2")
    assert whole(store, receipt.uid).record.held == "patient_changed"
    ReportUpkeep(store).match()
    assert whole(store, receipt.uid).record.held == "patient_changed"


def test_a_person_matches_a_held_report(store: Store) -> None:
    study = add_slide(store, "S26-1", "P-1")
    receipt = receive(store, accession_number="", patient_id="P-1")
    assert receipt.uid is not None
    with store.engine.begin() as connection:
        match_by_hand(connection, receipt.uid, study, WHO)
    assert whole(store, receipt.uid).record.linked_by == "person"
    # A new version does not undo what a person did.
    receive(store, BREAST_AMENDED, accession_number="", patient_id="P-1")
    assert whole(store, receipt.uid).record.study_instance_uid == study
    stranger = add_slide(store, "S26-2", "P-2")
    for wanted, error in ((stranger, Conflict), ("1.2.3", NotFound)):
        with pytest.raises(error), store.engine.begin() as connection:
            match_by_hand(connection, receipt.uid, wanted, WHO)


def test_what_a_person_corrects_holds_and_what_was_found_is_kept(store: Store) -> None:
    receipt = receive(store)
    seen = whole(store, receipt.uid)
    er, size = number_of(seen, "er"), number_of(seen, "tumor_size_mm")
    start = BREAST.index("2.3 cm")
    act(
        store,
        receipt.uid,
        Action(Act.CORRECT, er, value="negative", comment="control failed", qualifiers={"intensity": "weak"}),
        Action(Act.CORRECT, size, value=25, evidence=((start, start + 6),)),
        Action(Act.REMOVE, number_of(seen, "pr")),
        Action(Act.ADD, field_name="perineural_invasion", value="absent"),
        revision=seen.record.revision,
    )
    after = whole(store, receipt.uid)
    values = {value.field: value for value in after.values}
    assert (values["er"].holds["value"], values["er"].found["value"]) == ("negative", "positive")  # type: ignore[index]
    assert values["er"].holds["qualifiers"] == {"intensity": "weak"}
    assert values["perineural_invasion"].found is None
    assert [(each.action, each.who) for each in after.reviews] == [
        ("correct", WHO),
        ("correct", WHO),
        ("remove", WHO),
        ("add", WHO),
    ]
    assert (after.reviews[0].old["value"], after.reviews[0].new["value"]) == ("positive", "negative")  # type: ignore[index]
    with store.engine.connect() as connection:
        [held] = held_reports(connection, [after.record.uid])
    holding = {value.field: value.value for value in held.structured.values}
    assert (holding["er"], holding["tumor_size_mm"], "pr" in holding) == ("negative", 25, False)
    hits = found(store, ReportQuery(fields=(parse_filter("er", "negative"), parse_filter("tumor_size_mm", "25"))))
    assert len(hits) == 1


def test_a_review_of_what_has_changed_since_is_refused(store: Store) -> None:
    receipt = receive(store)
    seen = whole(store, receipt.uid)
    act(store, receipt.uid, Action(Act.ACCEPT, 1), revision=seen.record.revision)
    with pytest.raises(PreconditionFailed):
        act(store, receipt.uid, Action(Act.ACCEPT, 2), revision=seen.record.revision)
    assert count(store, report_review) == 1


def test_a_signed_report_changes_only_when_it_is_reopened(store: Store) -> None:
    receipt = receive(store)
    act(store, receipt.uid, Action(Act.ACCEPT_ALL), Action(Act.SIGN, person_name="Doe^Jane", organisation="Hospital"))
    record = whole(store, receipt.uid).record
    assert (record.review, record.signed_by, record.signed_name) == ("signed", WHO, "Doe^Jane")
    with pytest.raises(Conflict):
        act(store, receipt.uid, Action(Act.REMOVE, 1))
    act(store, receipt.uid, Action(Act.REOPEN), Action(Act.REMOVE, 1), who="another")
    record = whole(store, receipt.uid).record
    assert (record.review, record.signed_by) == ("started", None)
    with store.engine.connect() as connection:
        actions = connection.execute(select(report_review.c.action).order_by(report_review.c.id)).scalars().all()
    assert actions[-3:] == ["sign", "reopen", "remove"]


def test_a_value_that_a_field_cannot_have_is_refused_and_nothing_of_the_review_is_done(store: Store) -> None:
    receipt = receive(store)
    for action in (
        Action(Act.CORRECT, 1, value="maybe"),
        Action(Act.CORRECT, 1, value=None),
        Action(Act.ADD, field_name="no_such_field", value="x"),
        Action(Act.ADD, field_name="tumor_size_mm", value="large"),
        Action(Act.ADD, field_name="tumor_size_mm", value=float("nan")),
        Action(Act.ADD, field_name="tumor_size_mm", value=10**400),
        Action(Act.ADD, field_name="er", value="positive", evidence=((0, 10_000),)),
        Action(Act.SIGN),
    ):
        with pytest.raises(BadRequest):
            act(store, receipt.uid, Action(Act.ACCEPT, 2), action)
    seen = whole(store, receipt.uid)
    assert (seen.record.review, seen.reviews) == ("open", [])


def test_english_words_are_found_in_any_form_with_their_places(store: Store) -> None:
    breast = receive(store, report_id="1")
    receive(store, KIDNEY, report_id="2")
    [hit] = found(store, ReportQuery(words="carcinomas ductal"))
    assert hit.record.uid == breast.uid
    assert hit.found is not None
    assert [BREAST[start:end] for start, end in hit.found.places] == ["ductal", "carcinoma"]
    assert "".join(piece.text for piece in hit.found.snippet) in BREAST
    assert len(found(store, ReportQuery(words="carcinoma"))) == 2
    assert len(found(store, ReportQuery(words='"renal cell carcinoma"'))) == 1
    assert len(found(store, ReportQuery(words="carcinoma -renal"))) == 1
    assert found(store, ReportQuery(words="sarcoma")) == []


def test_chinese_words_are_found_as_they_stand(store: Store) -> None:
    receive(store, report_id="1")
    kidney = receive(store, KIDNEY_ZH, report_id="2")
    for words in ("肾周脂肪", "癌", "癌栓 切缘"):
        [hit] = found(store, ReportQuery(words=words))
        assert hit.record.uid == kidney.uid
        assert hit.found is not None
        assert {KIDNEY_ZH[start:end] for start, end in hit.found.places} == set(words.split())
    for words in ("脂肪肾周", "乳腺", "癌栓 -切缘"):
        assert found(store, ReportQuery(words=words)) == []


def test_markup_in_a_text_does_not_move_the_highlights(store: Store) -> None:
    text = "<b>Kidney</b> <!-- x --> & carcinoma\n" + KIDNEY
    receive(store, text)
    [hit] = found(store, ReportQuery(words="carcinoma"))
    assert hit.found is not None
    assert {text[start:end] for start, end in hit.found.places} == {"carcinoma"}


def test_reports_are_filtered_by_any_field(store: Store) -> None:
    for number, text in enumerate((BREAST, KIDNEY, KIDNEY_ZH), 1):
        receive(store, text, report_id=str(number))
    for field, said, reports in (
        ("er", "positive", {"1"}),
        ("tumor_size_mm", ">23", {"2", "3"}),
        ("tumor_size_mm", ">=23", {"1", "2", "3"}),
        ("tumor_size_mm", "<=45", {"1", "3"}),
        ("tumor_size_mm", "20..50", {"1", "3"}),
        ("tumor_size_mm", "75", {"2"}),
        ("lymphovascular_invasion", "absent", {"1"}),
        ("lymphovascular_invasion", "!=absent", {"2", "3"}),
        ("laterality", "left,right", {"1", "2", "3"}),
        ("laterality", "LEFT", {"1", "3"}),
        ("kidney_subtype", "~clear_cell", {"2", "3"}),
        ("er", "*", {"1"}),
        ("er", "-", {"2", "3"}),
    ):
        hits = found(store, ReportQuery(fields=(parse_filter(field, said),)))
        assert {hit.record.report_id for hit in hits} == reports, (field, said)


@pytest.mark.parametrize("said", ["", ">", ">x", "~", "a,,b", "x" * 300, "a\0b"])
def test_a_filter_that_makes_no_sense_is_refused(said: str) -> None:
    with pytest.raises(BadRequest):
        parse_filter("er", said)


def test_the_table_is_sorted_by_any_field_and_paged(store: Store) -> None:
    for number, text in enumerate((KIDNEY, BREAST, KIDNEY_ZH), 1):
        receive(store, text, report_id=str(number))
    with store.engine.connect() as connection:
        pages = [
            search(connection, ReportQuery(sort="-field.tumor_size_mm"), ["tumor_size_mm"], 1, offset)
            for offset in range(3)
        ]
    assert [total for total, _ in pages] == [3, 3, 3]
    assert [hit.values[0].holds["value"] for _, [hit] in pages] == [75, 45, 23]
    with pytest.raises(BadRequest), store.engine.connect() as connection:
        search(connection, ReportQuery(sort="text"), [], 1, 0)


def test_what_was_left_waiting_is_structured_later(store: Store) -> None:
    receipt = Intake(store).keep(came(), WHO)
    assert whole(store, receipt.uid).record.state == "waiting"
    assert structure_waiting(store.engine, lambda done: None) == {"structured": 1, "not_structured": 0}
    assert whole(store, receipt.uid).record.state == "structured"
    assert receipt.uid is not None
    assert not structure_version(store.engine, receipt.uid, 1)


def test_a_text_that_takes_the_process_down_is_given_up(store: Store) -> None:
    receipt = Intake(store).keep(came(), WHO)
    assert receipt.uid is not None
    for _ in range(ATTEMPTS):
        with store.engine.begin() as connection:
            assert take(connection, receipt.uid, 1) is not None
    structure_waiting(store.engine, lambda done: None)
    record = whole(store, receipt.uid).record
    assert (record.state, record.reason) == ("failed", "given up after 3 attempts")


def test_structuring_is_one_work_item_however_many_reports_wait(store: Store) -> None:
    jobs = Jobs(store.engine)
    first = order_structuring(jobs, WHO)
    assert order_structuring(jobs, WHO).uid == first.uid
    jobs.release_key(first.uid)
    assert order_structuring(jobs, WHO).uid != first.uid


def test_unreadable_text_is_kept_and_refused_with_a_reason(store: Store) -> None:
    receipt = receive(store, "x7#q %% zz 88 ~~ @@ ]] 0O0 " * 50)
    record = whole(store, receipt.uid).record
    assert (record.state, bool(record.reason)) == ("refused", True)
    assert [hit.record.uid for hit in found(store, ReportQuery(state="refused"))] == [receipt.uid]
