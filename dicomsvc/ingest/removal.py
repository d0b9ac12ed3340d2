"""Removing uploads: on request, when their work is done, or when nobody went on with them."""

import logging
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dicomsvc.errors import Conflict, DicomsvcError, NotFound
from dicomsvc.ingest.uploads import Upload, Uploads
from dicomsvc.jobs import Jobs
from dicomsvc.store import Store

_log = logging.getLogger(__name__)


def remove_upload(uploads: Uploads, upload: Upload) -> None:
    """Remove an upload or a set with all its files.

    Raises
    ------
    Conflict
        When its work item is not final, or a request writes to it.
    """
    item = uploads.work_item(upload)
    if item is not None and not item.final:
        raise Conflict("the upload's work item is not done; cancel that first")
    _remove(uploads, upload)


def _remove(uploads: Uploads, upload: Upload) -> None:
    members = [member for member in uploads.all() if member.set_id == upload.id] if upload.is_set else []
    for each in (*members, upload):
        with uploads.locked(each):
            if each.set_id is not None:
                uploads.content(each).unlink(missing_ok=True)
            shutil.rmtree(uploads.root / each.id, ignore_errors=True)


def expire_uploads(store: Store, jobs: Jobs) -> int:
    """Remove uploads that are imported, failed long ago, or got no byte for long; return how many."""
    uploads = Uploads(store, jobs)
    keep_seconds = store.settings.ingest.upload_keep_hours * 3600
    removed = 0
    known = {upload.id: upload for upload in uploads.all()}
    last = _last_changes(uploads, known)
    for upload in known.values():
        try:
            if upload.set_id not in known and _is_over(uploads, jobs, upload, last[upload.id], keep_seconds):
                _remove(uploads, upload)
                removed += 1
        except Conflict:
            continue
        except DicomsvcError as error:
            _log.warning("upload %s is not removed: %s", upload.id, error)
    for folder in uploads.root.iterdir():
        if folder.name not in known and _age(folder) > keep_seconds:
            shutil.rmtree(folder, ignore_errors=True)
    return removed


def _last_changes(uploads: Uploads, known: dict[str, Upload]) -> dict[str, float]:
    """Return the age in seconds of each upload's last byte; a set is as young as its youngest file."""
    ages = {upload_id: _age(uploads.root / upload_id) for upload_id in known}
    for upload in known.values():
        if upload.set_id in ages:
            ages[upload.set_id] = min(ages[upload.set_id], ages[upload.id])
    return ages


def _age(folder: Path) -> float:
    newest = max((_modified(path) for path in (folder, folder / "offset", *folder.glob("content/*"))), default=0.0)
    return time.time() - newest


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_over(uploads: Uploads, jobs: Jobs, upload: Upload, age_seconds: float, keep_seconds: float) -> bool:
    try:
        item = uploads.work_item(upload)
    except NotFound:
        item = None
    if item is None:
        return age_seconds > keep_seconds
    while (again := jobs.find_key(f"retry:{item.uid}")) is not None:
        item = again
    family = [item, *jobs.get_all(item.outputs.get("work_items", ()))]
    if not all(each.final for each in family):
        return False
    if all(each.succeeded for each in family):
        return True
    ended = max(each.ended or each.created for each in family)
    return datetime.now(UTC) - ended > timedelta(seconds=keep_seconds)
