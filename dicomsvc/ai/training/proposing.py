"""Labels that a model proposes for pictures nobody labelled, to train the next network on (self-training).

A thing is kept where the model is sure: it finds it in turned and mirrored copies taken together, and again with the
picture taken for a fifth finer and coarser. What is found only in some of them is unknown, and so is not learned from.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicomsvc.ai.catalogue.manifest import Manifest, OutputKind
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.images import Picture, analyse_picture, describe
from dicomsvc.ai.inference import Backend, InProcessBackend
from dicomsvc.ai.inference.backend import Tensor
from dicomsvc.ai.training import MPP
from dicomsvc.ai.training.labelled import UNKNOWN, Labelled
from dicomsvc.ai.training.recipe import Slide
from dicomsvc.ai.training.scoring import painted
from dicomsvc.ai.training.unlabelled import regions
from dicomsvc.errors import BadRequest

_SCALES: Final = (0.8, 1.25)
_LEAST_IOU: Final = 0.5
_LEAST_PROBABILITY: Final = 0.8
_LOOSE: Final[Mapping[str, float]] = MappingProxyType(
    {"threshold": 0.4, "min_probability": 0.5, "min_solidity": 0.0, "min_area_um2": 5.0}
)


@dataclass(frozen=True, slots=True, eq=False)
class Averaged:
    """A backend whose answer is the mean over ``turns`` (8 at most) turned and mirrored copies of square tiles."""

    inner: Backend
    turns: int = 4

    @property
    def description(self) -> str:
        return f"{self.inner.description}, mean of {self.turns} turns"

    def infer(self, model: str, number: int, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> dict[str, Tensor]:
        sums: dict[str, npt.NDArray[Any]] = {}
        for turn in range(self.turns):
            turned = {
                name: np.ascontiguousarray(_turned(value, turn)) if value.ndim == 4 else value
                for name, value in inputs.items()
            }
            for name, value in self.inner.infer(model, number, turned, outputs).items():
                back = _turned_back(value, turn).astype(np.float32) / (255 if value.dtype == np.uint8 else 1)
                sums[name] = sums.get(name, np.float32(0)) + back / np.float32(self.turns)
        return {name: np.ascontiguousarray(value) for name, value in sums.items()}

    def load(self, model: str) -> None:
        self.inner.load(model)

    def close(self) -> None:
        self.inner.close()


def _turned(values: Tensor, turn: int) -> Tensor:
    values = np.rot90(values, turn % 4, (1, 2))
    return values[:, :, ::-1] if turn >= 4 else values


def _turned_back(values: Tensor, turn: int) -> Tensor:
    values = values[:, :, ::-1] if turn >= 4 else values
    return np.rot90(values, -(turn % 4), (1, 2))


def propose(pixels: Picture, manifest: Manifest, backend: Backend, name: str) -> Labelled:
    """Label what a model is sure of in a picture at the network's resolution.

    Raises
    ------
    BadRequest
        When the model gives no instances.
    UnfitSlide, ModelFailure
        When the picture is not for the model, or it fails.
    """
    if manifest.output.kind is not OutputKind.INSTANCES:
        raise BadRequest(f"{manifest.name} gives no instances; only such models can propose labels")
    averaged = Averaged(backend)

    def found(scale: float, **settings: float) -> list[dict[str, Any]]:
        output = replace(manifest.output, settings={**manifest.output.settings, **settings})
        changed = replace(manifest, output=output)
        instances: list[dict[str, Any]] = describe(
            analyse_picture(pixels, MPP * scale, replace(changed, input=_lenient(changed)), averaged, threads=1),
            changed,
        )["instances"]
        return instances

    sure = [each for each in found(1.0) if each["probability"] >= _LEAST_PROBABILITY]
    labels = painted(sure, pixels.shape[:2])
    doubtful = painted(found(1.0, **_LOOSE), labels.shape) > 0
    for scale in _SCALES:
        again = painted(found(scale), labels.shape)
        labels = np.where(_confirmed(labels, again)[labels], labels, 0)
        doubtful |= again > 0
    doubtful |= painted(sure, labels.shape) > 0
    return Labelled(name, pixels, labels.astype(np.int32), (labels == 0) & _grown(doubtful) & ~_grown(labels > 0))


def _lenient(manifest: Manifest) -> Any:
    """Return the input as one that takes pictures that are a fourth coarser: only their scale is played with."""
    return replace(manifest.input, coarsest_mpp=max(manifest.input.coarsest_mpp, MPP * max(_SCALES)))


def _confirmed(labels: npt.NDArray[Any], again: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return for each number (0 first, never) whether one thing of ``again`` covers about the same pixels."""
    rows, columns = int(labels.max(initial=0)) + 1, int(again.max(initial=0)) + 1
    joint = np.bincount(labels.ravel() * columns + again.ravel(), minlength=rows * columns).reshape(rows, columns)
    either = joint.sum(axis=1)[:, np.newaxis] + joint.sum(axis=0)[np.newaxis] - joint
    iou = joint[:, 1:] / np.maximum(either[:, 1:], 1)
    found: npt.NDArray[np.bool_] = iou.max(axis=1, initial=0) >= _LEAST_IOU
    found[0] = False
    return found


def _grown(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    grown: Any = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(grown > 0)


class _Slides(BaseModel):
    """The slides of a recipe, whatever else is in it."""

    model_config = ConfigDict(frozen=True)

    slide: tuple[Slide, ...] = Field(min_length=1)


def read_slides(file: Path) -> tuple[Slide, ...]:
    """Return the ``[[slide]]`` tables of a TOML file.

    Raises
    ------
    BadRequest
        When it is no TOML, or one of them is wrong.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        return _Slides.model_validate(document, context={"root": file.parent}).slide
    except OSError as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{file} is no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRequest(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def propose_folder(
    model: Path, slides: Sequence[Slide], out: Path, seed: int = 0, tell: Callable[[int, int, str], None] | None = None
) -> dict[str, int]:
    """Write ``images/`` and ``labels/`` of regions of slides; return how many things each picture got.

    Raises
    ------
    BadRequest, InvalidModel
        When a slide or the model folder is not right.
    """
    manifest = read_manifest(model)[-1]
    for part in ("images", "labels"):
        (out / part).mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    total = sum(slide.regions for slide in slides)
    with closing(InProcessBackend(model.parent)) as backend:
        for slide in slides:
            for number, pixels in enumerate(regions(slide, seed)):
                sample = propose(pixels, manifest, backend, f"{slide.file.stem[:40]}-{number}")
                _write(sample, out)
                counts[sample.name] = len(np.unique(sample.labels)) - 1
                if tell is not None:
                    tell(len(counts), total, sample.name)
    return counts


def _write(sample: Labelled, out: Path) -> None:
    labels = np.where(sample.unknown, UNKNOWN, sample.labels) if sample.unknown is not None else sample.labels
    Image.fromarray(sample.pixels).save(out / "images" / f"{sample.name}.png")
    Image.fromarray(labels.astype(np.uint16)).save(out / "labels" / f"{sample.name}.png")
