"""The training run: batches, schedule, moving average, checkpoints, early stopping."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from dicomsvc.ai.training import schedules
from dicomsvc.ai.training.curve import draw_curve
from dicomsvc.ai.training.devices import Place, choose
from dicomsvc.ai.training.recipe import Schedule
from dicomsvc.ai.training.task import Example, Task
from dicomsvc.ai.training.weights import read_weights
from dicomsvc.errors import BadRequest

CHECKPOINT: Final = "checkpoint.pt"
BEST: Final = "best.pt"
CURVE: Final = "curve.jsonl"
PICTURE: Final = "curve.png"
_DECAY: Final = 0.99
_LARGEST_GRADIENT: Final = 5.0

Tell = Callable[[int, int, str], None]


@dataclass(slots=True)
class Progress:
    """Where a run is; ``seconds`` counts over all its parts."""

    step: int = 0
    seconds: float = 0.0
    best: float = math.inf
    without_gain: int = 0
    drops: int = 0
    """How often the schedule ``plateau`` lowered the rate."""


@dataclass(slots=True, eq=False)
class Run:
    """A run whose files lie in ``folder``; one that was stopped goes on from its last checkpoint.

    With ``minutes`` the schedule ends by the clock where that is earlier than the recipe's steps; such a run cannot be
    repeated to the same weights. ``device`` and ``mixed`` are those of `devices.choose`.
    """

    task: Task
    folder: Path
    minutes: float | None = None
    workers: int = 1
    tell: Tell = lambda done, total, what: None
    progress: Progress = field(default_factory=Progress)
    device: str = "auto"
    mixed: bool | None = None
    place: Place = field(init=False)

    def fit(self) -> Path:
        """Train to the end and return the file of the best weights by the validation pictures, else of the last.

        Raises
        ------
        BadRequest
            When the folder holds a run of another recipe, the data cannot be read, or the device is not there.
        """
        self.place = choose(self.device, self.mixed)
        with _without_subnormals():
            return self._fit()

    def _fit(self) -> Path:
        torch.manual_seed(self.task.recipe.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        network, average, optimizer = self._network()
        answering = self.place.spread(network)
        self._resume(network, average, optimizer)
        batches = self._batches()
        pictures = self.task.validation()
        started, last_look = time.monotonic() - self.progress.seconds, self._done()
        errors: list[float] = []
        network.train()
        for images, wanted in batches:
            if self._done() >= 1:
                break
            errors.append(self._step(answering, optimizer, images, wanted))
            average.update_parameters(network)
            self.progress.step += 1
            self.progress.seconds = time.monotonic() - started
            self.tell(self.progress.step, self.task.recipe.steps, f"loss {errors[-1]:.3f}{self._left()}")
            if self._done() - last_look >= 1 / self.task.recipe.looks or self._done() >= 1:
                last_look = self._done()
                self._look(average, pictures, errors)
                self._save(network, average, optimizer)
                errors = []
                if self.progress.without_gain >= self.task.recipe.patience:
                    break
        return self.folder / BEST

    def _batches(self) -> DataLoader[Example]:
        """Return the batches that are still to come."""
        recipe = self.task.recipe
        first = self.progress.step * recipe.batch
        examples = self.task.examples(first, max(0, recipe.steps * recipe.batch - first))
        ahead = 4 if self.workers else None
        pinned = self.place.device.type == "cuda"
        return DataLoader(examples, recipe.batch, num_workers=self.workers, prefetch_factor=ahead, pin_memory=pinned)

    def _network(self) -> tuple[nn.Module, AveragedModel, torch.optim.Optimizer]:
        network = self.task.network()
        if self.task.recipe.start is not None:
            _begin_with(network, self.task.recipe.start)
        network = network.to(self.place.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = AveragedModel(network, multi_avg_fn=_averaged, use_buffers=True)
        groups = self.task.groups(network)
        return network, average, torch.optim.AdamW(groups, lr=self.task.recipe.learning_rate, weight_decay=1e-4)

    def _done(self) -> float:
        """Return how much of the schedule is done, from 0 to 1."""
        by_steps = self.progress.step / self.task.recipe.steps
        by_clock = 0.0 if self.minutes is None else self.progress.seconds / (60 * self.minutes)
        return min(1.0, max(by_steps, by_clock))

    def _left(self) -> str:
        """Return how long the rest of the schedule takes at the speed so far."""
        done = self._done()
        if done <= 0:
            return ""
        seconds = self.progress.seconds * (1 - done) / done
        return f", {seconds / 60:.0f} min left" if seconds >= 90 else f", {seconds:.0f} s left"

    def _step(self, network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, wanted: Tensor) -> float:
        recipe = self.task.recipe
        rate = recipe.learning_rate * schedules.share(recipe.schedule, self._done(), self.progress.drops)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        images = self.place.brought(images).float().contiguous(memory_format=torch.channels_last)
        with self.place.precision():
            answer = network(images)
        error = self.task.loss(answer.float(), self.place.brought(wanted))
        self.place.descend(error, network, optimizer, _LARGEST_GRADIENT)
        return error.item()

    def _look(self, average: AveragedModel, pictures: Sequence[Example], errors: Sequence[float]) -> None:
        """Measure on the validation pictures, note it, and keep the weights when they are the best yet."""
        measured = validation_loss(self.task, average.module, pictures)
        line = {"step": self.progress.step, "seconds": round(self.progress.seconds), "loss": _mean(errors)}
        with (self.folder / CURVE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "validation": measured}) + "\n")
        draw_curve(self.folder / CURVE, self.folder / PICTURE)
        if not pictures or measured < self.progress.best:
            self.progress.best, self.progress.without_gain = measured, 0
            _replace({"network": average.module.state_dict()}, self.folder / BEST)
        else:
            self.progress.without_gain += 1
            if self.task.recipe.schedule == "plateau" and self.progress.without_gain % schedules.LOOKS_TO_DROP == 0:
                self.progress.drops += 1

    def _save(self, network: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer) -> None:
        state = {
            "recipe": self.task.recipe.model_dump_json(),
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": self.progress.step,
            "seconds": self.progress.seconds,
            "best": self.progress.best,
            "without_gain": self.progress.without_gain,
            "drops": self.progress.drops,
            "scaler": self.place.state(),
        }
        _replace(state, self.folder / CHECKPOINT)

    def _resume(self, network: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer) -> None:
        file = self.folder / CHECKPOINT
        if not file.is_file():
            return
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if not _is_of(self.task.recipe, state["recipe"]):
            raise BadRequest(f"{self.folder} holds a run of another recipe; give another folder")
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        self.place.resume(state.get("scaler", {}))
        known = {name: state[name] for name in ("step", "seconds", "best", "without_gain")}
        self.progress = Progress(**known, drops=state.get("drops", 0))


@contextmanager
def _without_subnormals() -> Iterator[None]:
    """Take subnormal numbers for zero: weights that die out would make each step many times as slow."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def validation_loss(task: Task, network: nn.Module, pictures: Sequence[Example]) -> float:
    """Return the mean loss over pictures, each by itself; 0 without any."""
    network.eval()
    device = next(network.parameters()).device
    with torch.inference_mode():
        return _mean(
            [
                float(task.loss(network(image[None].to(device).float()), wanted[None].to(device)))
                for image, wanted in pictures
            ]
        )


def _is_of(recipe: Schedule, written: str) -> bool:
    """Whether a checkpoint's recipe says the same; keys that came later have their defaults."""
    try:
        return type(recipe).model_validate_json(written) == recipe
    except ValidationError:
        return False


def _averaged(average: Any, current: Any, count: Tensor | int) -> None:
    """Move the average to the weights, faster the fewer there were: a short run must forget its start."""
    decay = min(_DECAY, (1 + float(count)) / (10 + float(count)))
    get_ema_multi_avg_fn(decay)(average, current, count)


def _begin_with(network: nn.Module, file: Path) -> None:
    """Take the weights of a file that fit by name and shape; a file of weights alone may be of an encoder."""
    there = read_weights(file)
    own = network.state_dict()
    named = {**{f"encoder.{name}": value for name, value in there.items()}, **there}
    fit = {name: value for name, value in named.items() if name in own and value.shape == own[name].shape}
    if not fit:
        raise BadRequest(f"{file} has no weights that fit this network")
    network.load_state_dict(own | fit)


def _replace(state: dict[str, Any], file: Path) -> None:
    """Write so that a stop in between leaves the file that was there."""
    beside = file.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(file)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
