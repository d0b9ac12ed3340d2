"""Work items from request to end: real database, real queue, real child processes."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command

from dicomsvc.config import Settings
from dicomsvc.errors import BadRequest, Conflict, NotFound
from dicomsvc.jobs import Jobs, Patience, Priority, State, Worker, WorkItem, follow
from dicomsvc.store import Store
from dicomsvc.store.database import _alembic
from tests.integration.work_handlers import HANDLERS

IMPATIENT = Patience(heartbeat=0.3, stalled=1.5, grace=1.0, retry=0.1, stall=3.0)


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store.engine)


@contextmanager
def working(store: Store, patience: Patience = IMPATIENT) -> Iterator[Worker]:
    worker = Worker(store.settings, store.engine, HANDLERS, patience=patience)
    ready = threading.Event()
    thread = threading.Thread(target=worker.run, kwargs={"on_ready": ready.set})
    thread.start()
    try:
        assert ready.wait(20)
        yield worker
    finally:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive()


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def rows_in_queue(store: Store) -> int:
    with store.engine.connect() as connection:
        count: int = connection.exec_driver_sql("SELECT count(*) FROM procrastinate_jobs").scalar_one()
        return count


def test_a_work_item_is_done_with_progress_log_and_outputs(store: Store, jobs: Jobs) -> None:
    item = jobs.create("add", {"a": 1, "b": 2}, "tester")
    assert item.state is State.SCHEDULED
    seen: list[tuple[int, int, str]] = []
    with working(store):
        [done] = follow(jobs, [item.uid], lambda *at: seen.append(at))
    assert done.state is State.COMPLETED and done.succeeded
    assert done.outputs["sum"] == 3
    assert done.log == ("added",)
    assert seen[-1] == (2, 2, "done")
    assert done.attempts == 1 and done.started and done.ended
    assert rows_in_queue(store) == 0


def test_the_child_process_is_kept_warm(store: Store, jobs: Jobs) -> None:
    items = [jobs.create("add", {"a": 1, "b": n}, "tester") for n in range(3)]
    with working(store):
        done = follow(jobs, [item.uid for item in items])
    assert len({item.outputs["pid"] for item in done}) == 1
    assert done[0].outputs["pid"] != os.getpid()


def test_one_idempotency_key_makes_one_work_item(jobs: Jobs, store: Store) -> None:
    first = jobs.create("add", {"a": 1, "b": 2}, "tester", key="k")
    assert jobs.create("add", {"a": 9, "b": 9}, "tester", key="k").uid == first.uid
    assert rows_in_queue(store) == 1
    jobs.release_key(first.uid)
    assert jobs.create("add", {"a": 9, "b": 9}, "tester", key="k").uid != first.uid


def test_bad_input_fails_at_once_and_says_why(store: Store, jobs: Jobs) -> None:
    item = jobs.create("refuse", {}, "tester")
    with working(store):
        [failed] = follow(jobs, [item.uid])
    assert failed.state is State.CANCELED and failed.failed
    assert (failed.error_kind, failed.error) == ("ConversionError", "this cannot be converted")
    assert failed.attempts == 1


def test_an_internal_error_fails_without_quoting_what_it_read(store: Store, jobs: Jobs) -> None:
    item = jobs.create("stumble", {}, "tester")
    with working(store):
        [failed] = follow(jobs, [item.uid])
    assert failed.error_kind == "ValueError"
    assert "patient" not in (failed.error or "")


def test_a_crash_costs_one_attempt_and_leaves_nothing_in_the_spool(store: Store, jobs: Jobs) -> None:
    item = jobs.create("die_first", {"deaths": 2}, "tester")
    with working(store):
        [done] = follow(jobs, [item.uid])
    assert done.state is State.COMPLETED
    assert done.outputs == {"attempt": 3}
    assert any("SIGSEGV" in line for line in done.log)
    assert done.error is None
    assert not list(store.layout.spool.glob("*/*.part"))


def test_a_work_item_that_always_crashes_is_given_up(store: Store, jobs: Jobs) -> None:
    item = jobs.create("die_first", {"deaths": 99}, "tester")
    with working(store):
        [failed] = follow(jobs, [item.uid])
    assert failed.failed and failed.error_kind == "ProcessDied"
    assert failed.attempts == store.settings.jobs.attempts
    assert rows_in_queue(store) == 0


def test_lacking_resources_are_waited_for(store: Store, jobs: Jobs) -> None:
    item = jobs.create("lack", {}, "tester")
    with working(store):
        [done] = follow(jobs, [item.uid])
    assert done.state is State.COMPLETED and done.attempts == 2


@pytest.mark.parametrize("kind", ["obey", "ignore", "hold"])
def test_a_running_work_item_is_cancelled_within_two_seconds(store: Store, jobs: Jobs, folder: Path, kind: str) -> None:
    item = jobs.create(kind, {"started": str(folder / "started")}, "tester")
    with working(store):
        until((folder / "started").exists)
        asked = time.monotonic()
        assert jobs.request_cancel(item.uid).cancellation_requested
        until(lambda: jobs.get(item.uid).final)
        assert time.monotonic() - asked < 2.0
        cancelled = jobs.get(item.uid)
        assert cancelled.state is State.CANCELED and not cancelled.failed
        # The worker goes on.
        [done] = follow(jobs, [jobs.create("add", {"a": 1, "b": 1}, "tester").uid])
        assert done.succeeded


def test_a_queued_work_item_is_cancelled_at_once(store: Store, jobs: Jobs) -> None:
    item = jobs.create("add", {"a": 1, "b": 2}, "tester")
    assert jobs.request_cancel(item.uid).state is State.CANCELED
    assert jobs.request_cancel(item.uid).state is State.CANCELED
    assert rows_in_queue(store) == 0


def test_a_completed_work_item_cannot_be_cancelled_or_retried(store: Store, jobs: Jobs) -> None:
    item = jobs.create("add", {"a": 1, "b": 2}, "tester")
    with working(store):
        follow(jobs, [item.uid])
    with pytest.raises(Conflict):
        jobs.request_cancel(item.uid)
    with pytest.raises(Conflict):
        jobs.retry(item.uid)


def test_the_time_left_follows_from_the_rate_of_this_attempt(store: Store, jobs: Jobs, folder: Path) -> None:
    item = jobs.create("obey", {"started": str(folder / "started")}, "tester")
    assert jobs.get(item.uid).time_left_seconds() is None
    with working(store):
        until(lambda: jobs.get(item.uid).time_left_seconds() is not None)
        left = jobs.get(item.uid).time_left_seconds()
        # 600 pieces at 20 a second, on a machine that may be several times slower than it should be.
        assert left is not None and 20 < left < 300
        jobs.request_cancel(item.uid)
        until(lambda: jobs.get(item.uid).final)
    assert jobs.get(item.uid).as_dict()["time_left_seconds"] is None


def test_a_killed_worker_is_noticed_within_half_a_minute() -> None:
    patience = Patience()
    assert patience.stalled + patience.heartbeat < 30
    assert patience.stalled >= 4 * patience.heartbeat


def test_retry_makes_one_new_work_item_with_the_same_inputs(jobs: Jobs) -> None:
    item = jobs.request_cancel(jobs.create("add", {"a": 1, "b": 2}, "tester").uid)
    again = jobs.retry(item.uid)
    assert again.retry_of == item.uid and again.inputs == item.inputs
    assert jobs.retry(item.uid).uid == again.uid


def test_an_unknown_work_item_is_not_found(jobs: Jobs) -> None:
    for ask in (jobs.get, jobs.request_cancel, jobs.retry):
        with pytest.raises(NotFound):
            ask("2.25.1")


def test_search_filters_by_state_and_kind_latest_first(jobs: Jobs) -> None:
    items = [jobs.create("add", {"a": 1, "b": n}, "tester") for n in range(3)]
    jobs.request_cancel(items[1].uid)
    found = jobs.search(state="SCHEDULED", kind="add")
    assert [item.uid for item in found] == [items[2].uid, items[0].uid]
    assert jobs.search(kind="refuse") == []
    with pytest.raises(BadRequest):
        jobs.search(state="RUNNING")


def test_urgent_work_goes_first(store: Store, jobs: Jobs) -> None:
    slow = jobs.create("add", {"a": 1, "b": 1}, "tester", priority=Priority.LOW)
    urgent = jobs.create("add", {"a": 1, "b": 1}, "tester", priority=Priority.HIGH)
    with working(store):
        done = {item.uid: item for item in follow(jobs, [slow.uid, urgent.uid])}
    first, second = done[urgent.uid].started, done[slow.uid].started
    assert first and second and first < second


def test_stopping_hands_the_running_work_item_back_without_counting_the_attempt(
    store: Store, jobs: Jobs, folder: Path
) -> None:
    inputs = {"started": str(folder / "started"), "file": str(folder / "file")}
    item = jobs.create("wait_for_file", inputs, "tester")
    with working(store):
        until((folder / "started").exists)
    waiting = jobs.get(item.uid)
    assert waiting.state is State.IN_PROGRESS and waiting.attempts == 0 and waiting.worker is None
    (folder / "file").touch()
    with working(store):
        [done] = follow(jobs, [item.uid])
    assert done.outputs == {"attempt": 1}


def _work(settings: Settings) -> None:
    with Store(settings) as store:
        Worker(settings, store.engine, HANDLERS, patience=IMPATIENT).run()


@contextmanager
def worker_process(settings: Settings) -> Iterator[multiprocessing.process.BaseProcess]:
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(settings,))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def test_the_work_of_a_killed_worker_is_taken_up_by_another(store: Store, jobs: Jobs, folder: Path) -> None:
    inputs = {"started": str(folder / "started"), "file": str(folder / "file")}
    item = jobs.create("wait_for_file", inputs, "tester")
    with worker_process(store.settings) as process:
        until((folder / "started").exists)
        process.kill()
        process.join()
    (folder / "file").touch()
    with working(store):
        [done] = follow(jobs, [item.uid])
    assert done.outputs == {"attempt": 2}


def test_a_work_item_cancelled_while_its_worker_was_dead_ends(store: Store, jobs: Jobs, folder: Path) -> None:
    item = jobs.create("obey", {"started": str(folder / "started")}, "tester")
    with worker_process(store.settings) as process:
        until((folder / "started").exists)
        process.kill()
        process.join()
    jobs.request_cancel(item.uid)
    with working(store):
        until(lambda: jobs.get(item.uid).final)
    assert jobs.get(item.uid).state is State.CANCELED
    assert rows_in_queue(store) == 0


def test_sigterm_ends_a_worker_cleanly(store: Store, jobs: Jobs, folder: Path) -> None:
    item = jobs.create("ignore", {"started": str(folder / "started")}, "tester")
    with worker_process(store.settings) as process:
        until((folder / "started").exists)
        assert process.pid
        os.kill(process.pid, signal.SIGTERM)
        process.join(10)
        assert process.exitcode == 0
    assert jobs.get(item.uid).attempts == 0


def test_a_handler_that_hangs_is_killed(store: Store, jobs: Jobs, folder: Path) -> None:
    settings = store.settings.model_copy(update={"jobs": store.settings.jobs.model_copy(update={"attempts": 1})})
    item = jobs.create("ignore", {"started": str(folder / "started")}, "tester")
    worker = Worker(settings, store.engine, HANDLERS, patience=Patience(stall=0.5))
    worker.run(until_idle=True)
    failed: WorkItem = jobs.get(item.uid)
    assert failed.failed and "no progress" in (failed.error or "")


def test_the_schema_goes_down_and_up_again(store: Store) -> None:
    with store.engine.begin() as connection:
        config = _alembic(connection)
        command.downgrade(config, "0001")
        left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'procrastinate%%' OR relname = 'work_item'"
        assert connection.exec_driver_sql(left).scalar_one() == 0
        command.upgrade(config, "head")
    assert Jobs(store.engine).create("add", {}, "tester").state is State.SCHEDULED


def test_a_work_item_that_waits_for_something_outside_uses_up_no_attempts(
    store: Store, jobs: Jobs, folder: Path
) -> None:
    paths = {"file": str(folder / "file"), "looks": str(folder / "looks")}
    item = jobs.create("wait_outside", paths, "tester")
    with working(store):
        until(lambda: len(Path(paths["looks"]).read_text().split()) > 3 if Path(paths["looks"]).exists() else False)
        assert jobs.get(item.uid).state is State.IN_PROGRESS
        Path(paths["file"]).touch()
        [done] = follow(jobs, [item.uid])
    assert set(Path(paths["looks"]).read_text().split()) == {"1"}
    assert done.state is State.COMPLETED and done.outputs == {"attempt": 1}
