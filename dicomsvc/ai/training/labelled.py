"""Pictures with instance labels, in a folder: ``images/ID.png`` and ``labels/ID.png`` (0 is background)."""

import csv
import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from dicomsvc.ai.pictures import read_picture
from dicomsvc.errors import BadRequest

Labels = npt.NDArray[np.int32]
FOLDS = 5
UNKNOWN = 65535
"""In a label picture of 16 bits: nobody knows what is here."""
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A picture ``(rows, columns, 3)`` and the number of the thing in each pixel ``(rows, columns)``, 0 for none.

    ``unknown`` (or None) is true where nobody can say what is there; labels are 0 in it.
    """

    name: str
    pixels: npt.NDArray[np.uint8]
    labels: Labels
    unknown: npt.NDArray[np.bool_] | None = None

    def diameter(self) -> float:
        """Return the median diameter of its things, as of circles of their area, in pixels; 0 without any."""
        areas = np.bincount(self.labels.ravel())[1:]
        return float(np.median(np.sqrt(areas[areas > 0] * 4 / np.pi))) if (areas > 0).any() else 0.0


def labelled_files(folder: Path, groups: Collection[str] = ()) -> dict[str, tuple[Path, Path]]:
    """Return picture and labels by name, in the order of names.

    With ``groups``, only those that an ``index.csv`` in the folder, or in the one above, has in the column
    ``stain_group``.

    Raises
    ------
    BadRequest
        When the folder has none.
    """
    wanted = _in_groups(folder, groups) if groups else None
    found = {}
    for image in sorted((folder / "images").glob("*")):
        labels = folder / "labels" / f"{image.stem}.png"
        if image.suffix.lower() in _SUFFIXES and labels.is_file() and (wanted is None or image.stem in wanted):
            found[image.stem] = (image, labels)
    if not found:
        raise BadRequest(f"{folder} has no images/ID.png with labels/ID.png of the kind asked for")
    return found


def read_labelled(name: str, image: Path, labels: Path) -> Labelled:
    """Read a picture and its labels, numbered anew from 1.

    Raises
    ------
    BadRequest
        When their sizes differ, or the labels are no picture.
    """
    pixels = read_picture(image)
    try:
        with Image.open(labels) as file:
            numbers = np.asarray(file)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadRequest(f"{labels} cannot be read as a picture") from error
    if numbers.shape != pixels.shape[:2]:
        raise BadRequest(f"{labels} has {numbers.shape} pixels, its picture {pixels.shape[:2]}")
    unknown = numbers == UNKNOWN
    _, anew = np.unique(np.concatenate([[0], np.where(unknown, 0, numbers).ravel()]), return_inverse=True)
    plane = anew[1:].reshape(numbers.shape).astype(np.int32)
    return Labelled(name, pixels, plane, unknown if unknown.any() else None)


def read_folder(
    folder: Path, groups: Collection[str] = (), folds: Collection[int] = range(FOLDS)
) -> Iterator[Labelled]:
    """Yield the labelled pictures of some folds."""
    files = labelled_files(folder, groups)
    parts = folds_of(folder, files)
    for name, (image, labels) in files.items():
        if parts[name] in folds:
            yield read_labelled(name, image, labels)


def folds_of(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Return the fold of each picture of a folder, by name.

    Pictures of one group in ``groups.csv`` (columns ``id`` and ``group``, a patient) are in one fold.

    Raises
    ------
    BadRequest
        When ``groups.csv`` cannot be read.
    """
    whose: dict[str, str] = {}
    file = folder / "groups.csv"
    if file.is_file():
        try:
            with file.open(encoding="utf-8", newline="") as lines:
                whose = {row["id"]: row["group"] for row in csv.DictReader(lines)}
        except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
            raise BadRequest(f"{file} has no columns id and group that can be read") from error
    return {name: fold_of(whose.get(name) or name) for name in names}


def fold_of(name: str) -> int:
    """Return which of the `FOLDS` parts a picture, or a patient, belongs to: by name, so that it never changes."""
    return hashlib.sha256(name.encode()).digest()[0] % FOLDS


def resized(sample: Labelled, factor: float) -> Labelled:
    """Return it so many times as large."""
    rows, columns = sample.labels.shape
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    pixels: Any = cv2.resize(sample.pixels, size, interpolation=way)
    labels: Any = cv2.resize(sample.labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    if sample.unknown is None:
        return Labelled(sample.name, pixels, labels)
    unknown: Any = cv2.resize(sample.unknown.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return Labelled(sample.name, pixels, labels, unknown > 0)


def _in_groups(folder: Path, groups: Collection[str]) -> set[str]:
    for file in (folder / "index.csv", folder.parent / "index.csv"):
        if file.is_file():
            with file.open(encoding="utf-8", newline="") as lines:
                return {row["id"] for row in csv.DictReader(lines) if row.get("stain_group") in groups}
    raise BadRequest(f"{folder} has no index.csv that tells which picture is {' or '.join(groups)}")
