"""What of an analysis is done, on the store's own disk, so that another attempt goes on from there.

A folder for each work item: ``plan.json`` says what the chunks were made with, and each finished chunk is a file. Both
appear whole or not at all.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from dicomsvc.errors import OutOfResources
from dicomsvc.jobs import Jobs
from dicomsvc.store.layout import Layout


class Checkpoint:
    """The folder of one analysis, which may hold the chunks of an earlier attempt."""

    def __init__(self, layout: Layout, work_item_uid: str) -> None:
        self.folder = _root(layout) / work_item_uid
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(error) from error

    def agree(self, key: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the document kept under ``key``; where there is none, or another key, start anew with ``make()``.

        ``key`` and document are JSON; all that chunks depend on must be in the key or in the document.
        """
        path = self.folder / "plan.json"
        wanted = json.loads(json.dumps(key))
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["key"] == wanted:
                return dict(kept["document"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        for chunk in self.folder.glob("chunk-*"):
            chunk.unlink(missing_ok=True)
        document = json.loads(json.dumps(make()))
        text = json.dumps({"key": wanted, "document": document})
        self._write(path, lambda draft: draft.write_text(text, encoding="utf-8"))
        return dict(document)

    def chunk(self, number: int) -> Path:
        """Return where the findings of a chunk lie, or will lie."""
        return self.folder / f"chunk-{number:06d}.npz"

    def keep(self, number: int, save: Callable[[Path], object]) -> None:
        """Keep a chunk: ``save`` writes it to the path that it is given.

        Raises
        ------
        OutOfResources
            When the disk refuses.
        """
        self._write(self.chunk(number), save)

    def _write(self, path: Path, save: Callable[[Path], object]) -> None:
        draft = path.with_name(f"draft-{os.getpid()}{path.suffix}")
        try:
            save(draft)
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise _refused(error) from error

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep_checkpoints(layout: Layout, engine: Engine) -> int:
    """Remove the folders of analyses that have ended, and return how many."""
    root = _root(layout)
    folders = list(root.iterdir()) if root.is_dir() else []
    going_on = {item.uid for item in Jobs(engine).get_all([folder.name for folder in folders]) if not item.final}
    ended = [folder for folder in folders if folder.name not in going_on]
    for folder in ended:
        shutil.rmtree(folder, ignore_errors=True)
    return len(ended)


def _root(layout: Layout) -> Path:
    return layout.root / "work"


def _refused(error: OSError) -> OutOfResources:
    return OutOfResources(f"the work folder cannot be written: {os.strerror(error.errno or 0)}")
