"""What is tried: every network on every kind of mark, and for classifiers every size of patch."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from dicomsvc.ai.training.granularity.marks import Granularity
from dicomsvc.errors import BadRequest

PLAN: Final = "plan.json"
CLASSIFIERS: Final = ("resnet18", "vgg16", "mobilenet_v2", "efficientnet_lite0")
SEGMENTERS: Final = ("unet", "fpn", "linknet")
NETWORKS: Final = (*CLASSIFIERS, *SEGMENTERS)
_FEWEST_STEPS: Final = 10
_SEGMENTERS_SHARE: Final = 2.0
"""Of the time, where a classifier has 1: they learn every pixel, and there are fewer of them."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the table: a network, trained on one kind of mark. ``patch`` is that of a segmenter's crops."""

    network: str
    granularity: Granularity
    patch: int
    seed: int

    @property
    def is_segmenter(self) -> bool:
        return self.network in SEGMENTERS

    @property
    def name(self) -> str:
        return f"{self.network}-{self.granularity}-{self.patch}-{self.seed}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a study depends on. Sides are in pixels of the pictures as they are used.

    ``diameter``: pictures are scaled so that their median nucleus has as many pixels, None for as they are. ``side``:
    what patches are brought to for classifiers. ``each``: patches of a grade to train on, at most. ``steps`` of each
    network are set when a study begins, the same for all kinds of marks.
    """

    groups: tuple[str, ...] = ()
    networks: tuple[str, ...] = NETWORKS
    granularities: tuple[Granularity, ...] = (Granularity.PIXEL, Granularity.ELLIPSE, Granularity.BOX)
    patches: tuple[int, ...] = (32, 64, 128)
    seeds: int = 1
    diameter: float | None = None
    side: int = 64
    crop: int = 128
    encoder: str = "efficientnet_lite0"
    batch: int = 16
    each: int = 1000
    most_steps: int = 2000
    steps: dict[str, int] = field(default_factory=dict)
    seconds_a_step: dict[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises
        ------
        BadRequest
            Names what is wrong.
        """
        unknown = [each for each in self.networks if each not in NETWORKS]
        if unknown or not self.networks:
            raise BadRequest(f"networks are {', '.join(NETWORKS)}; not {', '.join(unknown) or 'none'}")
        if not self.patches or any(patch < 16 or patch > 512 or patch % 2 for patch in self.patches):
            raise BadRequest("patches have an even side of 16 to 512 pixels")
        if self.side % 32 or self.crop % 32 or not (32 <= self.side <= 512 and 64 <= self.crop <= 512):
            raise BadRequest("what goes into a network has a side of 32 (crops: 64) to 512, a multiple of 32")
        if len(set(self.granularities)) < 2:
            raise BadRequest("at least two kinds of marks are compared")

    def cells(self) -> Iterator[Cell]:
        """Yield the cells, those of one network and seed after each other: a study cut short has whole comparisons."""
        for seed in range(self.seeds):
            for network in self.networks:
                for patch in (self.crop,) if network in SEGMENTERS else self.patches:
                    for granularity in self.granularities:
                        yield Cell(network, granularity, patch, seed)

    def within(self, seconds: float | None, seconds_a_step: dict[str, float]) -> "Plan":
        """Return the plan with as many steps as fit."""
        weights = {network: _SEGMENTERS_SHARE if network in SEGMENTERS else 1.0 for network in self.networks}
        whole = sum(weights[cell.network] for cell in self.cells())
        steps = dict.fromkeys(self.networks, self.most_steps)
        if seconds is not None:
            for network, weight in weights.items():
                fitting = int(seconds * weight / whole / seconds_a_step[network])
                steps[network] = max(_FEWEST_STEPS, min(self.most_steps, fitting))
        return replace(self, steps=steps, seconds_a_step=seconds_a_step)

    def batch_of(self, network: str) -> int:
        """Return how many crops or patches make a step; a crop is several patches large."""
        return max(2, self.batch // 2) if network in SEGMENTERS else self.batch

    def seconds(self, cell: Cell) -> float:
        """Return how long a cell is expected to take."""
        return self.steps[cell.network] * self.seconds_a_step.get(cell.network, 1.0)


def read_plan(folder: Path) -> Plan | None:
    """Return the plan of the study in a folder, None where there is none.

    Raises
    ------
    BadRequest
        When it is not readable.
    """
    file = folder / PLAN
    if not file.is_file():
        return None
    try:
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        kept["granularities"] = tuple(Granularity(each) for each in kept["granularities"])
        kept |= {name: tuple(value) for name, value in kept.items() if isinstance(value, list)}
        return Plan(**kept)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadRequest(f"{file} is no plan of a study") from error


def write_plan(plan: Plan, folder: Path) -> None:
    """Write a plan beside the results it is for."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PLAN).write_text(json.dumps(asdict(plan), indent=2) + "\n", encoding="utf-8")


def resumed(asked: Plan, folder: Path) -> Plan | None:
    """Return the plan that a folder's results follow, when what is asked is the same; None for a new folder.

    Raises
    ------
    BadRequest
        When it is another.
    """
    kept = read_plan(folder)
    if kept is None:
        return None
    if replace(kept, steps={}, seconds_a_step={}) != replace(asked, steps={}, seconds_a_step={}):
        raise BadRequest(f"{folder} holds a study with other settings ({PLAN} tells which); give another folder")
    return kept
