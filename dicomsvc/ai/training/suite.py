"""Several models on several labelled sets, as one Markdown table that a page keeps between two markers."""

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.training.evaluating import Evaluation, TestSet, chosen_version, evaluate, evaluate_predictions
from dicomsvc.ai.training.recipe import DataPath, Fold, Strict
from dicomsvc.ai.training.scoring import Measured
from dicomsvc.ai.training.speed import Cost, cost
from dicomsvc.errors import BadRequest

BEGIN: Final = "<!-- begin of what `dicomsvc evaluate --suite` wrote -->"
END: Final = "<!-- end of what `dicomsvc evaluate --suite` wrote -->"
_WITH_INTERVAL: Final = ("f1", "aji", "pq")
_COLUMNS: Final = ("precision", "recall", "f1", "dice", "aji", "pq")

Locate = Callable[[str], tuple[Path, int | None]]
"""Folder and version of what a suite calls a model."""


class SetOfPictures(Strict):
    """A labelled folder, taken for ``mpp``; ``predictions`` are what others found, JSON lines by name."""

    name: str
    folder: DataPath
    mpp: float = Field(gt=0.01, le=100)
    groups: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = (0, 1, 2, 3, 4)
    predictions: dict[str, DataPath] = Field(default_factory=dict)
    without: tuple[str, ...] = ()
    """Models that were trained on these pictures, or cannot take them."""


class Suite(Strict):
    """What is to be measured on what; paths are seen from the file."""

    models: tuple[str, ...] = Field(min_length=1)
    set: tuple[SetOfPictures, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one set."""

    set_name: str
    found: Evaluation


def read_suite(file: Path) -> Suite:
    """Read a suite.

    Raises
    ------
    BadRequest
        When it is no TOML, or has an unknown or a wrong key.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        return Suite.model_validate(document, context={"root": file.parent})
    except OSError as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{file} is no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRequest(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def measure_all(
    suite: Suite, locate: Locate, tell: Callable[[int, int, str], None] = lambda done, total, what: None
) -> list[Row]:
    """Measure every model, and every peer's predictions, on every set.

    Raises
    ------
    BadRequest, InvalidModel, UnfitSlide, ModelFailure
        When a set or a model is not right.
    """
    rows = []
    for each in suite.set:
        pictures = TestSet(each.folder, each.mpp, each.groups, each.folds).pictures()
        for reference in suite.models:
            if reference not in each.without:
                folder, number = locate(reference)
                rows.append(Row(each.name, evaluate(folder, number, pictures, each.mpp, tell)))
        for name, file in each.predictions.items():
            rows.append(Row(each.name, evaluate_predictions(name, file, pictures)))
    return rows


def costs(suite: Suite, locate: Locate) -> dict[str, Cost]:
    """Measure what each model costs, by ``NAME VERSION``."""
    found = {}
    for reference in suite.models:
        folder, number = locate(reference)
        manifest = chosen_version(read_manifest(folder), number)
        found[f"{manifest.name} {manifest.version}"] = cost(folder, manifest)
    return found


def table(rows: Sequence[Row], prices: dict[str, Cost]) -> str:
    """Return both tables as Markdown."""
    lines = [
        "| pictures | model | precision | recall | F1 at 5 px | Dice | AJI | PQ |",
        "|---|---|---|---|---|---|---|---|",
    ]
    last = ""
    for row in rows:
        found = row.found
        where = f"{row.set_name}: {found.pictures} pictures, {found.things} nuclei" if row.set_name != last else ""
        last = row.set_name
        cells = [_cell(name, found.measures[name]) for name in _COLUMNS]
        lines.append(f"| {where} | `{f'{found.model} {found.version}'.strip()}` | {' | '.join(cells)} |")
    lines += ["", "| model | made for | 256 px tile, one core | weights |", "|---|---|---|---|"]
    for name, price in prices.items():
        lines.append(f"| `{name}` | {price.mpp:g} um | {price.tile_ms:.1f} ms | {price.weights_mb:.1f} MB |")
    return "\n".join(lines)


def _cell(name: str, measure: Measured) -> str:
    low, high = measure.interval
    return f"{measure.value:.3f} ({low:.2f}-{high:.2f})" if name in _WITH_INTERVAL else f"{measure.value:.2f}"


def put_into(page: Path, text: str) -> None:
    """Replace what stands between the markers of a page.

    Raises
    ------
    BadRequest
        When the page cannot be read, or has no such place.
    """
    try:
        whole = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{page} cannot be read as text") from error
    changed, count = re.subn(f"(?s){re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: f"{BEGIN}\n{text}\n{END}", whole)
    if count != 1:
        raise BadRequest(f"{page} must have the lines {BEGIN} and {END} once; the table goes between them")
    page.write_text(changed, encoding="utf-8")
