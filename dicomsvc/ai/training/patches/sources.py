"""Which patches there are, of which class, where, and of whom."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from dicomsvc.ai.training.data.geojson import read_geojson
from dicomsvc.ai.training.data.marks import Role
from dicomsvc.ai.training.data.painting import painted
from dicomsvc.ai.training.patches.recipe import PatchSource, Recipe
from dicomsvc.errors import BadRequest
from dicomsvc.wsi.plan import Rectangle

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_COLUMNS: Final = ("x", "y", "size", "class")
_FAR: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch around ``(x, y)``, in micrometres from the picture's top left corner; ``label`` is the class' number."""

    file: Path
    mpp: float
    x: float
    y: float
    label: int
    group: str
    whole: bool = False
    """A picture of its own, so that nothing lies around it."""


def find_patches(recipe: Recipe) -> list[Patch]:
    """Return all patches of a recipe.

    Raises
    ------
    BadRequest
        When a file cannot be read, or a class of the recipe has no patch at all.
    """
    numbers = {name: number for number, each in enumerate(recipe.ordered) for name in each.known_as()}
    found: list[Patch] = []
    for source in recipe.source:
        if source.folder is not None:
            found += _of_folder(source, source.folder, numbers)
        elif source.slide is not None and source.table is not None:
            found += _of_table(recipe, source, source.slide, source.table, numbers)
        elif source.slide is not None and source.outlines is not None:
            found += _of_outlines(recipe, source, source.slide, source.outlines, numbers)
    counts = Counter(each.label for each in found)
    missing = [each.label for number, each in enumerate(recipe.ordered) if not counts[number]]
    if missing:
        raise BadRequest(f"no patch is of class {', '.join(missing)}; known names are {', '.join(numbers)}")
    return found


def _of_table(
    recipe: Recipe, source: PatchSource, slide: Path, table: Path, numbers: Mapping[str, int]
) -> Iterator[Patch]:
    group = source.group or slide.stem
    try:
        with table.open(encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            if not set(_COLUMNS) <= set(rows.fieldnames or ()):
                raise BadRequest(f"{table} must have the columns {', '.join(_COLUMNS)}")
            for line, row in enumerate(rows, 2):
                label = numbers.get(row["class"].strip().casefold())
                if label is None or float(row.get("prob") or 1) < recipe.least_probability:
                    continue
                x, y, size = (float(row[name]) for name in ("x", "y", "size"))
                if not (0 <= x < _FAR and 0 <= y < _FAR and 0 < size < _FAR):
                    raise BadRequest(f"{table}:{line}: x, y and size must be pixels of the slide")
                yield Patch(slide, source.mpp, (x + size / 2) * source.mpp, (y + size / 2) * source.mpp, label, group)
    except OSError as error:
        raise BadRequest(f"{table} cannot be read: {error.strerror}") from error
    except (ValueError, AttributeError, csv.Error) as error:
        raise BadRequest(f"{table} is no table of patches ({type(error).__name__})") from error


def _of_outlines(
    recipe: Recipe, source: PatchSource, slide: Path, outlines: Path, numbers: Mapping[str, int]
) -> Iterator[Patch]:
    """Yield the squares of a grid, half a core apart, that lie in an outline of a class."""
    core = recipe.core or recipe.side
    scale = source.mpp / recipe.mpp
    step = max(1, core // 2)
    marks, _ = read_geojson(outlines)
    for mark in marks:
        label = numbers.get(mark.label.casefold())
        if mark.role is not Role.THING or label is None:
            continue
        part, inside = painted(mark, (scale, scale), Rectangle(0, 0, _FAR, _FAR))
        for y in range(0, part.height - core + 1, step):
            for x in range(0, part.width - core + 1, step):
                if inside[y : y + core, x : x + core].mean() >= recipe.covered:
                    centre = (part.x + x + core / 2, part.y + y + core / 2)
                    at = [place * recipe.mpp for place in centre]
                    yield Patch(slide, source.mpp, at[0], at[1], label, source.group or slide.stem)


def _of_folder(source: PatchSource, folder: Path, numbers: Mapping[str, int]) -> Iterator[Patch]:
    """Yield the pictures of ``folder/CLASS``; ``groups.csv`` (file, group) says of whom each is, else its own name."""
    groups = _groups(folder)
    for place in sorted(folder.iterdir() if folder.is_dir() else ()):
        label = numbers.get(place.name.casefold())
        if label is None or not place.is_dir():
            continue
        for file in sorted(place.iterdir()):
            if file.suffix.lower() in _SUFFIXES:
                group = source.group or groups.get(file.name) or groups.get(file.stem) or file.stem
                yield Patch(file, source.mpp, 0, 0, label, group, whole=True)


def _groups(folder: Path) -> dict[str, str]:
    file = folder / "groups.csv"
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        return {row["file"]: row["group"] for row in csv.DictReader(lines) if row.get("file") and row.get("group")}


def limited(patches: list[Patch], most: int, seed: int) -> list[Patch]:
    """Return at most so many of each class, chosen by chance."""
    chance = np.random.default_rng(seed)
    kept: list[int] = []
    for label in sorted({each.label for each in patches}):
        numbers = [number for number, each in enumerate(patches) if each.label == label]
        kept += chance.permutation(numbers)[:most].tolist()
    return [patches[number] for number in sorted(kept)]
