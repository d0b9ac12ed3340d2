"""What a model folder's ``model.toml`` says, as values.

Reading and checking the file is `dicomsvc.ai.catalogue.reading`; nothing here touches a disk.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydicom.sr.coding import Code


class OutputKind(StrEnum):
    """What a model gives for one tile; each kind has one decoder in `dicomsvc.ai.decoding`."""

    SEGMENTATION = "segmentation"
    """A probability for each class and pixel."""
    INSTANCES = "instances"
    """A foreground probability, and optionally distance, centre and class maps: things with outlines."""
    POINTS = "points"
    """A heat map whose peaks are things without outlines."""
    CLASSIFICATION = "classification"
    """One probability for each class, for the whole tile."""
    MAP = "map"
    """A real value for each pixel."""
    IMAGE = "image"
    """A picture: a virtual stain."""
    CLICKS = "clicks"
    """The mask of the one thing that was clicked: for the picture around a click, with guiding maps beside it."""


class Stain(StrEnum):
    """What the model was made for."""

    HE = "H&E"
    IHC = "IHC"
    BRIGHTFIELD = "brightfield"
    FLUORESCENCE = "fluorescence"


@dataclass(frozen=True, slots=True)
class Step:
    """A preprocessing step: a name that `dicomsvc.wsi.stain` knows (``macenko``, ``reinhard``, …) and its settings."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the model wants.

    The image tensor is ``(batch, tile_size, tile_size, channels)`` UINT8, or FP32 of ``(value * scale - mean) / std``
    in ``layout`` NHWC or NCHW. ``overlap`` pixels at each side of a tile are context: results there are thrown away.
    A slide may be coarser than ``mpp`` (micrometres a pixel) up to ``coarsest_mpp``, and is then enlarged; beyond, the
    model refuses. ``channels`` are ``("R", "G", "B")``, or names of optical paths for fluorescence.
    ``statistics`` are numbers of the whole slide (``dicomsvc.ai.statistics`` knows their names) that go in
    as a second tensor ``(batch, len(statistics))`` FP32.
    ``guides`` are the maps that go in beside the picture around a click (`dicomsvc.ai.clicks.guides` knows their
    names), a tensor like the image's with a channel each: 0 to 255, or 0 to 1 in FP32; ``guide_um`` is how wide a click
    is drawn (sigma). The click is in the pixel at ``tile_size // 2`` of both axes.
    """

    tensor: str
    mpp: float
    coarsest_mpp: float
    tile_size: int
    overlap: int
    stain: Stain
    channels: tuple[str, ...] = ("R", "G", "B")
    datatype: str = "UINT8"
    layout: str = "NHWC"
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    steps: tuple[Step, ...] = ()
    statistics: tuple[str, ...] = ()
    statistics_tensor: str = "STATISTICS"
    guides: tuple[str, ...] = ()
    guides_tensor: str = "GUIDES"
    guide_um: float = 1.0
    only_tissue: bool = True
    """Look only where there is tissue; a model that finds the tissue itself says false."""
    max_batch: int = 8
    """Most tiles in one call (``max_batch_size`` of ``config.pbtxt``)."""


@dataclass(frozen=True, slots=True)
class OutputChannel:
    """A picture in grey, 0 to 1, in ``channel`` of an output tensor; ``stands_for`` says what it imitates."""

    name: str
    label: str
    tensor: str
    channel: int = 0
    colour: tuple[int, int, int] = (255, 255, 255)
    stands_for: str = ""


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What the model gives: output tensor by role, and the decoder's settings (thresholds, sizes in micrometres).

    Tensors are ``(batch, rows, columns, channels)`` of the tile divided by ``stride``, or ``(batch, classes)`` for
    CLASSIFICATION; UINT8 stands for 0 to 1 in 255 steps, FP32 for itself. ``channels`` are pictures in grey that the
    model makes; an IMAGE without any is one in red, green and blue.
    """

    kind: OutputKind
    tensors: Mapping[str, str]
    stride: int = 1
    settings: Mapping[str, float] = field(default_factory=dict)
    channels: tuple[OutputChannel, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelClass:
    """A class that the model tells apart; the order is that of the model's channels, without background."""

    label: str
    category: Code
    type: Code
    colour: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One measured figure: on what, how many images, with an interval."""

    dataset: str
    measure: str
    value: float
    n: int
    interval: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of a model. ``number`` is Triton's version folder; ``weights_sha256`` of ``model.onnx``."""

    name: str
    number: int
    title: str
    version: str
    summary: str
    intended_use: str
    licence: str
    training_data: str
    family: Code
    input: InputSpec
    output: OutputSpec
    classes: tuple[ModelClass, ...]
    weights_sha256: str
    limitations: str = ""
    accuracy: tuple[Accuracy, ...] = ()
    objects: tuple[str, ...] = ()
    """Kinds of result object: ``SEG``, ``ANN``, ``SR``, ``PM``, ``SM``."""
