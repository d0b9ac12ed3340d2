"""Markers: where each is looked for, how its intensity is binned, and what its percentage is called.

The bins are optical densities above the slide's own background of 0.2, 0.4 and 0.6, which are the usual starting values
of programs for DAB; no guideline defines 1+, 2+ and 3+ by density, so laboratories must set their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from dicomsvc.errors import BadRequest


class Compartment(StrEnum):
    """Where the marker is measured: in the nucleus, or in a ring of 2 um around it."""

    NUCLEUS = "nucleus"
    RING = "ring"


@dataclass(frozen=True, slots=True)
class Cutoff:
    """From ``percent`` positive cells on the sample is called ``word``."""

    percent: float
    word: str


@dataclass(frozen=True, slots=True)
class Preset:
    """``measure`` names the percentage of positive cells as `dicomsvc.objects.codes` has it, in LOINC where it can.

    ``least_cells`` is how many cells a score should rest on; with fewer it carries a warning. ``allred`` says whether
    proportion and intensity score are given. ``source`` tells where cut-offs and rules are from.
    """

    name: str
    label: str
    compartment: Compartment = Compartment.NUCLEUS
    bins: tuple[float, float, float] = (0.2, 0.4, 0.6)
    measure: str = "positive_percent"
    cutoffs: tuple[Cutoff, ...] = ()
    allred: bool = False
    least_cells: int = 100
    source: str = ""


_HORMONE = (Cutoff(0, "negative"), Cutoff(1, "low positive"), Cutoff(10.0001, "positive"))
_HORMONE_SOURCE = (
    "1 % and 10 %: ASCO/CAP guideline on estrogen and progesterone receptor testing, 2020 (of invasive tumour cells, "
    "which are not told from others here; `low positive` is a category for ER); proportion and intensity: Allred 1998"
)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset("nuclear", "Nuclear marker"),
            Preset(
                "ki67",
                "Ki-67",
                measure="ki67_percent",
                cutoffs=(Cutoff(0, "5 % or less"), Cutoff(5.0001, "between 5 % and 30 %"), Cutoff(30, "30 % or more")),
                least_cells=500,
                source="5 % and 30 %, and at least 500 cells: International Ki67 in Breast Cancer Working Group, 2021",
            ),
            Preset(
                "er",
                "Estrogen receptor",
                measure="er_percent",
                cutoffs=_HORMONE,
                allred=True,
                source=_HORMONE_SOURCE,
            ),
            Preset(
                "pr",
                "Progesterone receptor",
                measure="pr_percent",
                cutoffs=(_HORMONE[0], Cutoff(1, "positive")),
                allred=True,
                source=_HORMONE_SOURCE,
            ),
            Preset(
                "her2",
                "HER2, membrane",
                Compartment.RING,
                source=(
                    "no HER2 category is given: ASCO/CAP 2018 asks how complete a membrane's staining is, "
                    "which is not measured"
                ),
            ),
            Preset("cd3", "CD3", Compartment.RING),
            Preset("cd8", "CD8", Compartment.RING),
            Preset(
                "pdl1",
                "PD-L1, membrane and cytoplasm",
                Compartment.RING,
                source="no TPS or CPS is given: tumour and immune cells are not told apart",
            ),
            Preset("membrane", "Membranous or cytoplasmic marker", Compartment.RING),
        )
    }
)
DEFAULT: Final = "nuclear"


def preset_named(name: str) -> Preset:
    """Return a preset.

    Raises
    ------
    BadRequest
        When there is none of this name.
    """
    if name not in PRESETS:
        raise BadRequest(f"marker {name[:32]!r} is not known (known: {', '.join(PRESETS)})")
    return PRESETS[name]
