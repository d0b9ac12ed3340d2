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

from dicomsvc.ai.decoding import ChunkFindings
from dicomsvc.errors import DamagedFile, OutOfResources
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

    def outputs(self) -> dict[str, Any] | None:
        """Return the outputs of an attempt that stored its results."""
        try:
            return dict(json.loads((self.folder / "outputs.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def conclude(self, outputs: Mapping[str, Any]) -> None:
        """Keep the outputs of results that are stored; the chunks have served their turn."""
        self._write_json("outputs.json", outputs)
        self._remove_chunks()

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
        self._remove_chunks()
        document = json.loads(json.dumps(make()))
        self._write_json("plan.json", {"key": wanted, "document": document})
        return dict(document)

    def keep(self, findings: ChunkFindings) -> None:
        """Keep the findings of a chunk.

        Raises
        ------
        OutOfResources
            When the disk refuses.
        """
        try:
            findings.save(self._chunk(findings.number))
        except OSError as error:
            raise _refused(error) from error

    def load(self, number: int) -> ChunkFindings:
        """Return what was kept of a chunk.

        Raises
        ------
        DamagedFile
            When the disk gives other bytes than were written.
        """
        return ChunkFindings.load(self._chunk(number))

    def has(self, number: int) -> bool:
        """Whether a chunk was kept and can be read; one that cannot is to be done again."""
        try:
            self.load(number)
        except (FileNotFoundError, DamagedFile):
            return False
        return True

    def _chunk(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.npz"

    def _remove_chunks(self) -> None:
        for chunk in self.folder.glob("chunk-*"):
            chunk.unlink(missing_ok=True)

    def _write_json(self, name: str, document: Mapping[str, Any]) -> None:
        draft = self.folder / f"{name}.draft"
        try:
            draft.write_text(json.dumps(document), encoding="utf-8")
            draft.replace(self.folder / name)
        except OSError as error:
            raise _refused(error) from error


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
