"""Uploads on disk: limits, and when they go."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dicomsvc.config import HttpSettings, IngestSettings, StoreSettings
from dicomsvc.errors import Conflict, NotFound, OutOfResources, TooLarge
from dicomsvc.ingest.handlers import HANDLERS
from dicomsvc.ingest.removal import expire_uploads, remove_upload
from dicomsvc.ingest.requests import ImportOptions
from dicomsvc.ingest.uploads import Upload, Uploads
from dicomsvc.jobs import Jobs, Worker
from dicomsvc.store import Store
from tests.instances import part10, wsi_dataset

OPTIONS = ImportOptions()


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store.engine)


@pytest.fixture
def uploads(store: Store, jobs: Jobs) -> Uploads:
    return Uploads(store, jobs)


def upload(uploads: Uploads, content: bytes, set_id: str | None = None) -> Upload:
    made = uploads.create("a.dcm", len(content), OPTIONS, "tester", set_id)
    asyncio.run(uploads.receive(made, 0, body(content)))
    return made


def age(folder: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then))


def test_an_imported_upload_is_removed_and_a_failed_one_kept_for_another_try(
    store: Store, uploads: Uploads, jobs: Jobs
) -> None:
    good, bad = upload(uploads, part10(wsi_dataset())), upload(uploads, b"x" * 500)
    items = [uploads.finish(each) for each in (good, bad)]
    assert expire_uploads(store, jobs) == 0
    Worker(store.settings, store.engine, HANDLERS).run(until_idle=True)
    assert [jobs.get(item.uid).succeeded for item in items] == [True, False]
    assert expire_uploads(store, jobs) == 1
    assert [each.id for each in uploads.all()] == [bad.id]


def test_unfinished_uploads_go_after_their_time(store: Store, uploads: Uploads, jobs: Jobs) -> None:
    made = uploads.create("a.dcm", 10, OPTIONS, "tester")
    age(uploads.root / made.id, store.settings.ingest.upload_keep_hours - 1)
    assert expire_uploads(store, jobs) == 0
    age(uploads.root / made.id, store.settings.ingest.upload_keep_hours + 1)
    assert expire_uploads(store, jobs) == 1
    assert list(uploads.root.iterdir()) == []


def test_a_set_lives_as_long_as_its_youngest_file(store: Store, uploads: Uploads, jobs: Jobs) -> None:
    made = uploads.create_set(OPTIONS, "tester")
    age(uploads.root / made.id, store.settings.ingest.upload_keep_hours + 1)
    member = upload(uploads, b"x", made.id)
    age(uploads.root / made.id, store.settings.ingest.upload_keep_hours + 1)
    assert expire_uploads(store, jobs) == 0
    age(uploads.root / member.id, store.settings.ingest.upload_keep_hours + 1)
    assert expire_uploads(store, jobs) == 1
    assert list(uploads.root.iterdir()) == []


def test_two_files_of_one_name_do_not_meet_in_a_set(uploads: Uploads) -> None:
    made = uploads.create_set(OPTIONS, "tester")
    uploads.create("a.dcm", 1, OPTIONS, "tester", made.id)
    with pytest.raises(Conflict):
        uploads.create("a.dcm", 1, OPTIONS, "tester", made.id)


def test_somebody_elses_upload_is_not_found(uploads: Uploads) -> None:
    made = uploads.create("a.dcm", 1, OPTIONS, "tester")
    with pytest.raises(NotFound):
        uploads.get(made.id, "another")


def test_an_upload_being_written_is_not_written_twice_or_removed(uploads: Uploads) -> None:
    made = uploads.create("a.dcm", 1, OPTIONS, "tester")
    with uploads.locked(made):
        with pytest.raises(Conflict):
            asyncio.run(uploads.receive(made, 0, body(b"x")))
        with pytest.raises(Conflict):
            remove_upload(uploads, made)


def test_bytes_that_were_never_acknowledged_are_dropped(uploads: Uploads) -> None:
    made = uploads.create("a.dcm", 4, OPTIONS, "tester")
    asyncio.run(uploads.receive(made, 0, body(b"ab")))
    with uploads.content(made).open("ab") as file:
        file.write(b"torn")
    asyncio.run(uploads.receive(made, 2, body(b"cd")))
    assert uploads.content(made).read_bytes() == b"abcd"


def test_a_nearly_full_disk_takes_no_upload(store: Store) -> None:
    settings = store.settings.model_copy(update={"store": StoreSettings(disk_reserve_mb=1 << 40)})
    with Store(settings) as full, pytest.raises(OutOfResources):
        Uploads(full, Jobs(full.engine)).create("a.dcm", 1, OPTIONS, "tester")


def test_an_upload_of_unknown_length_stops_at_the_limit(store: Store) -> None:
    settings = store.settings.model_copy(update={"http": HttpSettings(max_upload_gb=1e-6), "ingest": IngestSettings()})
    with Store(settings) as small:
        uploads = Uploads(small, Jobs(small.engine))
        made = uploads.create("a.dcm", None, OPTIONS, "tester")
        with pytest.raises(TooLarge):
            asyncio.run(uploads.receive(made, 0, body(b"x" * 600, b"x" * 600)))
