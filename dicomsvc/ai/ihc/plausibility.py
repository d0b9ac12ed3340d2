"""Whether a score may be told: of a slide's colours, and of its cells.

A global threshold on density told 91 to 100 % on slides where truth was 2 to 48 %, without an error. So everything here
is seen against the slide's own background, and a score that does not hold together is refused with the reason.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.ihc.presets import Compartment
from dicomsvc.ai.ihc.scoring import Cells, Score, background

Colours = npt.NDArray[np.uint8]
Values = npt.NDArray[np.floating[Any]]
_LEAST_PIXELS: Final = 500
DARK: Final = 60
_LEAST_CHROMA: Final = 6.0
_STAINED_OD: Final = 0.15
_LEAST_STAINED: Final = 0.01
_MOST_EOSIN: Final = 0.15
_EOSIN_OVER_DAB: Final = 3.0
_FEWEST_CELLS: Final = 20
_LEAST_COUNTERSTAIN: Final = 0.05
_LEAST_CONTRAST: Final = 0.1
_UNSURE: Final = (0.3, 0.7)
_MANY_UNSURE: Final = 0.2
_MOST_UNSURE: Final = 0.45
_DISAGREE: Final = (30.0, 50.0)
_LEAST_CORRELATION: Final = 0.3
_DECONVOLUTION_CONTRAST: Final = 0.08
_EXTREME: Final = (2.0, 98.0)


@dataclass(frozen=True, slots=True)
class Judgement:
    """``refusals``: why no score may be told; ``warnings``: what a reader of the score must know."""

    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, other: "Judgement") -> "Judgement":
        return Judgement(self.refusals + other.refusals, self.warnings + other.warnings)


@dataclass(frozen=True, slots=True)
class Colouring:
    """What a picture's tissue is coloured by, as shares of its optical density.

    ``stained`` is the share of the pixels that have a density worth the name, ``chroma`` the mean difference of
    channels (0 to 255), ``dark`` whether tissue lies on black.
    """

    pixels: int
    dark: bool
    chroma: float
    stained: float
    eosin: float
    brown: float


def colouring(tissue: Colours, glass: Values | None = None) -> Colouring:
    """Measure a sample of the tissue's pixels ``(n, 3)``; ``glass`` is the light's colour, white unless told."""
    if not len(tissue):
        return Colouring(0, False, 0.0, 0.0, 0.0, 0.0)
    white = np.maximum(np.full(3, 255.0) if glass is None else np.asarray(glass, np.float64), 180.0)
    values = tissue.astype(np.float32)
    density = np.clip(np.log10((white + 1) / (values + 1)), 0, None)
    total = density.sum(axis=1)
    shown = density[total > _STAINED_OD]
    red, green, blue = shown.T
    weight = shown.sum(axis=1)
    all_of = max(float(weight.sum()), 1e-6)
    # Eosin absorbs green before all; DAB blue before green before red.
    eosin = (green > 1.2 * blue) & (green > 1.35 * red)
    brown = (blue > 1.05 * green) & (blue > 1.3 * red)
    return Colouring(
        len(tissue),
        bool(np.median(values.max(axis=1)) < DARK),
        float(np.ptp(values, axis=1).mean()),
        len(shown) / len(tissue),
        float(weight[eosin].sum()) / all_of,
        float(weight[brown].sum()) / all_of,
    )


def glass_of(picture: Colours) -> Values:
    """Return the colour of what lets most light through in a picture ``(rows, columns, 3)``."""
    step = max(1, int(np.sqrt(picture.shape[0] * picture.shape[1] / 100_000)))
    return np.percentile(picture[::step, ::step].reshape(-1, picture.shape[2])[:, :3], 99.5, axis=0)


def judge_colours(colours: Colouring) -> Judgement:
    """Refuse what is no immunohistochemistry with hematoxylin and a brown or red chromogen."""
    if colours.dark:
        return Judgement(("dark, as fluorescence is; this is for stained slides in bright light",))
    if colours.pixels < _LEAST_PIXELS:
        return Judgement(("there is next to no tissue in it",))
    if colours.stained < _LEAST_STAINED:
        return Judgement(("washed out: next to nothing has an optical density of a stain",))
    if colours.chroma < _LEAST_CHROMA:
        return Judgement(("there is no colour in it, so dyes cannot be told apart",))
    if colours.eosin > _MOST_EOSIN and colours.eosin > _EOSIN_OVER_DAB * colours.brown:
        share = f"{100 * colours.eosin:.0f} % of the density has the colour of eosin"
        return Judgement((f"looks like H&E: {share}, {100 * colours.brown:.0f} % that of DAB",))
    return Judgement()


def judge_cells(cells: Cells, found: Score, measurements: Mapping[str, Values], *, fallback: bool = False) -> Judgement:
    """Judge a score by the cells that it is of."""
    refusals = tuple(_refusals(cells, found, measurements))
    warnings = () if refusals else tuple(_warnings(cells, found, measurements))
    if fallback:
        warnings = ("not final: from the fallback by colour deconvolution", *warnings)
    return Judgement(refusals, warnings)


def _refusals(cells: Cells, found: Score, measurements: Mapping[str, Values]) -> Iterator[str]:
    if len(cells) < _FEWEST_CELLS:
        yield f"only {len(cells)} cells were found; a percentage needs {_FEWEST_CELLS} at least"
        return
    counterstain = measurements.get("mean_counterstain_od")
    positive = found.percent_positive / 100
    if counterstain is not None and float(np.percentile(counterstain, 90)) < _LEAST_COUNTERSTAIN:
        yield "no counterstain: negative cells cannot be seen"
    if found.preset.compartment is Compartment.RING:
        return
    unsure = _unsure(measurements)
    if unsure > _MOST_UNSURE:
        yield f"the model cannot tell positive from negative in {100 * unsure:.0f} % of the cells"
    if positive * 100 > _EXTREME[1] and _contrast(cells) < _LEAST_CONTRAST:
        yield "nearly all cells are called positive, but their nuclei are hardly browner than what is around them"
    apart = _disagreement(cells, measurements)
    if apart is not None and abs(apart) > _DISAGREE[1] and _correlation(measurements) < _LEAST_CORRELATION:
        yield f"the model and colour deconvolution disagree by {abs(apart):.0f} points, and in which cells are brown"


def _warnings(cells: Cells, found: Score, measurements: Mapping[str, Values]) -> Iterator[str]:
    if len(cells) < found.preset.least_cells:
        yield f"only {len(cells)} cells; {found.preset.label} should rest on {found.preset.least_cells}"
    if found.preset.compartment is Compartment.RING:
        if background(cells, found.preset) >= 0.2:
            yield "all cells have marker around them: what is background and what is staining cannot be told well"
        return
    unsure = _unsure(measurements)
    if unsure > _MANY_UNSURE:
        yield f"{100 * unsure:.0f} % of the cells are neither clearly positive nor clearly negative"
    if 0 < found.percent_positive < _EXTREME[0]:
        yield "the few positive cells decide: look at each of them"
    apart = _disagreement(cells, measurements)
    if apart is not None and abs(apart) > _DISAGREE[0]:
        yield f"colour deconvolution against the slide's background gives {apart:+.0f} points"


def _unsure(measurements: Mapping[str, Values]) -> float:
    probability = measurements.get("positive_probability")
    if probability is None or not len(probability):
        return 0.0
    return float(((probability > _UNSURE[0]) & (probability < _UNSURE[1])).mean())


def _contrast(cells: Cells) -> float:
    """Return how much more marker positive nuclei have than what is around them."""
    if not cells.positive.any():
        return 0.0
    return float(np.median(cells.nuclear_od[cells.positive] - cells.ring_od[cells.positive]))


def _disagreement(cells: Cells, measurements: Mapping[str, Values]) -> float | None:
    """Return by how many points colour deconvolution differs: DAB above that of the least stained nuclei."""
    brown = measurements.get("mean_dab_od")
    if brown is None or not len(brown):
        return None
    own = float(np.percentile(brown, 20)) if cells.positive.mean() < 0.8 else 0.0
    found = float((brown - max(own, 0.0) > _DECONVOLUTION_CONTRAST).mean())
    return 100 * (found - float(cells.positive.mean()))


def _correlation(measurements: Mapping[str, Values]) -> float:
    one, other = measurements["mean_marker_od"], measurements["mean_dab_od"]
    if float(np.std(one)) < 1e-6 or float(np.std(other)) < 1e-6:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
