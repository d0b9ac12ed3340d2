"""Percentage of positive cells against truth: model folders over rendered pictures whose nuclei were held out.

Renders pictures of 512 x 512 pixels from the nuclei that a recipe of the task `ihc` holds out, and from its held-out
coloured pictures, and gives for each model: mean absolute error of the percentage (95 % of 2,000 drawings of the
pictures) and the worst one, of all pictures and of those whose score is not refused; how many nuclei are found within
5 pixels (recall, precision), and how many of these are in the right class. Needs the extra ``train``.

Run ``python -m benchmarks.ihc_accuracy RECIPE MODEL_FOLDER... [--pictures N] [--show FOLDER]``.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.findings import Instances
from dicomsvc.ai.ihc.assessment import assess_picture
from dicomsvc.ai.ihc.presets import DEFAULT, preset_named
from dicomsvc.ai.images import analyse_picture
from dicomsvc.ai.inference.in_process import InProcessBackend
from dicomsvc.ai.training.ihc.crops import Field, held_out_fields
from dicomsvc.ai.training.ihc.recipe import Recipe
from dicomsvc.ai.training.tasks import read_task

MPP = 0.5
NEAR = 5.0
RED, GREEN = (255, 0, 0), (0, 210, 0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One picture: percentages, whether the score was refused, and counts of nuclei."""

    true: float
    found: float
    refused: bool
    known: int
    seen: int
    matched: int
    right: int

    @property
    def error(self) -> float:
        return self.found - self.true


def measure(field: Field, instances: Instances, manifest: Manifest) -> Outcome:
    """Compare what was found in a field with what was rendered."""
    labels = field.layout.labels
    numbers = np.unique(labels)[1:]
    places = np.array(ndimage.center_of_mass(labels > 0, labels, numbers)).reshape(-1, 2)[:, ::-1] + 0.5
    matched = right = 0
    if len(instances):
        pairs = _pairs(places, instances.centroids)
        matched = len(pairs)
        right = sum(
            bool(instances.class_index[theirs]) == bool(field.dyes.positive[numbers[ours]]) for ours, theirs in pairs
        )
    assessment = assess_picture(field.pixels, instances, preset_named(DEFAULT), manifest)
    share = assessment.score.percent_positive
    return Outcome(field.percent_positive, share, assessment.refused, len(numbers), len(instances), matched, right)


def _pairs(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pair places one to one, the nearest first."""
    near = cKDTree(ours).sparse_distance_matrix(cKDTree(theirs), NEAR, output_type="ndarray")
    taken: tuple[set[int], set[int]] = (set(), set())
    pairs = []
    for one, other, _ in np.sort(near, order="v"):
        if one not in taken[0] and other not in taken[1]:
            taken[0].add(one)
            taken[1].add(other)
            pairs.append((int(one), int(other)))
    return pairs


def line(name: str, outcomes: Sequence[Outcome]) -> str:
    known = [each for each in outcomes if each.known]
    kept = [each for each in known if not each.refused]
    counts = np.array([[each.known, each.seen, each.matched, each.right] for each in known]).sum(axis=0)
    return (
        f"{name}: n {len(known)}, {_errors(known)}; "
        f"not refused {len(kept)}, {_errors(kept)}; "
        f"{counts[0]} nuclei, recall {counts[2] / counts[0]:.3f}, precision {counts[2] / max(counts[1], 1):.3f}, "
        f"right class {counts[3] / max(counts[2], 1):.4f}"
    )


def _errors(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return "none"
    errors = np.abs([each.error for each in outcomes])
    chance = np.random.default_rng(0)
    means = errors[chance.integers(0, len(errors), (2000, len(errors)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    usual = f"error {errors.mean():.2f} [{low:.2f}, {high:.2f}] points, median {np.median(errors):.2f}"
    return f"{usual}, worst {errors.max():.1f}"


def show(field: Field, instances: Instances) -> Image.Image:
    """Return picture, truth and answer side by side; positive nuclei are red."""
    truth, answer = field.pixels.copy(), field.pixels.copy()
    for number in np.unique(field.layout.labels)[1:]:
        own = (field.layout.labels == number).astype(np.uint8)
        contours, _ = cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(truth, contours, -1, RED if field.dyes.positive[number] else GREEN, 1)
    for row in range(len(instances)):
        points = np.rint(instances.polygon(row) - 0.5).astype(np.int32)
        cv2.polylines(answer, [points], True, RED if instances.class_index[row] else GREEN, 1)
    return Image.fromarray(np.hstack([field.pixels, truth, answer]))


def found_in(folder: Path, fields: Sequence[Field]) -> Iterator[tuple[Field, Instances, Manifest]]:
    manifest = read_manifest(folder)[-1]
    with closing(InProcessBackend(folder.parent)) as backend:
        for field in fields:
            instances = analyse_picture(field.pixels, MPP, manifest, backend, threads=1).instances
            yield field, instances if instances is not None else Instances.empty(), manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--pictures", type=int, default=70)
    parser.add_argument("--show", type=Path, help="folder for pictures with truth and answer")
    asked = parser.parse_args()
    recipe = read_task(asked.recipe).recipe
    assert isinstance(recipe, Recipe)
    for coloured in (False, True):
        source = held_out_fields(recipe, coloured=coloured)
        fields = [source.field(number) for number in range(asked.pictures)]
        for folder in asked.models:
            outcomes = []
            for number, (field, instances, manifest) in enumerate(found_in(folder, fields)):
                outcomes.append(measure(field, instances, manifest))
                if asked.show is not None:
                    asked.show.mkdir(parents=True, exist_ok=True)
                    kind = "coloured" if coloured else "rendered"
                    show(field, instances).save(asked.show / f"{folder.name}-{kind}-{number:03}.png")
            print(line(f"{folder.name}, {'coloured' if coloured else 'rendered'}", outcomes), flush=True)


if __name__ == "__main__":
    main()
