"""What can be set for each kind of output, and which tensors it may have: one table for checks, docs and decoders."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from dicomsvc.ai.catalogue.manifest import OutputKind
from dicomsvc.errors import InvalidModel


@dataclass(frozen=True, slots=True)
class Setting:
    """A number in ``[output.settings]`` of a manifest, from ``least`` to ``most`` (both included)."""

    default: float
    least: float
    most: float
    help: str


@dataclass(frozen=True, slots=True)
class Role:
    """An output tensor in ``[output.tensors]``.

    ``channels`` is its last axis; 0 stands for one a class, with or without the background before them.
    """

    required: bool
    channels: int
    help: str


_FRACTION = (0.0, 1.0)
_SIZE_UM = (0.0, 200.0)
_AREA_UM2 = (0.0, 1e6)

SETTINGS: Final[Mapping[OutputKind, Mapping[str, Setting]]] = MappingProxyType(
    {
        OutputKind.INSTANCES: {
            "threshold": Setting(0.5, *_FRACTION, "Mask probability from which a pixel belongs to a thing."),
            "smoothing_um": Setting(0.0, *_SIZE_UM, "Gaussian smoothing of the mask before the threshold (sigma)."),
            "opening_um": Setting(0.0, *_SIZE_UM, "Bridges and specks narrower than twice this are removed."),
            "hole_area_um2": Setting(20.0, *_AREA_UM2, "Holes up to this area are filled."),
            "split_smoothing_um": Setting(0.5, *_SIZE_UM, "Smoothing of the distance map that things are split by."),
            "split_depth": Setting(
                0.2,
                *_FRACTION,
                "Two peaks are two things when the saddle between them is lower by "
                "this share of the lower peak; 1 never splits.",
            ),
            "centre_threshold": Setting(0.3, *_FRACTION, "With a centre map: height from which a peak marks a thing."),
            "boundary_weight": Setting(1.0, *_FRACTION, "With a boundary map: how much of it is taken off the mask."),
            "min_area_um2": Setting(8.0, *_AREA_UM2, "Smaller things are dropped."),
            "max_area_um2": Setting(600.0, *_AREA_UM2, "Larger things are dropped."),
            "min_solidity": Setting(0.0, *_FRACTION, "Things with a lower area to hull ratio are dropped."),
            "min_probability": Setting(0.0, *_FRACTION, "Things with a lower mean probability are dropped."),
            "positive_threshold": Setting(
                0.5, *_FRACTION, "With a positive map: mean in a thing from which it is of the second class."
            ),
            "full_density": Setting(
                2.0, 0.1, 10.0, "Optical density (base 10) that 1 stands for in marker and counterstain maps."
            ),
            "outline_tolerance_um": Setting(0.12, *_SIZE_UM, "How far a simplified outline may be off."),
        },
        OutputKind.POINTS: {
            "threshold": Setting(0.5, *_FRACTION, "Height from which a peak is a thing."),
            "smoothing_um": Setting(0.0, *_SIZE_UM, "Gaussian smoothing of the heat map (sigma)."),
            "min_distance_um": Setting(3.0, *_SIZE_UM, "Two peaks nearer than this are one thing."),
        },
        OutputKind.SEGMENTATION: {
            "threshold": Setting(
                0.5,
                *_FRACTION,
                "Probability below which a pixel has no class, when the model gives none for the background.",
            ),
        },
        OutputKind.CLASSIFICATION: {
            "threshold": Setting(0.0, *_FRACTION, "Probability below which a tile has no class."),
            "smoothing": Setting(
                0.0, *_FRACTION, "1: a tile unlike its eight neighbours gets the class that five of them have."
            ),
        },
        OutputKind.MAP: {},
        OutputKind.IMAGE: {},
        OutputKind.CLICKS: {
            "threshold": Setting(0.5, *_FRACTION, "Mask probability from which a pixel belongs to the thing."),
            "reach_um": Setting(1.0, *_SIZE_UM, "How far beside the click the thing may begin."),
            "min_area_um2": Setting(8.0, *_AREA_UM2, "A smaller thing is none."),
            "max_area_um2": Setting(600.0, *_AREA_UM2, "A larger thing is none."),
            "min_probability": Setting(0.5, *_FRACTION, "A thing with a lower mean probability is none."),
            "outline_tolerance_um": Setting(0.12, *_SIZE_UM, "How far a simplified outline may be off."),
        },
    }
)

ROLES: Final[Mapping[OutputKind, Mapping[str, Role]]] = MappingProxyType(
    {
        OutputKind.INSTANCES: {
            "mask": Role(True, 1, "Probability that a pixel belongs to a thing."),
            "distance": Role(False, 1, "Distance to the thing's edge, 1 at its middle; else taken from the mask."),
            "centre": Role(False, 1, "Heat map with a peak in each thing; its peaks mark the things."),
            "boundary": Role(False, 1, "Probability that a pixel lies between two things."),
            "class": Role(False, 0, "Probability of each class; a thing gets the one with the highest mean."),
            "positive": Role(False, 1, "Probability of the second of two classes, in place of `class`."),
            "marker": Role(False, 1, "Amount of the dye that shows the marker; measured in and around things."),
            "counterstain": Role(False, 1, "Amount of the dye that shows nuclei; measured in things."),
        },
        OutputKind.POINTS: {
            "heat": Role(True, 0, "Heat map with a peak at each thing, one channel a class."),
        },
        OutputKind.SEGMENTATION: {"probability": Role(True, 0, "Probability of each class.")},
        OutputKind.CLASSIFICATION: {"probability": Role(True, 0, "Probability of each class for the whole tile.")},
        OutputKind.MAP: {"value": Role(True, 1, "The value of each pixel.")},
        OutputKind.IMAGE: {
            "image": Role(False, 3, "RGB, or the channels of `[[output.channels]]`; UINT8, or FP32 from 0 to 1.")
        },
        OutputKind.CLICKS: {"mask": Role(True, 1, "Probability that a pixel belongs to the thing that was clicked.")},
    }
)


def check_settings(kind: OutputKind, settings: Mapping[str, float]) -> dict[str, float]:
    """Return the settings with defaults filled in.

    Raises
    ------
    InvalidModel
        When one is not known for this kind, is no number, or is out of its range.
    """
    known = SETTINGS[kind]
    for name, value in settings.items():
        if name not in known:
            choice = ", ".join(known) or "none"
            raise InvalidModel(f"output.settings.{name} is not known for {kind} (known: {choice})")
        least, most = known[name].least, known[name].most
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise InvalidModel(f"output.settings.{name} must be a number from {least:g} to {most:g}")
    return {name: float(settings.get(name, setting.default)) for name, setting in known.items()}
