"""Pictures with the class of each pixel."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from dicomsvc.ai.pictures import read_picture
from dicomsvc.ai.training.labelled import UNKNOWN, folds_of, labelled_files
from dicomsvc.ai.training.recipe import LabelledFolder
from dicomsvc.ai.training.segmentation.recipe import Recipe
from dicomsvc.errors import BadRequest

UNKNOWN_CLASS: Final = 255
"""In a label picture of classes: nobody knows what is here, and nothing is learned from it."""

Classes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """``pixels`` ``(rows, columns, 3)`` and the network's channel for each pixel ``(rows, columns)``."""

    name: str
    pixels: npt.NDArray[np.uint8]
    classes: Classes


def read_pictures(recipe: Recipe, source: LabelledFolder, folds: Collection[int]) -> list[Picture]:
    """Read the pictures of some folds.

    Raises
    ------
    BadRequest
        When there is none in the folder, sizes differ, or a label is no class of the recipe.
    """
    found = []
    files = labelled_files(source.folder, source.groups)
    parts = folds_of(source.folder, files)
    for name, (image, labels) in files.items():
        if parts[name] in folds:
            pixels = read_picture(image)
            file = class_file(labels) if recipe.labels == "classes" else labels
            found.append(Picture(name, pixels, _channels(recipe, read_numbers(file, pixels.shape[:2]), file)))
    return found


def class_file(labels: Path) -> Path:
    return labels.parent.parent / "classes" / labels.name


def read_numbers(file: Path, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Return the number in each pixel of a label picture.

    Raises
    ------
    BadRequest
        When it is none, or not as large as its picture.
    """
    try:
        with Image.open(file) as picture:
            numbers = np.asarray(picture)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadRequest(f"{file} cannot be read as a picture") from error
    if numbers.shape != shape:
        raise BadRequest(f"{file} has {numbers.shape} pixels, its picture {shape}")
    return numbers.astype(np.int32)


def _channels(recipe: Recipe, numbers: npt.NDArray[np.int32], file: Path) -> Classes:
    if recipe.labels == "instances":
        return np.where(numbers == UNKNOWN, UNKNOWN_CLASS, numbers > 0).astype(np.uint8)
    unknown = numbers == UNKNOWN_CLASS
    if not recipe.background:
        unknown |= numbers == 0
    strange = ~unknown & ((numbers < 0) | (numbers > len(recipe.classes)))
    if strange.any():
        raise BadRequest(f"{file} has a pixel {int(numbers[strange][0])}; there are {len(recipe.classes)} classes")
    return np.where(unknown, UNKNOWN_CLASS, numbers - (not recipe.background)).astype(np.uint8)
