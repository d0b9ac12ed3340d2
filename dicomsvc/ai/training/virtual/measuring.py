"""Measures the exported model on the held-out part, beside two baselines, and says so in its folder and a report.

The baselines are the amount of hematoxylin, scaled to fit the validation part best, and that part's mean everywhere.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.images import analyse_picture, channel_pictures
from dicomsvc.ai.inference import InProcessBackend
from dicomsvc.ai.training.intervals import Figure, figure, note_figures
from dicomsvc.ai.training.virtual import cells, pictures
from dicomsvc.ai.training.virtual.blocks import Block, read_blocks
from dicomsvc.ai.training.virtual.cells import Cells
from dicomsvc.ai.training.virtual.recipe import Recipe
from dicomsvc.wsi.stain.density import HED, density, unit, unmix

Plane = npt.NDArray[np.float32]
_KNOWN_BLOCKS: Final = 3
_TEST_BLOCKS: Final = 9
_GLASS: Final = 254.0
METHODS: Final = ("model", "hematoxylin", "mean")
_PICTURES: Final = {
    "ssim": pictures.mean_similarity,
    "pearson": pictures.correlation,
    "mean_difference": pictures.mean_difference,
}
_CELLS: Final = {
    "cell_pearson": cells.correlation,
    "cell_auc": cells.area_under_curve,
    "cell_kappa": cells.agreement,
}


@dataclass(frozen=True, slots=True, eq=False)
class Inferred:
    """A block with its true stains and those of each method, by method ``(channels, rows, columns)`` from 0 to 1."""

    true: Plane
    methods: Mapping[str, Plane]


def measure_and_note(recipe: Recipe, folder: Path) -> None:
    """Write ``FOLDER.report.json`` and the figures of ``model.toml``; thresholds come from the validation part."""
    validation = read_blocks(recipe, [pair.validation for pair in recipe.pair], _KNOWN_BLOCKS)
    test = read_blocks(recipe, [pair.test for pair in recipe.pair], _TEST_BLOCKS)
    if not test:
        return
    known = infer_blocks(recipe, folder, validation or test, validation or test)
    held = infer_blocks(recipe, folder, test, validation or test)
    report: dict[str, Any] = {"dataset": recipe.dataset, "blocks": len(held), "thresholds_from": "validation"}
    if not validation:
        report["thresholds_from"] = "test"
    report["channels"] = {
        channel.name: _of_channel(recipe, number, known, held) for number, channel in enumerate(recipe.channel)
    }
    file = folder.with_name(f"{folder.name}.report.json")
    file.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _note(recipe, folder, report)


def infer_blocks(recipe: Recipe, folder: Path, blocks: Sequence[Block], fitted: Sequence[Block]) -> list[Inferred]:
    """Return what each method makes of blocks; the hematoxylin is scaled to fit the blocks ``fitted``."""
    [manifest, *_] = read_manifest(folder)
    scales = _scales(fitted)
    mean = np.mean([block.stains.reshape(-1, block.stains.shape[2]).mean(axis=0) for block in fitted], axis=0) / 255
    found = []
    with closing(InProcessBackend(folder.parent)) as backend:
        for block in blocks:
            made = channel_pictures(analyse_picture(block.image, recipe.mpp, manifest, backend), manifest)
            model = np.asarray(np.stack([made[each.name] for each in recipe.channel]) / np.float32(255), np.float32)
            dye = hematoxylin(block.image)
            scaled = np.stack([np.clip(slope * dye + base, 0, 1) for slope, base in scales]).astype(np.float32)
            flat = np.broadcast_to(mean[:, None, None], model.shape).astype(np.float32)
            methods: dict[str, Plane] = {"model": model, "hematoxylin": scaled, "mean": flat}
            true = np.asarray(block.stains.transpose(2, 0, 1) / np.float32(255), np.float32)
            found.append(Inferred(true, methods))
    return found


def hematoxylin(pixels: npt.NDArray[np.uint8]) -> Plane:
    """Return the amount of hematoxylin, by Ruifrok and Johnston's vectors."""
    amounts = unmix(density(pixels, _GLASS), unit(HED))[:, 0]
    return np.asarray(amounts.reshape(pixels.shape[:2]), np.float32)


def _scales(blocks: Sequence[Block]) -> list[tuple[float, float]]:
    """Return slope and base, for each channel, by which hematoxylin fits best."""
    dye = np.concatenate([hematoxylin(block.image)[::4, ::4].ravel() for block in blocks])
    stains = np.concatenate([block.stains[::4, ::4].reshape(-1, block.stains.shape[2]) for block in blocks]) / 255
    fits = [np.polyfit(dye, stains[:, number], 1) for number in range(stains.shape[1])]
    return [(float(slope), float(base)) for slope, base in fits]


def _of_channel(recipe: Recipe, number: int, known: Sequence[Inferred], held: Sequence[Inferred]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for method in METHODS:
        parts = [pictures.likeness(block.methods[method][number], block.true[number]) for block in held]
        found[method] = {name: _document(figure(parts, measure)) for name, measure in _PICTURES.items()}
    if recipe.nuclei is None:
        return found
    shown = [channel.name for channel in recipe.channel].index(recipe.nuclei)
    threshold = cells.nuclei_threshold([block.true[shown] for block in known])
    limits = _limits(recipe, number, known, [_labels(recipe, block, shown, threshold) for block in known])
    labels = [_labels(recipe, block, shown, threshold) for block in held]
    for method in METHODS:
        groups = [
            _cells(block, each, number, method, limits) for block, each in zip(held, labels, strict=True) if each.any()
        ]
        if groups:
            found[method] |= {name: _document(figure(groups, measure)) for name, measure in _CELLS.items()}
            every = cells.of_all(groups)
            found[method] |= {"cells": len(every.true), "positive": round(float(every.positive.mean()), 4)}
            found[method]["called_positive"] = round(float(every.called.mean()), 4)
    return found


def _labels(recipe: Recipe, block: Inferred, shown: int, threshold: float) -> npt.NDArray[np.int32]:
    return cells.find_cells(block.true[shown], threshold, recipe.mpp)


def _limits(
    recipe: Recipe, number: int, known: Sequence[Inferred], labels: Sequence[npt.NDArray[np.int32]]
) -> dict[str, float]:
    """Return from which mean on a cell is positive: truly, and for each method so that as many are as truly are."""
    pairs = list(zip(known, labels, strict=True))
    true = np.concatenate([cells.means_in(each, block.true[number]) for block, each in pairs])
    limits = {"true": cells.positive_threshold(true) if len(true) else 0.5}
    share = float((true > limits["true"]).mean()) if len(true) else 0.0
    for method in METHODS:
        means = np.concatenate([cells.means_in(each, block.methods[method][number]) for block, each in pairs])
        limits[method] = float(np.quantile(means, 1 - share)) if len(means) else 0.5
    return limits


def _cells(
    block: Inferred, labels: npt.NDArray[np.int32], number: int, method: str, limits: Mapping[str, float]
) -> Cells:
    true = cells.means_in(labels, block.true[number])
    inferred = cells.means_in(labels, block.methods[method][number])
    return Cells(true, inferred, true > limits["true"], inferred > limits[method])


def _document(found: Figure) -> dict[str, float | int] | None:
    return found.document() if np.isfinite(found.value) else None


def _note(recipe: Recipe, folder: Path, report: Mapping[str, Any]) -> None:
    figures: dict[str, Figure] = {}
    said = []
    names = {
        "ssim": "SSIM",
        "pearson": "Pearson",
        "cell_pearson": "Pearson of cells",
        "cell_auc": "AUC of positive cells",
    }
    for channel in recipe.channel:
        methods = report["channels"][channel.name]
        for name, measure in names.items():
            found = methods["model"].get(name)
            if found is not None and not (name == "cell_auc" and channel.name == recipe.nuclei):
                figures[f"{channel.label}: {measure}"] = Figure(*(found[key] for key in ("value", "low", "high", "n")))
                other = methods["hematoxylin"].get(name)
                if other is not None:
                    said.append(f"{channel.name} {measure} {other['value']:.2f}")
    note = f"n is blocks of the same section. Hematoxylin as the stain gives: {', '.join(said)}."
    note_figures(folder, recipe.dataset, figures, note)
