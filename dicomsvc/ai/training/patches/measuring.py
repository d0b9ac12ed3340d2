"""Measures the exported model on the held-out patches, and says so in its folder and in a report beside it."""

import json
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from dicomsvc.ai.inference import InProcessBackend
from dicomsvc.ai.training.intervals import Figure, figure, note_figures
from dicomsvc.ai.training.patches import scores
from dicomsvc.ai.training.patches.description import TENSOR
from dicomsvc.ai.training.patches.pixels import read_patches
from dicomsvc.ai.training.patches.recipe import Recipe
from dicomsvc.ai.training.patches.scores import Answers
from dicomsvc.ai.training.patches.sources import Patch, find_patches
from dicomsvc.ai.training.patches.splitting import Part, split, unit_of

_BATCH: Final = 32
_MOST: Final = 2400
"""Of more held-out patches so many are chosen by chance, each class as often as it is."""


def measure_and_note(recipe: Recipe, folder: Path) -> None:
    """Write ``FOLDER.report.json`` and the figures of ``model.toml``; nothing where no patch is held out."""
    patches = find_patches(recipe)
    parts = split(patches, recipe)
    held = parts[Part.TEST]
    if not held:
        return
    if len(held) > _MOST:
        chosen = np.random.default_rng(recipe.seed).permutation(len(held))[:_MOST]
        held = [held[number] for number in sorted(chosen.tolist())]
    groups = len({each.group for each in patches})
    units = _answers(recipe, held, folder, groups)
    report = _report(recipe, units)
    report["patches"] = {str(part): _counts(recipe, found) for part, found in parts.items()}
    report["units"] = f"{len(units)} {'groups' if groups >= 3 else f'blocks of {recipe.block_um:g} um'}"
    file = folder.with_name(f"{folder.name}.report.json")
    file.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _note(recipe, folder, report, len(held))


def _answers(recipe: Recipe, held: list[Patch], folder: Path, groups: int) -> list[Answers]:
    """Return what the model answers, by what is drawn again for intervals."""
    pixels = read_patches(held, recipe.side, recipe.mpp)
    with closing(InProcessBackend(folder.parent)) as backend:
        found = [
            backend.infer(folder.name, 1, {"IMAGE": pixels[at : at + _BATCH]}, [TENSOR])[TENSOR]
            for at in range(0, len(pixels), _BATCH)
        ]
    steps = np.concatenate(found).astype(np.float64)
    probability = steps / steps.sum(axis=1, keepdims=True)
    known = np.array([each.label for each in held], np.int64)
    units = np.array([unit_of(each, recipe, groups) for each in held])
    return [Answers(known[units == name], probability[units == name]) for name in np.unique(units)]


def _report(recipe: Recipe, units: list[Answers]) -> dict[str, Any]:
    labels = [each.label for each in recipe.ordered]
    measures = {
        "balanced_accuracy": scores.balanced_accuracy,
        "accuracy": scores.accuracy,
        "kappa": scores.kappa,
        "calibration_error": scores.calibration_error,
    }
    f1s = {label: figure(units, partial(scores.f1, number=number)) for number, label in enumerate(labels)}
    return {
        "dataset": recipe.dataset,
        "classes": labels,
        "confusion": scores.confusion(units).tolist(),
        **{name: figure(units, measure).document() for name, measure in measures.items()},
        "f1": {label: found.document() if np.isfinite(found.value) else None for label, found in f1s.items()},
    }


def _counts(recipe: Recipe, patches: list[Patch]) -> dict[str, int]:
    counts = Counter(each.label for each in patches)
    return {each.label: counts[number] for number, each in enumerate(recipe.ordered)}


def _note(recipe: Recipe, folder: Path, report: dict[str, Any], count: int) -> None:
    f1s = ", ".join(f"{label} {found['value']:.2f}" for label, found in report["f1"].items() if found is not None)
    note = f"{count} patches; n and interval by {report['units']}. F1: {f1s}."
    names = {
        "balanced_accuracy": "balanced accuracy",
        "kappa": "Cohen's kappa",
        "calibration_error": "expected calibration error",
    }
    figures = {
        measure: Figure(*(report[name][part] for part in ("value", "low", "high", "n")))
        for name, measure in names.items()
    }
    note_figures(folder, recipe.dataset, figures, note)
