"""Annotators' files: labelled folders, GeoJSON, or tables of classes; one of each annotator, all of one kind."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from dicomsvc.ai.training.data.geojson import read_geojson
from dicomsvc.ai.training.data.marks import NO_CLASS, Mark
from dicomsvc.ai.training.labelled import UNKNOWN
from dicomsvc.errors import BadRequest

LABELS: Final = "labels"
CLASSES: Final = "classes"
UNKNOWN_CLASS: Final = 255
_MOST_PIXELS: Final = 1 << 26
_MOST_BYTES: Final = 1 << 27


class Kind(StrEnum):
    """What annotators hand in."""

    FOLDERS = "folders"
    OUTLINES = "outlines"
    TABLES = "tables"


def kind_of(files: Sequence[Path]) -> Kind:
    """Tell what files are.

    Raises
    ------
    BadRequest
        When they are fewer than two, of several kinds, or of none that is known.
    """
    if len(files) < 2:
        raise BadRequest("agreement is of at least two annotators")
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        raise BadRequest(f"annotations of one kind can be compared, not {' and '.join(sorted(kinds))}")
    return kinds.pop()


def _kind(file: Path) -> Kind:
    if (file / LABELS).is_dir():
        return Kind.FOLDERS
    suffix = file.suffix.lower()
    if file.is_file() and suffix in (".geojson", ".json"):
        return Kind.OUTLINES
    if file.is_file() and suffix == ".csv":
        return Kind.TABLES
    raise BadRequest(f"{file} is no folder with labels/, no .geojson and no .csv")


def names_of(files: Sequence[Path]) -> list[str]:
    """Return what annotators are called: by their files, with numbers where two are the same."""
    stems = [file.resolve().name if file.is_dir() else file.stem for file in files]
    return [stem if stems.count(stem) == 1 else f"{stem} ({at})" for at, stem in enumerate(stems, 1)]


def read_table(file: Path) -> dict[str, str | None]:
    """Return the class by ``id`` of a CSV with the columns ``id`` and ``class``; None where the class is empty.

    Raises
    ------
    BadRequest
        When it lacks a column, has an id twice, or is not readable.
    """
    found: dict[str, str | None] = {}
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise BadRequest(f"{file} is larger than {_MOST_BYTES >> 20} MB")
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            if not {"id", "class"} <= set(reader.fieldnames or ()):
                raise BadRequest(f"{file} has no columns `id` and `class`")
            for row in reader:
                if row["id"] in found:
                    raise BadRequest(f"{file} has an id twice, in line {reader.line_num}")
                found[row["id"]] = (row["class"] or "").strip() or None
    except OSError as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"{file} is no CSV in UTF-8") from error
    return found


def read_outlines(file: Path) -> list[Mark]:
    """Return the outlines of a GeoJSON file; see `read_geojson`. Without a class their label is empty."""
    marks, _ = read_geojson(file)
    return [Mark("", mark.code, mark.role, mark.rings) if mark.label == NO_CLASS else mark for mark in marks]


def label_files(folder: Path) -> dict[str, Path]:
    """Return the label images of a folder by name."""
    return {file.stem: file for file in sorted((folder / LABELS).glob("*.png"))}


@dataclass(frozen=True, slots=True, eq=False)
class LabelPicture:
    """The thing in each pixel, 0 for none, and its class, -1 where the annotator does not know."""

    things: npt.NDArray[np.int32]
    classes: npt.NDArray[np.int16]
    has_classes: bool


def read_labels(folder: Path, name: str) -> LabelPicture:
    """Read ``labels/ID.png`` and, where there is one, ``classes/ID.png``; without it everything is of class 1.

    Raises
    ------
    BadRequest
        When one is not readable, or their sizes differ.
    """
    labels = _picture(folder / LABELS / f"{name}.png").astype(np.int64)
    unknown = labels == UNKNOWN
    _, numbers = np.unique(np.concatenate([[0], np.where(unknown, 0, labels).ravel()]), return_inverse=True)
    things = numbers[1:].reshape(labels.shape).astype(np.int32)
    file = folder / CLASSES / f"{name}.png"
    classes = _picture(file) if file.is_file() else (things > 0).astype(np.uint8)
    if classes.shape != labels.shape or classes.max(initial=0) > UNKNOWN_CLASS:
        raise BadRequest(f"{file} has another size than its labels, or more than 8 bits")
    known = np.where(unknown | (classes == UNKNOWN_CLASS), -1, classes.astype(np.int16))
    return LabelPicture(things, known.astype(np.int16), file.is_file())


def _picture(file: Path) -> npt.NDArray[Any]:
    try:
        with Image.open(file) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise BadRequest(f"{file} has more than {_MOST_PIXELS} pixels")
            pixels = np.asarray(picture)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadRequest(f"{file} cannot be read as a picture") from error
    if pixels.ndim != 2:
        raise BadRequest(f"{file} has colours; labels are numbers")
    return pixels
