"""Waiting for work items, and for those that they made."""

from collections.abc import Callable, Iterable

from dicomsvc.jobs.items import WorkItem
from dicomsvc.jobs.records import Jobs

ReportFollowed = Callable[[int, int, str], None]


def follow(
    jobs: Jobs, uids: Iterable[str], on_progress: ReportFollowed = lambda done, total, text: None
) -> list[WorkItem]:
    """Wait until the work items are final and return them, followed by the ones they made (``outputs.work_items``).

    ``on_progress`` gets the sum over all of them, and the text of the one that changed.
    """
    wanted = list(dict.fromkeys(uids))
    items: dict[str, WorkItem] = {}
    waiting = wanted
    while waiting:
        for item in jobs.watch(waiting):
            items[item.uid] = item
            parts = [known.progress for known in items.values()]
            on_progress(sum(part.done for part in parts), sum(part.total for part in parts), item.progress.text)
        waiting = [
            uid for known in list(items.values()) for uid in known.outputs.get("work_items", ()) if uid not in items
        ]
        wanted += [uid for uid in waiting if uid not in wanted]
    return [items[uid] for uid in wanted if uid in items]
