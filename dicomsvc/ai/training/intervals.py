"""Figures with intervals, of parts that are drawn again: pictures, slides, blocks of a slide."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np

from dicomsvc.ai.catalogue.reading import read_manifest

_DRAWS: Final = 400
_SHARE: Final = 95.0
Part = TypeVar("Part")


class Figure(NamedTuple):
    """A measured value, the 95 % interval of drawing the parts again, and how many parts there are."""

    value: float
    low: float
    high: float
    n: int

    def document(self) -> dict[str, float | int]:
        """Return it as JSON."""
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4), "n": self.n}


def figure(parts: Sequence[Part], measure: Callable[[Sequence[Part]], float], seed: int = 0) -> Figure:
    """Measure all parts together, and as many of them drawn with repetition (Efron's percentile interval).

    A draw whose measure is not a number counts for nothing; without any the value stands for both ends.
    """
    value = float(measure(parts))
    chance = np.random.default_rng(seed)
    drawn = [
        float(measure([parts[number] for number in chance.integers(0, len(parts), len(parts))]))
        for _ in range(_DRAWS if len(parts) > 1 else 0)
    ]
    known = [each for each in drawn if np.isfinite(each)]
    low, high = np.percentile(known, [50 - _SHARE / 2, 50 + _SHARE / 2]) if known else (value, value)
    return Figure(value, min(float(low), value), max(float(high), value), len(parts))


def note_figures(folder: Path, dataset: str, figures: Mapping[str, Figure], note: str) -> None:
    """Add figures to a folder's ``model.toml`` as measures of one data set; the note goes with the first.

    Raises
    ------
    InvalidModel
        When the folder is not right with them.
    """
    file = folder / "model.toml"
    blocks = [file.read_text(encoding="utf-8").rstrip()]
    for number, (measure, found) in enumerate(figures.items()):
        lines = ["[[accuracy]]", f"dataset = {_quoted(dataset)}", f"measure = {_quoted(measure)}"]
        lines.append(f"value = {found.value:.4f}")
        if found.n > 1:
            lines.append(f"interval = [{found.low:.4f}, {found.high:.4f}]")
        lines.append(f"n = {found.n}")
        blocks.append("\n".join(lines if number or not note else [*lines, f"note = {_quoted(note)}"]))
    file.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    read_manifest(folder)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
