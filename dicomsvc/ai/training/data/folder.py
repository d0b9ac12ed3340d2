"""The folder that training reads: pictures, labels, classes, and whose they are.

``images/ID.png``; ``labels/ID.png``, 16 bits: the number of the thing in each pixel, 0 for background, 65535 where
nobody knows; ``classes/ID.png``, 8 bits: the number of its class, 255 where nobody knows; ``classes.csv``;
``groups.csv``: the patient of each picture, so that no split of the data cuts a patient in two; ``index.csv``.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from pydicom.sr.coding import Code

from dicomsvc.ai.training.data.crops import Crop
from dicomsvc.ai.training.labelled import UNKNOWN
from dicomsvc.errors import BadRequest

UNKNOWN_CLASS: Final = 255
MOST_CLASSES: Final = 254
_PARTS: Final = ("images", "labels", "classes")


@dataclass(frozen=True, slots=True)
class Row:
    """One picture in ``index.csv``; ``x`` to ``height`` are pixels of the crops' resolution.

    ``group``, ``slide`` and ``annotator`` are names that tell nobody's identity. ``known`` is a share of the pixels.
    """

    id: str
    mpp: float
    group: str
    slide: str
    annotator: str
    x: int
    y: int
    width: int
    height: int
    things: int
    known: float


class Folder:
    """Writes a new folder.

    Raises
    ------
    BadRequest
        When it is there already and not empty, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.things: Counter[int] = Counter()
        try:
            if path.exists() and any(path.iterdir()):
                raise BadRequest(f"{path} is not empty; training data go into a folder of their own")
            for part in _PARTS:
                (path / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadRequest(f"{path} cannot be written: {error.strerror}") from error

    def add(self, crop: Crop, row: Row) -> None:
        """Write a picture with its labels."""
        labels = np.where(crop.unknown, UNKNOWN, crop.things).astype(np.uint16)
        classes = np.where(crop.unknown, UNKNOWN_CLASS, crop.classes).astype(np.uint8)
        try:
            Image.fromarray(crop.pixels).save(self.path / "images" / f"{row.id}.png")
            Image.fromarray(labels).save(self.path / "labels" / f"{row.id}.png")
            Image.fromarray(classes).save(self.path / "classes" / f"{row.id}.png")
        except OSError as error:
            raise BadRequest(f"{self.path} cannot be written: {error.strerror}") from error
        self.rows.append(row)
        numbers, first = np.unique(crop.things, return_index=True)
        self.things.update(int(crop.classes.flat[at]) for number, at in zip(numbers, first, strict=True) if number)

    def close(self, numbers: Mapping[str, int], codes: Mapping[str, Code | None]) -> None:
        """Write the tables; ``numbers`` and ``codes`` are those of the classes, by label."""
        names = [field.name for field in fields(Row)]
        self._table("index.csv", names, ([getattr(row, name) for name in names] for row in self.rows))
        self._table("groups.csv", ["id", "group"], ([row.id, row.group] for row in self.rows))
        described = [
            [number, label, *_code(codes.get(label)), self.things[number]] for label, number in numbers.items()
        ]
        self._table("classes.csv", ["number", "label", "scheme", "value", "meaning", "things"], described)

    def _table(self, name: str, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        try:
            with (self.path / name).open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([head, *rows])
        except OSError as error:
            raise BadRequest(f"{self.path / name} cannot be written: {error.strerror}") from error


def _code(code: Code | None) -> tuple[str, str, str]:
    return (code.scheme_designator, code.value, code.meaning) if code else ("", "", "")
