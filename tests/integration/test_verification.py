"""Stored files are read again without being asked, and what has lost its bytes is served no longer."""

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import select, text, update
from typer.testing import CliRunner

from dicomsvc.audit.trail import Keeper, audit_event
from dicomsvc.cli import app
from dicomsvc.config import Settings, StoreSettings
from dicomsvc.errors import DamagedFile, OutOfResources
from dicomsvc.store import Condition, Reach, Source, Store
from dicomsvc.store import digest as digests
from dicomsvc.store.database import _alembic as alembic_config
from dicomsvc.store.database import migrate
from dicomsvc.store.digest import SendingDigest, digest_file
from dicomsvc.store.findings import Finding, look_at, settle
from dicomsvc.store.scheduled_verification import ScheduledVerification
from dicomsvc.store.tables import audit, instance, verification
from dicomsvc.store.verification import longest_unread, upkeep
from tests.instances import part10, wsi_dataset
from tests.waiting import eventually

DAY = 86400


def add(store: Store, content: bytes | None = None, seed: int = 0) -> str:
    with store.spool() as file:
        file.write(content or part10(wsi_dataset(seed=seed)))
        return store.add(file, Source("test", "tester")).sop_instance_uid


def path_of(store: Store, uid: str) -> Path:
    return store.instances.find_sop_instance(uid).path


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def age(store: Store, days: float, *uids: str) -> None:
    """Have files not been read for some days."""
    keys = select(instance.c.id).where(instance.c.sop_instance_uid.in_(uids))
    past = text(f"clock_timestamp() - interval '{days} days'")
    with store.engine.begin() as connection:
        statement = update(verification).values(verified_at=past)
        connection.execute(statement.where(verification.c.instance_key.in_(keys)) if uids else statement)


def unread_days(store: Store, uid: str) -> float:
    statement = text(
        "SELECT extract(epoch FROM clock_timestamp() - verified_at) / 86400 FROM verification"
        " JOIN instance ON id = instance_key WHERE sop_instance_uid = :uid"
    )
    with store.engine.connect() as connection:
        return float(connection.execute(statement, {"uid": uid}).scalar_one())


def is_damaged(store: Store, uid: str) -> bool:
    return store.instances.find_sop_instance(uid).damaged


def deeds(store: Store) -> list[str]:
    with store.engine.connect() as connection:
        return list(connection.scalars(select(audit.c.action).where(audit.c.action != "stored").order_by(audit.c.id)))


def scheduled(store: Store, **options: float) -> ScheduledVerification:
    return ScheduledVerification(store.layout, store.engine, StoreSettings(**options), pause_seconds=0.05)


@pytest.fixture
def at_work() -> Iterator[Callable[[ScheduledVerification], None]]:
    started: list[ScheduledVerification] = []

    def start(one: ScheduledVerification) -> None:
        started.append(one)
        one.start()

    yield start
    for one in started:
        one.stop()


def test_damage_is_found_without_being_asked(
    store: Store,
    at_work: Callable[[ScheduledVerification], None],
    caplog: pytest.LogCaptureFixture,
    settings: Settings,
) -> None:
    damaged, sound = add(store, seed=1), add(store, seed=2)
    damage(path_of(store, damaged))
    age(store, 31)
    verifying = scheduled(store)
    with caplog.at_level(logging.ERROR):
        at_work(verifying)
        assert eventually(lambda: is_damaged(store, damaged))
        assert eventually(lambda: unread_days(store, sound) < 1)
    with pytest.raises(DamagedFile):
        store.instances.find_sop_instance(damaged).readable_path()
    assert not is_damaged(store, sound)
    assert unread_days(store, damaged) < 1
    assert caplog.messages == [f"the file of instance {damaged} is damaged; it is no longer served"]
    assert eventually(lambda: verifying.counters()["dicomsvc_files_verified_total"] == 2)
    assert verifying.counters()["dicomsvc_files_found_damaged_total"] == 1
    assert verifying.counters()["dicomsvc_bytes_verified_total"] == sum(
        path_of(store, uid).stat().st_size for uid in (damaged, sound)
    )
    assert deeds(store) == ["damaged"]
    Keeper(store.engine, settings).keep()
    with store.engine.connect() as connection:
        told = connection.execute(select(audit_event).where(audit_event.c.event == "security-alert")).one()
    assert told.outcome == 8 and damaged in told.message and "no longer served" in told.message


def test_a_missing_file_is_found_too_and_one_that_has_its_bytes_again_is_served(store: Store) -> None:
    lost, restored = add(store, seed=1), add(store, seed=2)
    add(store, seed=3)
    content = path_of(store, restored).read_bytes()
    path_of(store, lost).unlink()
    damage(path_of(store, restored))
    age(store, 31)
    assert scheduled(store).step()
    assert is_damaged(store, lost) and is_damaged(store, restored)
    path_of(store, restored).write_bytes(content)
    age(store, 31)
    verifying = scheduled(store)
    assert verifying.step()
    assert is_damaged(store, lost) and not is_damaged(store, restored)
    assert verifying.counters()["dicomsvc_files_found_damaged_total"] == 0, "it was known"
    assert sorted(deeds(store)) == ["damaged", "damaged", "sound again"]


def test_only_what_was_not_read_for_long_is_read_and_that_first_which_was_not_for_longest(store: Store) -> None:
    fresh, old, older = (add(store, seed=seed) for seed in (1, 2, 3))
    age(store, 25, old)
    age(store, 400, older)
    due = longest_unread(store.layout, store.engine, seconds=24 * DAY, limit=10)
    assert [subject.sop_instance_uid for subject in due] == [older, old]
    assert 399 * DAY < upkeep(store.engine).longest_unread_seconds < 401 * DAY
    damage(path_of(store, fresh))
    verifying = scheduled(store)
    assert verifying.step() and not verifying.step()
    assert not is_damaged(store, fresh) and unread_days(store, old) < 1 and unread_days(store, older) < 1


def test_files_are_read_before_their_time_is_up(store: Store) -> None:
    uid = add(store)
    store.verify()
    age(store, 23, uid)
    assert not scheduled(store).step()
    age(store, 25, uid)
    assert scheduled(store).step()


def test_what_came_is_read_soon_but_not_at_once_and_then_not_again(store: Store) -> None:
    uid = add(store)
    record = store.instances.find_sop_instance(uid)
    assert store.instances.blocks(record) is None
    assert not scheduled(store).step()
    age(store, 2 / 24 / 60, uid)
    verifying = scheduled(store)
    assert verifying.step() and not verifying.step()
    blocks = store.instances.blocks(record)
    assert blocks is not None and blocks.hold(0, record.path.read_bytes())
    age(store, 1, uid)
    assert not verifying.step()


def test_what_was_damaged_before_it_was_read_at_all_is_not_read_over_and_over(store: Store) -> None:
    uid = add(store)
    content = path_of(store, uid).read_bytes()
    damage(path_of(store, uid))
    age(store, 1, uid)
    verifying = scheduled(store)
    assert verifying.step() and not verifying.step()
    record = store.instances.find_sop_instance(uid)
    assert record.damaged and store.instances.blocks(record) is None
    add(store, content)
    age(store, 1, uid)
    assert verifying.step()
    assert not is_damaged(store, uid) and store.instances.blocks(record) is not None


def test_nothing_is_read_where_it_is_switched_off(store: Store) -> None:
    add(store)
    age(store, 400)
    verifying = scheduled(store, verify_days=0)
    verifying.start()
    verifying.stop()
    assert verifying.counters()["dicomsvc_files_verified_total"] == 0


def test_reading_is_as_slow_as_it_is_to_be(store: Store) -> None:
    for seed in range(4):
        add(store, seed=seed)
    age(store, 31)
    begun = time.monotonic()
    # Each file counts as 256 KiB at least.
    assert scheduled(store, verify_mb_per_second=2).step()
    assert time.monotonic() - begun > 0.5


def test_two_never_read_the_same_and_another_goes_on_when_one_has_stopped(
    store: Store, at_work: Callable[[ScheduledVerification], None]
) -> None:
    uids = [add(store, seed=seed) for seed in range(12)]
    age(store, 31)
    several = [scheduled(store, verify_mb_per_second=4) for _ in range(3)]

    def read() -> list[float]:
        return [one.counters()["dicomsvc_files_verified_total"] for one in several]

    for one in several:
        at_work(one)
    assert eventually(lambda: sum(read()) == len(uids))
    assert not longest_unread(store.layout, store.engine, seconds=DAY, limit=1)
    several[0].stop()
    age(store, 31)
    assert eventually(lambda: sum(read()) == 2 * len(uids)), read()
    time.sleep(0.3)
    assert sum(read()) == 2 * len(uids), "something was read twice"


def test_what_was_read_before_it_was_stopped_is_not_read_again(store: Store) -> None:
    first, second = add(store, seed=1), add(store, seed=2)
    age(store, 40, first)
    age(store, 31, second)
    verifying = scheduled(store, verify_mb_per_second=0.1)
    verifying.start()
    size = path_of(store, first).stat().st_size
    assert eventually(lambda: verifying.counters()["dicomsvc_bytes_verified_total"] > size)
    verifying.stop()
    assert unread_days(store, first) < 1 and unread_days(store, second) > 30
    assert scheduled(store).step()
    assert unread_days(store, second) < 1


def test_an_empty_folder_is_no_proof_that_all_files_are_missing(store: Store, folder: Path) -> None:
    uid = add(store)
    age(store, 31)
    store.layout.instances.rename(folder / "elsewhere")
    store.layout.create()
    with pytest.raises(OutOfResources, match="mounted"):
        scheduled(store).step()
    with pytest.raises(OutOfResources, match="mounted"):
        store.verify()
    assert not is_damaged(store, uid)


def test_a_file_that_came_again_while_it_was_read_is_not_called_damaged(store: Store) -> None:
    ds = wsi_dataset()
    uid = add(store, part10(ds))
    damage(path_of(store, uid))
    [subject] = longest_unread(store.layout, store.engine, seconds=0, limit=1)
    finding = look_at(subject)
    assert finding.condition is Condition.DAMAGED
    store.verify()
    add(store, part10(ds))
    assert not is_damaged(store, uid)
    assert settle(store.engine, [finding]) == []
    assert not is_damaged(store, uid)


@pytest.mark.parametrize("condition", [Condition.MISSING, Condition.DAMAGED, Condition.SOUND])
def test_what_was_deleted_while_it_was_read_is_no_finding(store: Store, condition: Condition) -> None:
    uid = add(store)
    [subject] = longest_unread(store.layout, store.engine, seconds=0, limit=1)
    store.delete("tester", store.instances.find_sop_instance(uid).study_instance_uid)
    assert settle(store.engine, [Finding(subject, condition, None)]) == []
    assert deeds(store) == ["delete"]


def test_verify_tells_how_far_it_is_and_what_it_read(store: Store) -> None:
    uids = [add(store, seed=seed) for seed in range(5)]
    size = sum(path_of(store, uid).stat().st_size for uid in uids)
    age(store, 10)
    told: list[Reach] = []
    result = store.verify(told.append)
    assert (result.checked, result.bytes) == (5, size)
    assert told[-1] == Reach(5, 5, size, size)
    assert [each.files for each in told] == sorted(each.files for each in told)
    assert all(unread_days(store, uid) < 1 for uid in uids)


def test_verify_may_leave_out_what_was_read_lately(store: Store) -> None:
    fresh, old = add(store, seed=1), add(store, seed=2)
    age(store, 10, old)
    damage(path_of(store, fresh))
    assert store.verify(older_than_days=7).checked == 1
    assert not is_damaged(store, fresh)
    result = store.verify()
    assert result.checked == 2 and result.damaged == [fresh]
    damage(path_of(store, fresh))
    result = store.verify(older_than_days=7)
    assert result.checked == 1 and result.sound, "what was damaged and has been restored is read"
    assert not is_damaged(store, fresh)


def test_verify_finds_files_that_no_row_names_among_many(store: Store) -> None:
    add(store)
    strangers = [store.layout.instance_path(f"{number:064x}") for number in range(600)]
    strangers[0].parent.mkdir(exist_ok=True)
    for stranger in strangers:
        stranger.touch()
    assert store.verify().orphans == sorted(stranger.name for stranger in strangers)


def test_the_command_verifies_what_is_older(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = add(store)
    damage(path_of(store, damaged))
    assert settings.database.url is not None
    monkeypatch.setenv("DICOMSVC_DATABASE__URL", settings.database.url.get_secret_value())
    arguments = ["verify", "--json", "--data", str(settings.data)]
    recent = CliRunner().invoke(app, [*arguments, "--older-than", "1"])
    assert recent.exit_code == 0 and json.loads(recent.stdout)["checked"] == 0
    whole = CliRunner().invoke(app, arguments)
    assert whole.exit_code == 1 and json.loads(whole.stdout)["damaged"] == [damaged]
    assert CliRunner().invoke(app, [*arguments, "--older-than", "-1"]).exit_code == 2


def test_damaged_files_are_counted(store: Store) -> None:
    uids = [add(store, seed=seed) for seed in range(3)]
    for uid in uids[:2]:
        store.mark_damaged(uid)
        store.mark_damaged(uid)
    assert upkeep(store.engine).damaged == 2
    assert deeds(store) == ["damaged", "damaged"]


def test_rebuilding_the_index_keeps_no_times_of_what_was(store: Store) -> None:
    uid = add(store)
    age(store, 100)
    store.reindex(rebuild=True)
    assert unread_days(store, uid) < 1


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4 << 20, (4 << 20) + 1, 9_000_001])
def test_the_digest_past_the_cache_is_that_of_the_bytes(folder: Path, size: int) -> None:
    path = folder / "file"
    content = os.urandom(size)
    path.write_bytes(content)
    counted: list[int] = []
    digest = digest_file(path, counted.append)
    assert sum(counted) == size
    assert digest == hashlib.sha256(content).digest()


def test_the_digest_is_the_same_where_reads_cannot_pass_the_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "file"
    path.write_bytes(os.urandom(5_000_000))
    expected = digest_file(path)
    read = os.preadv

    def refusing(descriptor: int, buffers: tuple[memoryview, ...], offset: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(digests.os, "preadv", refusing)
    assert digest_file(path) == expected


def test_a_file_that_is_sent_is_compared_before_its_end() -> None:
    content = os.urandom(1000)
    sha256 = hashlib.sha256(content).digest()
    right, wrong = SendingDigest(sha256, 1000), SendingDigest(sha256, 1000)
    assert [right.holds(content[:600]), right.holds(content[600:])] == [True, True]
    assert [wrong.holds(content[:600]), wrong.holds(b"\0" * 400)] == [True, False]
    assert SendingDigest(None, 5).holds(b"12345")


def test_files_of_a_store_from_before_are_read_too(store: Store) -> None:
    uid = add(store)
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE instance SET stored_at = now() - interval '90 days'"))
        command.downgrade(alembic_config(connection), "0010")
    migrate(store.engine)
    assert 89 < unread_days(store, uid) < 91
    verifying = scheduled(store)
    assert verifying.step() and not verifying.step()
    assert unread_days(store, uid) < 1
    assert store.instances.blocks(store.instances.find_sop_instance(uid)) is not None


def is_cached(path: Path) -> bool:
    """Whether the operating system has a file's begin in memory; being asked, it may fetch it."""
    with path.open("rb", buffering=0) as file:
        try:
            return os.preadv(file.fileno(), [bytearray(4096)], 0, os.RWF_NOWAIT) == 4096
        except BlockingIOError:
            return False


def on_disk_only(path: Path) -> Path:
    with path.open("wb", buffering=0) as file:
        file.write(os.urandom(8 << 20))
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


def test_reading_a_file_again_neither_fills_the_cache_nor_empties_it(folder: Path) -> None:
    try:
        if is_cached(on_disk_only(folder / "probe")):
            pytest.skip("the file system keeps files in memory only")
    except OSError:
        pytest.skip("the file system does not say what is in memory")
    path = on_disk_only(folder / "file")
    digest_file(path)
    assert not is_cached(path)
    path.read_bytes()
    assert is_cached(path)
    digest_file(path)
    assert is_cached(path)
