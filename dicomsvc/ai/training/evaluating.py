"""Measures models on labelled pictures, by the same tiles and decoders as slides."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.images import analyse_picture, describe
from dicomsvc.ai.inference import InProcessBackend
from dicomsvc.ai.training.labelled import FOLDS, Labelled, read_folder
from dicomsvc.ai.training.scoring import Counts, Measured, measured, score
from dicomsvc.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The measures of a model over ``pictures`` with ``things`` in all."""

    model: str
    version: str
    pictures: int
    things: int
    measures: dict[str, Measured]
    per_picture: dict[str, float]
    """F1 of each."""


@dataclass(frozen=True, slots=True)
class TestSet:
    """Which pictures: of ``folder``, of some stain groups and folds, taken for ``mpp`` micrometres a pixel."""

    __test__ = False

    folder: Path
    mpp: float
    groups: Collection[str] = ()
    folds: Collection[int] = range(FOLDS)

    def pictures(self) -> list[Labelled]:
        found = list(read_folder(self.folder, self.groups, self.folds))
        if not found:
            raise BadRequest(f"{self.folder} has no labelled picture of that kind")
        return found


def evaluate(
    folder: Path,
    number: int | None,
    pictures: Sequence[Labelled],
    mpp: float,
    tell: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Evaluation:
    """Measure a version of a model folder, the highest unless told, by ONNX Runtime in this process.

    Raises
    ------
    InvalidModel, UnfitSlide, ModelFailure
        When the folder is not right, the pictures are not for the model, or it fails.
    """
    manifest = chosen_version(read_manifest(folder), number)
    counts: list[Counts] = []
    with closing(InProcessBackend(folder.parent)) as backend:
        for sample in pictures:
            found = describe(analyse_picture(sample.pixels, mpp, manifest, backend), manifest)
            if "instances" not in found:
                raise BadRequest(f"{manifest.name} gives no instances; only such models can be measured here")
            counts.append(score(found["instances"], sample.labels))
            tell(len(counts), len(pictures), manifest.name)
    return _evaluation(manifest.name, manifest.version, pictures, counts)


def evaluate_predictions(name: str, file: Path, pictures: Sequence[Labelled]) -> Evaluation:
    """Measure what another program found: lines of ``image`` (a path) and ``instances``, as ``dicomsvc infer`` writes.

    Raises
    ------
    BadRequest
        When the file is not of that form, or says nothing of one of the pictures.
    """
    found = _predictions(file)
    missing = [sample.name for sample in pictures if sample.name not in found]
    if missing:
        raise BadRequest(f"{file} says nothing of {len(missing)} pictures, {missing[0]} among them")
    try:
        counts = [score(found[sample.name], sample.labels) for sample in pictures]
    except (KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"{file} has an instance without a right centroid or contour") from error
    return _evaluation(name, "", pictures, counts)


def _predictions(file: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {Path(line["image"]).stem: list(line["instances"]) for line in lines}
    except OSError as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest(f'{file} must have lines {{"image": path, "instances": [...]}}') from error


def _evaluation(name: str, version: str, pictures: Sequence[Labelled], counts: Sequence[Counts]) -> Evaluation:
    each = {sample.name: measured([count])["f1"].value for sample, count in zip(pictures, counts, strict=True)}
    things = int(sum(count.known for count in counts))
    return Evaluation(name, version, len(pictures), things, measured(counts), each)


def chosen_version(versions: Sequence[Manifest], number: int | None) -> Manifest:
    """Return one version, the highest unless told.

    Raises
    ------
    BadRequest
        When there is no such version.
    """
    for manifest in versions:
        if manifest.number == number:
            return manifest
    if number is not None:
        raise BadRequest(f"{versions[0].name} has no version {number}")
    return versions[-1]


def note(folder: Path, dataset: str, found: Evaluation) -> None:
    """Write the figures into the folder's ``model.toml``, in place of those of the same data set."""
    file = folder / "model.toml"
    quoted = json.dumps(dataset, ensure_ascii=False)
    text = file.read_text(encoding="utf-8")
    blocks = re.split(r"(?m)^(?=\[\[accuracy\]\])", text)
    kept = [block.rstrip() for block in blocks if f"dataset = {quoted}\n" not in block]
    values = {name: measure.value for name, measure in found.measures.items()}
    low, high = found.measures["f1"].interval
    said = (
        f"Precision {values['precision']:.2f}, recall {values['recall']:.2f}, Dice {values['dice']:.2f}, "
        f"AJI {values['aji']:.2f}, PQ {values['pq']:.2f}; {found.things} nuclei."
    )
    lines = [
        "[[accuracy]]",
        f"dataset = {quoted}",
        'measure = "F1 at 5 px, over all nuclei"',
        f"value = {values['f1']:.3f}",
        *([f"interval = [{low:.3f}, {high:.3f}]"] if found.pictures > 1 else []),
        f"n = {found.pictures}",
        f'note = "{said}"',
    ]
    file.write_text("\n\n".join([*kept, "\n".join(lines)]) + "\n", encoding="utf-8")
    read_manifest(folder)
