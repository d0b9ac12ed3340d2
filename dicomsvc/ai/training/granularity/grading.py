"""Which class each nucleus has: as a folder says, or by size where it says nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from dicomsvc.ai.training.labelled import Labelled
from dicomsvc.errors import BadRequest

Grades = Mapping[int, int]
"""Grade, from 1 on, by the number of a nucleus."""
CLASSES: Final = "classes"
MOST: Final = 20
_UNKNOWN: Final = 255
_SHARES: Final = (0.6, 0.9)
"""A patch has the highest grade in it, so that high ones have to be rare if patches of all grades are to be had."""


def size_limits(pictures: Sequence[Labelled]) -> tuple[float, ...]:
    """Return the areas in pixels that only four and one in ten nuclei of these pictures exceed."""
    areas = np.concatenate([np.bincount(sample.labels.ravel())[1:] for sample in pictures])
    if not (areas > 0).any():
        raise BadRequest("the pictures have no labelled nuclei")
    return tuple(float(limit) for limit in np.quantile(areas[areas > 0], _SHARES))


def size_grades(sample: Labelled, limits: Sequence[float]) -> Grades:
    """Return 1 for a nucleus up to the first limit, 2 up to the second, and so on."""
    areas = np.bincount(sample.labels.ravel())
    numbers = np.flatnonzero(areas[1:]) + 1
    return {int(number): 1 + int(np.searchsorted(limits, areas[number])) for number in numbers}


def folder_grades(sample: Labelled, folder: Path, factor: float) -> Grades | None:
    """Return grades by ``classes/ID.png``, which has the class of each pixel from 1 on; None where there is none.

    255 there means that nobody knows. ``factor`` is how many times larger the sample is than its file. A nucleus has
    the class that most of its pixels have; one without any has the first.

    Raises
    ------
    BadRequest
        When the picture is not readable, or has too many classes.
    """
    file = folder / CLASSES / f"{sample.name}.png"
    if not file.is_file():
        return None
    try:
        with Image.open(file) as opened:
            picture: Image.Image = opened
            if factor != 1:
                picture = opened.resize(sample.labels.shape[::-1], Image.Resampling.NEAREST)
            classes = np.asarray(picture)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadRequest(f"{file} cannot be read as a picture") from error
    if classes.ndim == 2:
        classes = np.where(classes == _UNKNOWN, 0, classes)
    if classes.shape != sample.labels.shape or classes.max(initial=0) > MOST:
        raise BadRequest(f"{file} has another size than its picture, or more than {MOST} classes")
    columns = MOST + 1
    joint = np.bincount(sample.labels.ravel() * columns + classes.ravel().astype(np.int64))
    votes = np.pad(joint, (0, -len(joint) % columns)).reshape(-1, columns)
    return {int(number): 1 + int(votes[number, 1:].argmax()) for number in np.flatnonzero(votes.sum(axis=1)) if number}
