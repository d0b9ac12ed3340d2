"""One trial: a network is trained on one kind of marks and measured against the pixels."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from dicomsvc.ai.training.granularity.marks import Granularity
from dicomsvc.ai.training.granularity.material import (
    Graded,
    Material,
    Pieces,
    confusion,
    masks,
    pieces,
    test_patches,
    validation_pieces,
)
from dicomsvc.ai.training.granularity.plan import Cell, Plan
from dicomsvc.ai.training.granularity.variation import recoloured, turned
from dicomsvc.ai.training.networks.classifiers import classifier
from dicomsvc.ai.training.networks.segmenters import segmenter
from dicomsvc.errors import BadRequest

Batch = tuple[Tensor, Tensor]
Batches = Iterator[Batch]
Tell = Callable[[int], None]
_LEARNING_RATE: Final = 1e-3
_LOOKS: Final = (0.5, 0.75, 1.0)
_AT_ONCE: Final = 64
_VALIDATED_CROPS: Final = 32
_MULTIPLE: Final = 32
_PROBED_STEPS: Final = 3


def network_for(cell: Cell, plan: Plan, classes: int) -> nn.Module:
    """Return a network with ImageNet weights where there are some, else with drawn ones; the same for all marks."""
    torch.manual_seed(cell.seed)
    if cell.is_segmenter:
        return segmenter(cell.network, plan.encoder, 1)
    return classifier(cell.network, classes)


def seconds_a_step(cell: Cell, plan: Plan) -> float:
    """Return how long a step of training takes here."""
    network = network_for(cell, plan, 2).train()
    side = plan.crop if cell.is_segmenter else plan.side
    images = torch.full((plan.batch_of(cell.network), 3, side, side), 127.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-6)
    fastest = float("inf")
    for _ in range(_PROBED_STEPS):
        started = time.monotonic()
        answer = network(images)
        _learn(network, optimizer, answer.float().square().mean())
        fastest = min(fastest, time.monotonic() - started)
    return fastest


def try_cell(cell: Cell, plan: Plan, material: Material, tell: Tell) -> dict[str, Any]:
    """Train and measure one cell; returns what is kept of it.

    Raises
    ------
    BadRequest
        When the pictures give no patches to train or to measure with.
    """
    started = time.monotonic()
    trial = (_SegmenterTrial if cell.is_segmenter else _ClassifierTrial)(cell, plan, material)
    curve = _fit(trial, plan.steps[cell.network], tell)
    return {
        "cell": asdict(cell),
        "steps": plan.steps[cell.network],
        "seconds": round(time.monotonic() - started, 1),
        "parameters": sum(each.numel() for each in trial.network.parameters()),
        "training": trial.amount,
        "validation": curve,
        "pictures": trial.measured(),
    }


class _ClassifierTrial:
    def __init__(self, cell: Cell, plan: Plan, material: Material) -> None:
        self._classes = material.classes
        self.network = network_for(cell, plan, self._classes)
        self._batch, self._seed = plan.batch_of(cell.network), cell.seed
        patch, granularity = cell.patch, cell.granularity
        self._training = pieces(material.training, granularity, patch, plan, plan.each, cell.seed)
        self._validation = validation_pieces(material, granularity, patch, plan)
        self._test = test_patches(material, granularity, patch, plan)
        if not len(self._training.grades) or not len(self._test.own):
            raise BadRequest(f"no patch of {patch} pixels holds a complete nucleus; give --diameter or other patches")
        self.amount = {"patches": len(self._training.grades)}

    def batches(self) -> Batches:
        chance = np.random.default_rng(self._seed)
        while True:
            chosen = chance.integers(0, len(self._training.grades), self._batch)
            images = [turned(recoloured(self._training.pixels[at], chance), int(chance.integers(8))) for at in chosen]
            yield _tensor(np.stack(images)), torch.from_numpy(self._training.grades[chosen])

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        return functional.cross_entropy(answer, wanted)

    def validation(self) -> Batches:
        for first in range(0, len(self._validation.grades), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            yield _tensor(self._validation.pixels[part]), torch.from_numpy(self._validation.grades[part])

    def measured(self) -> dict[str, dict[str, list[list[int]]]]:
        of: Pieces = self._test.pieces
        found = np.concatenate(
            [
                self.network(_tensor(of.pixels[first : first + _AT_ONCE])).argmax(dim=1).numpy()
                for first in range(0, len(of.grades), _AT_ONCE)
            ]
        )
        names = np.array(of.pictures)
        tables = {}
        for name in dict.fromkeys(of.pictures):
            here = names == name
            known = here & (self._test.own >= 0)
            tables[name] = {
                "pixel": confusion(of.grades[here], found[here], self._classes),
                "own": confusion(self._test.own[known], found[known], self._classes),
            }
        return tables


class _SegmenterTrial:
    def __init__(self, cell: Cell, plan: Plan, material: Material) -> None:
        self.network = network_for(cell, plan, 1)
        self._batch, self._seed, self._crop = plan.batch_of(cell.network), cell.seed, cell.patch
        self._training, self._wanted = material.training, masks(material.training, cell.granularity)
        self._validation = material.validation, masks(material.validation, cell.granularity)
        self._test = material.test
        self._truth = masks(material.test, Granularity.PIXEL), masks(material.test, cell.granularity)
        self.amount = {"pictures": len(self._training)}

    def batches(self) -> Batches:
        chance = np.random.default_rng(self._seed)
        while True:
            chosen = chance.integers(0, len(self._training), self._batch)
            crops = [self._cropped(self._training[at], self._wanted[at], chance) for at in chosen]
            ways = chance.integers(0, 8, self._batch)
            images = [turned(recoloured(image, chance), int(way)) for (image, _), way in zip(crops, ways, strict=True)]
            wanted = [turned(mask, int(way)) for (_, mask), way in zip(crops, ways, strict=True)]
            yield _tensor(np.stack(images)), torch.from_numpy(np.stack(wanted).astype(np.float32))[:, None]

    def _cropped(
        self, one: Graded, mask: npt.NDArray[np.bool_], chance: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        pixels, mask = _reflected(one.sample.pixels, self._crop), _reflected(mask, self._crop)
        row, column = (int(chance.integers(0, size - self._crop + 1)) for size in mask.shape)
        part = slice(row, row + self._crop), slice(column, column + self._crop)
        return pixels[part], mask[part]

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(answer, wanted)

    def validation(self) -> Batches:
        chance = np.random.default_rng(0)
        pictures, wanted = self._validation
        for _ in range(_VALIDATED_CROPS):
            at = int(chance.integers(0, len(pictures)))
            image, mask = self._cropped(pictures[at], wanted[at], chance)
            yield _tensor(image[None]), torch.from_numpy(mask.astype(np.float32))[None, None]

    def measured(self) -> dict[str, dict[str, list[list[int]]]]:
        tables = {}
        for one, pixel, own in zip(self._test, *self._truth, strict=True):
            rows, columns = pixel.shape
            whole = _reflected(
                one.sample.pixels, -(-rows // _MULTIPLE) * _MULTIPLE, -(-columns // _MULTIPLE) * _MULTIPLE
            )
            found = (self.network(_tensor(whole[None]))[0, 0, :rows, :columns] > 0).numpy()
            tables[one.sample.name] = {"pixel": confusion(pixel, found), "own": confusion(own, found)}
        return tables


_Trial = _ClassifierTrial | _SegmenterTrial


def _fit(trial: _Trial, steps: int, tell: Tell) -> list[float]:
    """Train for so many steps; the weights of the best of three looks at the validation pictures stay."""
    network = trial.network
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps + 1, pct_start=0.1)
    looks = {max(1, round(share * steps)) for share in _LOOKS}
    best, curve = (float("inf"), deepcopy(network.state_dict())), []
    batches = trial.batches()
    for step in range(1, steps + 1):
        network.train()
        images, wanted = next(batches)
        _learn(network, optimizer, trial.loss(network(images), wanted))
        schedule.step()
        tell(step)
        if step in looks:
            curve.append(round(_validated(trial), 5))
            if curve[-1] <= best[0]:
                best = curve[-1], deepcopy(network.state_dict())
    network.load_state_dict(best[1])
    network.eval().requires_grad_(False)
    return curve


def _learn(network: nn.Module, optimizer: torch.optim.Optimizer, error: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    error.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()


def _validated(trial: _Trial) -> float:
    errors: dict[str, float] = defaultdict(float)
    trial.network.eval()
    with torch.inference_mode():
        for images, wanted in trial.validation():
            errors["sum"] += float(trial.loss(trial.network(images), wanted)) * len(images)
            errors["n"] += len(images)
    return errors["sum"] / errors["n"] if errors["n"] else 0.0


def _tensor(images: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()


def _reflected(array: npt.NDArray[Any], rows: int, columns: int | None = None) -> npt.NDArray[Any]:
    """Return an array of at least this size, mirrored at its lower and right border."""
    more = [max(0, wanted - size) for wanted, size in zip((rows, columns or rows), array.shape, strict=False)]
    if not any(more):
        return array
    return np.pad(array, [(0, more[0]), (0, more[1]), *[(0, 0)] * (array.ndim - 2)], mode="symmetric")
