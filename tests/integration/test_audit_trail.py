"""The trail in the database: what joins it, how it is chained, and that tampering shows."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lxml import etree
from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner, Result

from dicomsvc.audit import (
    Action,
    InstancesAccessed,
    Outcome,
    Party,
    Query,
    SecurityAlert,
    Share,
    record,
    recording,
)
from dicomsvc.audit.journal import row_of
from dicomsvc.audit.reading import Wanted, export_of, prune, read
from dicomsvc.audit.syslog import frame
from dicomsvc.audit.trail import WINDOWS, Keeper, Link, Window, audit_event, audit_head
from dicomsvc.audit.transfers import Transfer
from dicomsvc.audit.verification import AnchorFile, head_of, parse_anchor, verify
from dicomsvc.cli import app
from dicomsvc.config import Settings
from dicomsvc.errors import BadRequest, DuplicateInstance
from dicomsvc.service.child import dump_settings
from dicomsvc.store import Source, Store, Stored
from dicomsvc.store.tables import audit
from tests.instances import VL_WHOLE_SLIDE, part10, wsi_dataset

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).parents[1] / "data" / "audit-message.rng"))
SCANNER = Source("dimse", "SCANNER", "10.0.0.7")
ADA = Party("ada", "10.0.0.8")


def add(store: Store, source: Source = SCANNER, **elements: str) -> Stored:
    with store.spool() as file:
        file.write(part10(wsi_dataset(**elements)))
        return store.add(file, source)


def keep(store: Store) -> int:
    return Keeper(store.engine, store.settings).keep(everything=True)


def trail(store: Store, **wanted: object) -> list[Link]:
    keep(store)
    return list(read(store.engine, Wanted(**wanted), ADA))  # type: ignore[arg-type]


def xml(link: Link) -> etree._Element:
    root = etree.fromstring(link.message)
    assert SCHEMA.validate(root), SCHEMA.error_log
    return root


def seen(count: int = 1) -> InstancesAccessed:
    return InstancesAccessed(user=ADA, shares=(Share("1.2.3", "P-1", {VL_WHOLE_SLIDE: count}),))


def fill(store: Store, count: int) -> None:
    for number in range(count):
        record(store.engine, Query(user=ADA, subject="/dicomweb/studies", query=b"PatientID=%d" % number))
    assert keep(store) == count


def tamper(store: Store, *statements: object) -> None:
    """Change the trail as somebody could who rules the database."""
    with store.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            connection.execute(text(statement) if isinstance(statement, str) else statement)  # type: ignore[call-overload]


def test_instances_of_a_study_are_one_message_with_sender_study_patient_and_counts(store: Store) -> None:
    study = add(store, patient_id="P-7").study_instance_uid
    for _ in range(4):
        add(store, study_instance_uid=study, patient_id="P-7")
    other = add(store, patient_id="P-8").study_instance_uid
    first, second = trail(store)
    assert (first.event, first.who, first.study_instance_uids) == ("instances-transferred", ("SCANNER",), (study,))
    assert first.patient_ids == ("P-7",)
    assert second.study_instance_uids == (other,)
    root = xml(first)
    assert root.find("EventIdentification").get("EventActionCode") == "C"
    sop_class = root.find(".//SOPClass")
    assert (sop_class.get("UID"), sop_class.get("NumberOfInstances"), len(sop_class)) == (VL_WHOLE_SLIDE, "5", 5)
    assert root.find(".//Accession").get("Number") == "A1"
    assert root.find("ActiveParticipant").get("NetworkAccessPointID") == "10.0.0.7"


def test_what_was_here_already_is_told_as_read(store: Store) -> None:
    content = part10(wsi_dataset())
    for _ in range(2):
        with store.spool() as file:
            file.write(content)
            store.add(file, SCANNER)
    assert [xml(link).find("EventIdentification").get("EventActionCode") for link in trail(store)] == ["C", "R"]


def test_an_import_a_result_a_deletion_and_a_conflict_are_told_as_what_they_are(store: Store) -> None:
    imported = add(store, Source("import", "ada"), patient_id="P-3")
    add(store, Source("analysis", "ada"), study_instance_uid=imported.study_instance_uid, patient_id="P-3")
    with pytest.raises(DuplicateInstance):
        add(store, sop_instance_uid=imported.sop_instance_uid, seed=5)
    store.delete("ada", imported.study_instance_uid, imported.series_instance_uid)
    store.delete("ada", imported.study_instance_uid)
    links = trail(store)
    assert [link.event for link in links] == [
        "import",
        "instances-accessed",
        "security-alert",
        "instances-accessed",
        "study-deleted",
    ]
    roots = list(map(xml, links))
    assert [root.find("EventIdentification").get("EventActionCode") for root in roots] == ["C", "C", "E", "D", "D"]
    assert links[2].outcome == Outcome.MINOR_FAILURE
    # The study is gone, whose it was is known.
    assert links[4].patient_ids == ("P-3",)
    assert roots[4].find(".//SOPClass").get("NumberOfInstances") == "1"


def test_a_store_that_fails_leaves_no_event(store: Store) -> None:
    with pytest.raises(Exception, match="belongs to another study"), store.spool() as file:
        file.write(part10(wsi_dataset()))
        store.add(file, SCANNER, study_instance_uid="1.2.3")
    assert trail(store) == []


def test_alike_events_wait_for_each_other_and_others_do_not(store: Store) -> None:
    windows = {**WINDOWS, "instances-accessed": Window(0.4, 60)}
    keeper = Keeper(store.engine, store.settings, windows)
    record(store.engine, seen(1), seen(2))
    record(store.engine, Query(user=ADA, subject="/dicomweb/studies", query=b""))
    assert keeper.keep() == 1
    deadline = time.monotonic() + 20
    while not keeper.keep():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [link.event for link in trail(store)] == ["query", "instances-accessed"]
    assert xml(trail(store)[1]).find(".//SOPClass").get("NumberOfInstances") == "3"


def test_a_stream_of_events_without_a_pause_is_told_after_the_longest_time(store: Store) -> None:
    keeper = Keeper(store.engine, store.settings, {"instances-accessed": Window(1000, 5)})
    with store.engine.begin() as connection:
        connection.execute(audit.insert(), [row_of(seen(), datetime.now(UTC) - timedelta(seconds=6))])
    record(store.engine, seen())
    assert keeper.keep() == 1


def test_the_index_fills_in_patient_and_class_of_frames_that_were_seen(store: Store) -> None:
    stored = add(store, patient_id="P-5")
    keep(store)
    share = Share(stored.study_instance_uid, None, {}, {"": (stored.sop_instance_uid,)})
    record(store.engine, InstancesAccessed(user=ADA, shares=(share,)))
    [link] = trail(store, events=("instances-accessed",))
    assert link.patient_ids == ("P-5",)
    assert xml(link).find(".//SOPClass").get("UID") == VL_WHOLE_SLIDE


def test_a_row_that_cannot_be_read_is_told_of_and_holds_nothing_up(store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(audit.insert().values(who="x", action="query", detail={"query": 5}))
        connection.execute(audit.insert().values(who="ada", action="disable model", detail={"model": "nuclei"}))
    strange, notice = trail(store)
    assert (strange.event, strange.outcome) == ("security-alert", Outcome.MINOR_FAILURE)
    assert (notice.event, notice.outcome) == ("security-alert", Outcome.SUCCESS)
    xml(strange)
    xml(notice)


def test_an_untouched_trail_verifies_and_reading_it_is_in_it(store: Store) -> None:
    assert verify(store.engine).sound
    fill(store, 5)
    assert len(trail(store)) == 5
    assert [link.event for link in trail(store)][-1] == "audit-log-used"
    result = verify(store.engine, [head_of(store.engine)])
    assert (result.sound, result.checked, result.anchors) == (True, 6, 1)


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE audit_event SET message = replace(message, 'ada', 'eve') WHERE id = 3", "row 3 was changed"),
        ("UPDATE audit_event SET at = at + interval '1 day' WHERE id = 3", "row 3 was changed"),
        ("UPDATE audit_event SET who = '{eve}' WHERE id = 3", "row 3 was changed"),
        ("UPDATE audit_event SET study_instance_uids = '{1.2}' WHERE id = 3", "row 3 was changed"),
        ("DELETE FROM audit_event WHERE id = 3", "rows 3 to 3 are missing"),
        ("DELETE FROM audit_event WHERE id < 3", "rows 1 to 2 are missing"),
        ("DELETE FROM audit_event WHERE id > 6", "rows 7 to 8 are missing at the end"),
        ("DELETE FROM audit_head", "the head of the chain is missing"),
        (
            "INSERT INTO audit_event SELECT 9, at, event, outcome, who, study_instance_uids, patient_ids, message, hash"
            " FROM audit_event WHERE id = 8",
            "row 9 was changed or does not follow",
        ),
    ],
)
def test_tampering_shows_and_is_placed(store: Store, statement: str, finding: str) -> None:
    fill(store, 8)
    tamper(store, statement)
    result = verify(store.engine)
    assert not result.sound
    assert result.findings[0].startswith(finding)


def test_a_row_put_in_between_shows(store: Store) -> None:
    fill(store, 4)
    tamper(
        store,
        "UPDATE audit_event SET id = id + 1000 WHERE id > 2",
        "UPDATE audit_event SET id = id - 999 WHERE id > 1000",
        "INSERT INTO audit_event SELECT 3, at, event, outcome, who, study_instance_uids, patient_ids, message, hash"
        " FROM audit_event WHERE id = 1",
        "UPDATE audit_head SET id = 5",
    )
    assert verify(store.engine).findings[0].startswith("row 3 was changed")


def test_a_chain_made_anew_from_a_row_on_and_a_cut_tail_do_not_agree_with_an_anchor(store: Store) -> None:
    fill(store, 5)
    anchors = AnchorFile(store.layout.root)
    anchors.add(head_of(store.engine))
    with store.engine.begin() as connection:
        rows = connection.execute(select(audit_event).order_by(audit_event.c.id)).all()
    before = rows[2].hash
    changes: list[object] = []
    for row in rows[3:]:
        made = Link(row.id, row.at, row.event, 8, ("eve",), (), (), row.message.replace("ada", "eve"))
        before = made.hash_after(before)
        values = {"outcome": 8, "who": ["eve"], "message": made.message, "hash": before}
        changes.append(audit_event.update().where(audit_event.c.id == row.id).values(values))
    tamper(store, *changes, audit_head.update().values(hash=before))
    assert verify(store.engine).sound
    assert verify(store.engine, anchors).findings == ["row 5 is not the one that an anchor names"]
    tamper(
        store,
        delete(audit_event).where(audit_event.c.id == 5),
        "UPDATE audit_head SET id = 4, hash = (SELECT hash FROM audit_event WHERE id = 4)",
    )
    assert verify(store.engine).sound
    assert verify(store.engine, anchors).findings == ["row 5, which an anchor names, is missing"]


def test_the_database_refuses_to_change_or_remove_rows(store: Store) -> None:
    fill(store, 2)
    for statement in ("UPDATE audit_event SET outcome = 8", "DELETE FROM audit_event", "TRUNCATE audit_event"):
        with pytest.raises(DBAPIError, match="only added to"), store.engine.begin() as connection:
            connection.execute(text(statement))
    assert verify(store.engine).checked == 2


def test_what_was_pruned_is_gone_and_the_rest_verifies(store: Store) -> None:
    fill(store, 3)
    between = datetime.now(UTC)
    fill(store, 2)
    early = parse_anchor(str(head_of(store.engine)))
    assert prune(store.engine, between, ADA) == 3
    assert keep(store) == 1
    result = verify(store.engine, [early])
    assert (result.sound, result.first, result.last, result.anchors) == (True, 4, 6, 1)
    assert trail(store)[-1].event in ("security-alert", "audit-log-used")
    assert prune(store.engine, between, ADA) == 0
    tamper(store, "DELETE FROM audit_event WHERE id = 4")
    assert not verify(store.engine).sound


def test_nothing_is_pruned_that_the_collector_was_not_sent(store: Store) -> None:
    fill(store, 3)
    later = datetime.now(UTC) + timedelta(days=1)
    assert prune(store.engine, later, ADA, sent_to="log.example.org:6514") == 0
    with store.engine.begin() as connection:
        connection.execute(text("INSERT INTO audit_sent (collector, id) VALUES ('log.example.org:6514', 2)"))
    assert prune(store.engine, later, ADA, sent_to="log.example.org:6514") == 2


def test_rows_are_found_by_time_event_user_study_patient_and_outcome(store: Store) -> None:
    study = add(store, patient_id="P-1").study_instance_uid
    add(store, Source("dimse", "OTHER"), patient_id="P-2")
    record(store.engine, SecurityAlert(kind="NodeAuthentication", subject="urn:x", outcome=Outcome.MINOR_FAILURE))
    assert [link.study_instance_uids for link in trail(store, study_instance_uid=study)] == [(study,)]
    assert [link.patient_ids for link in trail(store, patient_id="P-2")] == [("P-2",)]
    assert [link.patient_ids for link in trail(store, user="OTHER")] == [("P-2",)]
    assert [link.event for link in trail(store, failures=True)] == ["security-alert"]
    assert len(trail(store, events=("instances-transferred",))) == 2
    assert trail(store, until=datetime.now(UTC) - timedelta(hours=1)) == []
    assert trail(store, since=datetime.now(UTC) + timedelta(hours=1)) == []


def test_a_recorder_writes_in_the_background_and_all_of_it_at_the_end(store: Store) -> None:
    with recording(store.engine):
        for _ in range(2500):
            record(store.engine, Query(user=ADA, subject="/dicomweb/studies", query=b""))
    with store.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(audit)) == 2500
    assert len(trail(store)) == 2500


@pytest.mark.parametrize("written", ["1", "x:00", "1:00", "0:" + "00" * 32, "1:" + "zz" * 32])
def test_what_is_no_anchor_is_refused(written: str) -> None:
    with pytest.raises(BadRequest):
        parse_anchor(written)


PROCESS = textwrap.dedent(
    """
    import sys
    from dicomsvc.audit import Party, Query, record
    from dicomsvc.audit.trail import Keeper
    from dicomsvc.service.child import receive_settings
    from dicomsvc.store import Store

    with Store(receive_settings()) as store:
        keeper = Keeper(store.engine, store.settings)
        for number in range(int(sys.argv[2])):
            record(store.engine, Query(user=Party(sys.argv[1]), subject="/x", query=b"%d" % number))
            print(number, flush=True)
            if number % 3 == 0:
                keeper.keep()
    """
)


@pytest.fixture
def start(settings: Settings) -> Callable[[str, int], "subprocess.Popen[str]"]:
    def process(name: str, count: int) -> "subprocess.Popen[str]":
        started = subprocess.Popen(
            [sys.executable, "-c", PROCESS, name, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert started.stdin is not None
        started.stdin.write(dump_settings(settings) + "\n")
        started.stdin.flush()
        return started

    return process


def test_many_processes_make_one_chain(store: Store, start: Callable[[str, int], "subprocess.Popen[str]"]) -> None:
    processes = [start(f"p{number}", 40) for number in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert len(process.stdout.readlines()) == 40
        assert process.wait(20) == 0
    links = trail(store)
    assert verify(store.engine).sound
    assert sorted(link.who[0] for link in links) == sorted(f"p{number}" for number in range(3) for _ in range(40))


def test_killed_processes_leave_a_whole_chain_with_all_that_they_recorded(
    store: Store, start: Callable[[str, int], "subprocess.Popen[str]"]
) -> None:
    for round_ in range(2):
        process = start(f"k{round_}", 100_000)
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(20 + 17 * round_)]
        os.kill(process.pid, signal.SIGKILL)
        said += process.stdout.readlines()
        process.wait(20)
        recorded = len([line for line in said if line.endswith("\n")])
        links = trail(store, user=f"k{round_}")
        # What was being recorded when the kill came may be there without having been said.
        assert recorded <= len(links) <= recorded + 1
        assert verify(store.engine).sound


def command(settings: Settings, *arguments: str) -> Result:
    assert settings.database.url is not None
    environment = {"DICOMSVC_DATABASE__URL": settings.database.url.get_secret_value()}
    return CliRunner().invoke(app, ["audit", *arguments, "--data", str(settings.data)], env=environment)


def test_the_commands_verify_list_export_anchor_and_prune(store: Store, settings: Settings) -> None:
    study = add(store, patient_id="P-MARKER").study_instance_uid
    record(store.engine, Query(user=ADA, subject="/dicomweb/studies", query=b"PatientID=P-MARKER"))
    assert json.loads(command(settings, "verify", "--json").stdout)["sound"]
    anchor = command(settings, "anchor").stdout.strip()
    assert command(settings, "verify", "--anchor", anchor).exit_code == 0
    [row] = json.loads(command(settings, "list", "--study", study, "--json").stdout)
    assert row["patient_ids"] == ["P-MARKER"]
    exported = command(settings, "export", "--format", "xml", "--event", "query")
    document = etree.fromstring(exported.stdout.encode())
    assert [SCHEMA.validate(etree.fromstring(etree.tostring(message))) for message in document] == [True]
    lines = command(settings, "export").stdout.splitlines()
    assert [json.loads(line)["event"] for line in lines] == [
        "instances-transferred",
        "query",
        "audit-log-used",
        "audit-log-used",
        "audit-log-used",
    ][: len(lines)]
    assert command(settings, "list", "--event", "nonsense").exit_code == 2
    tamper(store, "UPDATE audit_event SET outcome = 4 WHERE id = 2")
    broken = command(settings, "verify", "--json")
    assert broken.exit_code == 1
    assert json.loads(broken.stdout)["findings"][0].startswith("row 2 was changed")
    assert "P-MARKER" not in broken.stdout + broken.stderr
    assert trail(store, failures=True)[-1].event == "security-alert"
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    assert json.loads(command(settings, "prune", "--before", tomorrow, "--yes", "--json").stdout)["removed"] >= 6
    assert command(settings, "verify").exit_code == 0


def test_an_action_of_a_result_is_a_creation(store: Store) -> None:
    add(store, Source("verdict", "ada"))
    [link] = trail(store)
    assert xml(link).find("EventIdentification").get("EventActionCode") == Action.CREATE


def test_a_transfer_is_told_as_begun_done_and_failed_per_study(store: Store) -> None:
    first, second = add(store, patient_id="P-1"), add(store, patient_id="P-2")
    keep(store)
    statuses = {first.sop_instance_uid: 0, second.sop_instance_uid: 0xA700}
    asker = Party("ASKER", "10.0.0.9", "ASKER")
    with Transfer(store.engine, Party("ARCHIVE", "10.0.0.1", "ARCHIVE"), requestor=asker) as transfer:
        send = transfer.each(lambda instance: statuses[instance.sop_instance_uid])
        assert [send(instance) for instance in (first, second)] == [0, 0xA700]
        with pytest.raises(OSError, match="gone"):
            transfer.each(fail)(first)
    links = trail(store, user="ARCHIVE")
    assert [(link.event, link.outcome, link.patient_ids) for link in links] == [
        ("begin-transferring", 0, ("P-1",)),
        ("begin-transferring", 0, ("P-2",)),
        ("instances-transferred", 0, ("P-1",)),
        ("instances-transferred", 4, ("P-2",)),
        ("instances-transferred", 4, ("P-1",)),
    ]
    assert all(link.who == ("ASKER", "ARCHIVE") for link in links)
    xml(links[2])


def fail(_: object) -> int:
    raise OSError("gone")


def test_an_export_names_the_folder_and_whether_it_was_de_identified(store: Store, tmp_path: Path) -> None:
    stored = add(store, patient_id="P-1")
    record(store.engine, export_of([stored], tmp_path / "out", anonymized=True))
    [link] = trail(store, events=("export",))
    root = xml(link)
    media = root.findall("ActiveParticipant")[-1]
    assert media.get("UserID") == (tmp_path / "out").as_uri()
    assert media.find("MediaIdentifier/MediaType").get("csd-code") == "110037"
    assert root.find(".//Anonymized").text == "true"


def test_a_message_is_never_longer_than_every_collector_takes(store: Store) -> None:
    classes = {f"1.2.{number}": 64 for number in range(20)}
    instances = {uid: tuple(f"{uid}.{number:050d}" for number in range(64)) for uid in classes}
    share = Share("1.2.3", "P-1", classes, instances)
    record(store.engine, InstancesAccessed(user=ADA, shares=(share,)))
    record(store.engine, Query(user=ADA, subject="/x", query=b"\xff" * 100_000))
    for link in trail(store):
        assert len(frame(link, "a-host-with-a-name.example.org")) < 32768
        xml(link)
    [link] = trail(store, events=("instances-accessed",))
    assert sum(int(each.get("NumberOfInstances")) for each in xml(link).iter("SOPClass")) == 1280


def test_a_clock_that_is_ahead_holds_nothing_up(store: Store) -> None:
    keeper = Keeper(store.engine, store.settings)
    with store.engine.begin() as connection:
        connection.execute(audit.insert(), [row_of(seen(), datetime.now(UTC) + timedelta(hours=2))])
    assert keeper.keep() == 1
