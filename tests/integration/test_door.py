"""The one door against a real PostgreSQL."""

import os
import threading
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from sqlalchemy import Connection, func, select

from dicomsvc.config import Settings, StoreSettings
from dicomsvc.errors import (
    DamagedFile,
    DuplicateInstance,
    InvalidInstance,
    NotFound,
    NotParseable,
    OtherStudy,
    OutOfResources,
)
from dicomsvc.store import Source, SpoolFile, Store, Stored
from dicomsvc.store.door import Door
from dicomsvc.store.tables import audit, instance, series, study
from tests.instances import part10, wsi_dataset

SOURCE = Source("test", "tester")


def spooled(store: Store, content: bytes) -> SpoolFile:
    file = store.spool()
    file.write(content)
    return file


def add(store: Store, content: bytes) -> Stored:
    with spooled(store, content) as file:
        return store.add(file, SOURCE)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


def count(store: Store, table: object) -> int:
    with store.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()  # type: ignore[arg-type]


def noted(store: Store) -> list[str]:
    with store.engine.connect() as connection:
        return list(connection.scalars(select(audit.c.action).order_by(audit.c.id)))


def test_what_is_stored_lies_there_byte_for_byte(store: Store) -> None:
    content = part10(wsi_dataset())
    stored = add(store, content)
    record = store.instances.find_sop_instance(stored.sop_instance_uid)
    assert record.path.read_bytes() == content
    assert record.number_of_frames == 4
    assert not files_in(store.layout.spool)


def test_the_frame_index_leads_to_the_frames(store: Store) -> None:
    from pydicom.encaps import generate_frames

    ds = wsi_dataset(frames=5)
    stored = add(store, part10(ds))
    record = store.instances.find_sop_instance(stored.sop_instance_uid)
    frames = store.instances.frame_index(record)
    content = record.path.read_bytes()
    for number, expected in enumerate(generate_frames(ds.PixelData, number_of_frames=5), start=1):
        got = b"".join(content[offset : offset + length] for offset, length in frames.ranges(number))
        assert got == expected


def test_the_same_bytes_again_are_a_success(store: Store) -> None:
    content = part10(wsi_dataset())
    assert not add(store, content).duplicate
    assert add(store, content).duplicate
    assert count(store, instance) == 1
    assert len(store.changes()) == 1


def test_the_same_instance_with_other_file_meta_and_lengths_is_a_success(store: Store) -> None:
    ds = wsi_dataset(frames=3)
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99TEST", "one"
    ds.SpecimenDescriptionSequence = [item]
    first = part10(ds)
    ds.file_meta.SourceApplicationEntityTitle = "OTHER"
    ds.SpecimenDescriptionSequence[0].is_undefined_length_sequence_item = True
    ds["SpecimenDescriptionSequence"].is_undefined_length = True
    again = part10(ds)
    assert first != again
    add(store, first)
    assert add(store, again).duplicate
    assert not files_in(store.layout.quarantine)


def test_the_same_values_with_one_other_pixel_byte_are_another_instance(store: Store) -> None:
    ds = wsi_dataset(frames=3)
    add(store, part10(ds))
    changed = bytearray(ds.PixelData)
    changed[len(changed) // 2] ^= 1
    ds.PixelData = bytes(changed)
    with pytest.raises(DuplicateInstance):
        add(store, part10(ds))


def test_other_content_under_a_known_uid_is_refused_and_kept_in_quarantine(store: Store) -> None:
    uid = generate_uid()
    first = part10(wsi_dataset(sop_instance_uid=uid, seed=1))
    other = part10(wsi_dataset(sop_instance_uid=uid, seed=2))
    add(store, first)
    for _ in range(3):
        with pytest.raises(DuplicateInstance):
            add(store, other)
    assert store.instances.find_sop_instance(uid).path.read_bytes() == first
    assert [path.read_bytes() for path in files_in(store.layout.quarantine)] == [other]
    assert noted(store) == ["stored", "conflict"]


def test_all_of_a_slide_enters_or_none(store: Store) -> None:
    with (
        spooled(store, part10(wsi_dataset())) as good,
        spooled(store, part10(wsi_dataset())[:-400]) as cut,
        pytest.raises(NotParseable),
    ):
        store.add_all([good, cut], SOURCE)
    assert count(store, instance) == count(store, series) == count(store, study) == 0
    assert not files_in(store.layout.root)


def test_a_conflict_in_a_slide_leaves_nothing_of_it(store: Store) -> None:
    uid = generate_uid()
    add(store, part10(wsi_dataset(sop_instance_uid=uid, seed=1)))
    with (
        spooled(store, part10(wsi_dataset())) as good,
        spooled(store, part10(wsi_dataset(sop_instance_uid=uid, seed=2))) as other,
        pytest.raises(DuplicateInstance),
    ):
        store.add_all([good, other], SOURCE)
    assert count(store, instance) == 1
    assert len(files_in(store.layout.instances)) == 1


def test_what_failed_together_with_a_conflict_can_be_added_alone(store: Store) -> None:
    study, series = generate_uid(), generate_uid()
    slide = [wsi_dataset(study_instance_uid=study, series_instance_uid=series, seed=seed) for seed in range(4)]
    slide.sort(key=lambda ds: str(ds.SOPInstanceUID))
    add(store, part10(slide[3]))
    slide[3].PatientID = "T-2"
    files = [spooled(store, part10(ds)) for ds in slide]
    with pytest.raises(DuplicateInstance):
        store.add_all(files, SOURCE)
    for file in files[:3]:
        with file:
            store.add(file, SOURCE)
    files[3].discard()
    assert count(store, instance) == 4
    assert not files_in(store.layout.spool)
    assert store.verify().sound


@pytest.mark.parametrize("lost", [False, True], ids=["damaged", "missing"])
def test_an_instance_that_lost_its_bytes_is_restored_by_the_same_one_sent_again(store: Store, lost: bool) -> None:
    content = part10(wsi_dataset())
    path = store.instances.find_sop_instance(add(store, content).sop_instance_uid).path
    if lost:
        path.unlink()
    else:
        path.write_bytes(content[:-1] + b"x")
    assert not store.verify().sound
    again = add(store, content)
    assert again.duplicate
    assert store.instances.find_sop_instance(again.sop_instance_uid).readable_path().read_bytes() == content
    assert not files_in(store.layout.spool)
    assert store.verify().sound


@pytest.mark.parametrize("committed", [False, True], ids=["not committed", "committed"])
def test_a_file_in_doubt_is_settled_once_the_database_answers(
    store: Store, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    class Lost(Door):
        def _enter(self, connection: Connection, *rest: object) -> dict[str, Stored]:
            super()._enter(connection, *rest)  # type: ignore[arg-type]
            if committed:
                connection.commit()
            raise OutOfResources("the connection to the database was lost")

    def unreachable(*_: object) -> bool:
        raise OutOfResources("the database does not answer")

    door = Lost(store.layout, store.engine, 1 << 20)
    with monkeypatch.context() as patched:
        patched.setattr("dicomsvc.store.door.withdraw", unreachable)
        with pytest.raises(OutOfResources), spooled(store, part10(wsi_dataset())) as file:
            door.add_all([file], SOURCE)
    assert len(files_in(store.layout.spool)) == 1
    assert store.settle_doubtful() == 1
    assert not files_in(store.layout.spool)
    assert len(files_in(store.layout.instances)) == count(store, instance) == int(committed)
    assert store.settle_doubtful() == 0


def test_an_instance_of_another_study_is_refused(store: Store) -> None:
    with spooled(store, part10(wsi_dataset())) as file, pytest.raises(OtherStudy):
        store.add(file, SOURCE, study_instance_uid="1.2.3")


def test_an_instance_without_uids_is_refused(store: Store) -> None:
    ds = wsi_dataset()
    del ds.StudyInstanceUID
    with pytest.raises(InvalidInstance):
        add(store, part10(ds))


def test_values_too_long_for_an_index_are_stored_and_kept_whole(store: Store) -> None:
    ds = wsi_dataset()
    ds.AccessionNumber = "".join(chr(0x4E00 + number % 20000) for number in range(6000))
    stored = add(store, part10(ds))
    with store.engine.connect() as connection:
        row = connection.execute(select(study).where(study.c.study_instance_uid == stored.study_instance_uid)).one()
    assert row.attributes["00080050"]["Value"] == [ds.AccessionNumber]


def test_slides_that_share_studies_in_other_orders_do_not_block_each_other(store: Store) -> None:
    studies = [generate_uid() for _ in range(3)]
    outcomes: list[int] = []

    def send(seed: int) -> None:
        order = studies if seed % 2 else studies[::-1]
        files = [
            spooled(store, part10(wsi_dataset(study_instance_uid=uid, seed=seed * 10 + number)))
            for number, uid in enumerate(order * 3)
        ]
        outcomes.append(len(store.add_all(files, SOURCE)))
        for file in files:
            file.discard()

    threads = [threading.Thread(target=send, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [9] * 6


def test_a_sender_that_fails_does_not_harm_the_next_one_of_the_same_instance(store: Store, settings: Settings) -> None:
    content = part10(wsi_dataset())
    failed = spooled(store, content)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE instance_blob RENAME TO hidden")
    with pytest.raises(Exception, match="instance_blob"):
        store.add(failed, SOURCE)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO instance_blob")
    stored = add(store, content)
    failed.discard()
    assert store.instances.find_sop_instance(stored.sop_instance_uid).path.read_bytes() == content
    assert store.verify().sound


def test_a_full_disk_is_said_before_anything_is_taken(settings: Settings) -> None:
    reserve = StoreSettings(disk_reserve_mb=1 << 30)
    with Store(settings.model_copy(update={"store": reserve})) as store, pytest.raises(OutOfResources):
        store.spool()


def test_a_database_that_is_gone_leaves_nothing_behind(store: Store) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE instance RENAME TO hidden")
    content = part10(wsi_dataset())
    with pytest.raises(Exception, match="instance"):
        add(store, content)
    assert not files_in(store.layout.root)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO instance")
    add(store, content)


def test_senders_of_the_same_instance_at_once_get_one_file_and_success(store: Store) -> None:
    content = part10(wsi_dataset())
    results: list[Stored] = []
    threads = [threading.Thread(target=lambda: results.append(add(store, content))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stored.duplicate for stored in results) == [False] + [True] * 7
    assert len(files_in(store.layout.instances)) == 1


def test_many_series_of_one_study_at_once_are_all_counted(store: Store) -> None:
    uid = generate_uid()
    contents = [part10(wsi_dataset(study_instance_uid=uid, seed=seed)) for seed in range(12)]
    threads = [threading.Thread(target=add, args=(store, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.instances.find(uid)) == 12
    assert [change.sequence for change in store.changes()] == sorted(change.sequence for change in store.changes())
    assert len(store.changes()) == 12


def test_a_file_placed_but_not_committed_is_swept_after_a_crash(settings: Settings, store: Store) -> None:
    acknowledged = add(store, part10(wsi_dataset()))
    crashed = settings.data / "spool" / "crashed"
    crashed.mkdir()
    (crashed / "lock").touch()
    kept = store.instances.find_sop_instance(acknowledged.sop_instance_uid).path
    os.link(kept, crashed / f"{kept.stem}.part")
    key = "ab" * 32
    orphan = store.layout.instance_path(key)
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"never acknowledged")
    os.link(orphan, crashed / f"{key}.part")
    (crashed / "half.part").write_bytes(b"half")
    assert store.sweep() == 1
    assert not orphan.exists()
    assert kept.exists()
    assert not crashed.exists()


def test_what_a_living_process_spools_is_not_swept(store: Store) -> None:
    with spooled(store, b"on its way") as file:
        store.sweep()
        assert file.path.exists()


def test_a_deleted_study_is_gone_with_its_files_and_leaves_a_record(store: Store) -> None:
    stored = add(store, part10(wsi_dataset()))
    assert store.delete("tester", stored.study_instance_uid) == 1
    with pytest.raises(NotFound):
        store.instances.find(stored.study_instance_uid)
    assert not files_in(store.layout.root)
    assert count(store, study) == count(store, series) == 0
    assert [change.kind for change in store.changes()] == ["stored", "deleted"]
    assert noted(store) == ["stored", "delete"]


def test_a_deleted_instance_may_come_again(store: Store) -> None:
    content = part10(wsi_dataset())
    stored = add(store, content)
    store.delete("tester", stored.study_instance_uid)
    assert not add(store, content).duplicate


def test_deleting_one_instance_leaves_its_siblings(store: Store) -> None:
    one = wsi_dataset()
    other = wsi_dataset(
        study_instance_uid=one.StudyInstanceUID, series_instance_uid=one.SeriesInstanceUID, seed=2, instance_number=2
    )
    add(store, part10(one))
    add(store, part10(other))
    store.delete("tester", one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
    [left] = store.instances.find(one.StudyInstanceUID)
    assert left.sop_instance_uid == other.SOPInstanceUID


def test_verify_finds_a_flipped_bit_and_the_instance_is_not_served(store: Store) -> None:
    stored = add(store, part10(wsi_dataset()))
    add(store, part10(wsi_dataset(seed=5)))
    path = store.instances.find_sop_instance(stored.sop_instance_uid).path
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    result = store.verify()
    assert (result.checked, result.damaged, result.sound) == (2, [stored.sop_instance_uid], False)
    with pytest.raises(DamagedFile):
        store.instances.find_sop_instance(stored.sop_instance_uid).readable_path()
    content[-20] ^= 1
    path.write_bytes(content)
    assert store.verify().sound
    assert store.instances.find_sop_instance(stored.sop_instance_uid).readable_path() == path


def test_verify_finds_missing_files_and_strangers(store: Store) -> None:
    stored = add(store, part10(wsi_dataset()))
    store.instances.find_sop_instance(stored.sop_instance_uid).path.unlink()
    stranger = store.layout.instance_path("cd" * 32)
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"?")
    result = store.verify()
    assert result.missing == [stored.sop_instance_uid]
    assert result.orphans == [stranger.name]


def test_the_index_can_be_made_again_from_the_files(store: Store) -> None:
    stored = [add(store, part10(wsi_dataset(seed=seed, patient_name="王^小明"))) for seed in range(3)]

    def rows() -> list[tuple[object, ...]]:
        columns = [column for column in instance.c if column.name not in {"id", "series_key", "stored_at", "source"}]
        with store.engine.connect() as connection:
            of_instances = connection.execute(select(*columns).order_by(instance.c.sop_instance_uid)).all()
            of_studies = connection.execute(
                select(study.c.study_instance_uid, study.c.patient_name, study.c.attributes).order_by(
                    study.c.study_instance_uid
                )
            ).all()
        return [tuple(row) for row in (*of_instances, *of_studies)]

    before = rows()
    result = store.reindex(rebuild=True)
    assert (result.files, result.added, result.unreadable) == (3, 3, [])
    assert rows() == before
    store.instances.find_sop_instance(stored[0].sop_instance_uid).path.unlink()
    assert store.reindex().removed == 1
    with pytest.raises(NotFound):
        store.instances.find_sop_instance(stored[0].sop_instance_uid)


def test_what_the_first_instance_says_of_the_study_stays_and_gaps_are_filled(store: Store) -> None:
    first = wsi_dataset(patient_name="First^Name")
    first.AccessionNumber = ""
    second = wsi_dataset(study_instance_uid=first.StudyInstanceUID, patient_name="Second^Name")
    second.AccessionNumber = "A-9"
    add(store, part10(first))
    add(store, part10(second))
    with store.engine.connect() as connection:
        row = connection.execute(select(study)).one()
    assert row.patient_name == "FIRST^NAME"
    assert row.accession_number == "A-9"
    assert row.attributes["00080050"]["Value"] == ["A-9"]
