"""Many senders of one SOP Instance UID at once: one instance is stored, never bytes of another one under its name."""

import threading
from collections.abc import Callable

import pytest

from tests.conftest import RunningService
from tests.faults.node import c_store, failure_reasons, retrieve, same, stow, withstand
from tests.instances import part10, wsi_dataset

SENDERS = 8
DUPLICATE = 0x0111


def by_dimse(service: RunningService, content: bytes) -> int | None:
    return c_store(service, content)


def by_stow(service: RunningService, content: bytes) -> int | None:
    answer = stow(service, content)
    return 0 if answer.status_code == 200 else failure_reasons(answer)[0]


def send_at_once(service: RunningService, contents: list[bytes]) -> list[int | None]:
    """Send each of ``contents`` by a sender of its own, every second one by STOW-RS; return their statuses."""
    start = threading.Barrier(len(contents))
    statuses: list[int | None] = [None] * len(contents)

    def send(number: int, call: Callable[[RunningService, bytes], int | None]) -> None:
        start.wait()
        statuses[number] = call(service, contents[number])

    threads = [
        threading.Thread(target=send, args=(number, by_stow if number % 2 else by_dimse))
        for number in range(len(contents))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_eight_senders_of_the_same_instance_are_all_acknowledged(node: RunningService) -> None:
    def abuse() -> None:
        for turn in range(5):
            ds = wsi_dataset(frames=20, seed=turn)
            content = part10(ds)
            assert send_at_once(node, [content] * SENDERS) == [0] * SENDERS
            assert same(retrieve(node, ds.SOPInstanceUID).content, content)

    withstand(node, "8 senders of one instance", abuse)


def test_of_eight_contents_under_one_uid_one_is_kept_and_the_others_are_told(node: RunningService) -> None:
    def abuse() -> None:
        for _ in range(5):
            first = wsi_dataset(frames=20)
            uids = {
                "study_instance_uid": str(first.StudyInstanceUID),
                "series_instance_uid": str(first.SeriesInstanceUID),
                "sop_instance_uid": str(first.SOPInstanceUID),
            }
            contents = [part10(wsi_dataset(frames=20, seed=seed, **uids)) for seed in range(SENDERS)]
            statuses = send_at_once(node, contents)
            assert sorted(statuses, key=str) == [0] + [DUPLICATE] * (SENDERS - 1), statuses
            winner = contents[statuses.index(0)]
            assert same(retrieve(node, first.SOPInstanceUID).content, winner)

    withstand(node, "8 contents under one UID", abuse)


@pytest.mark.parametrize("call", [by_dimse, by_stow], ids=lambda each: each.__name__)
def test_other_content_later_is_refused_and_kept_aside(
    node: RunningService, call: Callable[[RunningService, bytes], int | None]
) -> None:
    ds = wsi_dataset()
    content = part10(ds)
    assert call(node, content) == 0
    before = set((node.data / "quarantine").iterdir())
    ds.PatientID = "T-2"
    assert call(node, part10(ds)) == DUPLICATE
    assert len(set((node.data / "quarantine").iterdir()) - before) >= 1
    assert call(node, content) == 0
    assert same(retrieve(node, ds.SOPInstanceUID).content, content)
