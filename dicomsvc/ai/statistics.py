"""Numbers of a whole slide or image that a model may ask for beside its tiles (``input.statistics``).

They are taken from a sample of the tissue's pixels, so that a tile is judged by the slide that it is a part of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.decoding.stains import stain_density
from dicomsvc.errors import InvalidModel
from dicomsvc.wsi.stain.density import HED, unit

Colours = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]
_NATURAL: Final = np.float32(np.log(10))
_BINS: Final = 256
_LEAST_SPREAD: Final = 0.02
_ABOVE_ALL: Final = 0.1
_ABOVE_ANY: Final = 10.0
_HAZE_PERCENTILE: Final = 30


def _ihc_unmix() -> npt.NDArray[np.float32]:
    hematoxylin, _, dab = unit(HED)
    vectors = np.stack([hematoxylin, dab, np.cross(hematoxylin, dab)])
    return np.linalg.inv(unit(vectors))[:, :2].astype(np.float32)


_IHC_UNMIX: Final = _ihc_unmix()


@dataclass(frozen=True, slots=True)
class Statistic:
    """``of`` takes pixels ``(n, 3)`` RGB, of which there may be none."""

    of: Callable[[Colours], float]
    help: str


def compute(names: Sequence[str], pixels: Colours) -> tuple[float, ...]:
    """Return the named numbers of a sample of pixels ``(n, 3)``, which may be empty.

    Raises
    ------
    InvalidModel
        When a name is not known.
    """
    for name in names:
        if name not in STATISTICS:
            raise InvalidModel(f"input.statistics: {name!r} is not known (known: {', '.join(STATISTICS)})")
    return tuple(float(STATISTICS[name].of(pixels)) for name in names)


def tissue_pixels(image: npt.NDArray[np.uint8], most: int = 200_000) -> Colours:
    """Return a sample ``(n, 3)`` of the pixels of a picture that are not glass, the same for the same picture.

    Glass is what is brighter than 220 in its darkest channel; what is darker than 25 in its brightest one is no tissue
    either, but the edge of a scan or ink. Of a picture with next to no tissue there are none.
    """
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / (4 * most))))
    sample = image[step // 2 :: step, step // 2 :: step].reshape(-1, image.shape[2])[:, :3]
    tissue = sample[(sample.min(axis=1) < 220) & (sample.max(axis=1) >= 25)]
    if len(tissue) < 0.001 * len(sample):
        return np.empty((0, 3), np.uint8)
    return np.ascontiguousarray(tissue[:: -(-len(tissue) // most)])


def otsu(values: Values) -> float:
    """Return the threshold that parts the values into two classes of least variance (Otsu, IEEE SMC 1979;9:62-66).

    Values that are all much the same have no two classes: the threshold is then a little above all. Of no values it
    is above any density.
    """
    if not len(values):
        return _ABOVE_ANY
    low, high = (float(each) for each in np.percentile(values, (0.1, 99.9)))
    if high - low < _LEAST_SPREAD:
        return max(float(values.max()), 0.0) + _ABOVE_ALL
    counts, edges = np.histogram(np.clip(values, low, high), _BINS, (low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    between[~np.isfinite(between)] = 0
    # Where nothing lies between the classes every threshold is as good: the middle one.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:][best].mean())


def _hematoxylin(pixels: Colours) -> Values:
    return stain_density(pixels, "hematoxylin") * _NATURAL


def _hematoxylin_otsu(pixels: Colours) -> float:
    return otsu(_hematoxylin(pixels))


def _dyes(pixels: Colours) -> tuple[Values, Values]:
    """Return hematoxylin and DAB to base e; a third dye, at right angles to both, takes what is neither."""
    table = (np.log(256) - np.log(np.arange(1, 257))).astype(np.float32)
    amounts = np.clip(table[pixels] @ _IHC_UNMIX, 0, None)
    return amounts[:, 0], amounts[:, 1]


def _dab_haze(pixels: Colours) -> float:
    return float(np.percentile(_dyes(pixels)[1], _HAZE_PERCENTILE)) if len(pixels) else 0.0


def _nuclear_otsu(pixels: Colours) -> float:
    hematoxylin, dab = _dyes(pixels)
    return otsu(hematoxylin + np.clip(dab - np.float32(_dab_haze(pixels)), 0, None))


def _background(channel: int) -> Callable[[Colours], float]:
    def brightest(pixels: Colours) -> float:
        return float(np.percentile(pixels[:, channel], 99)) if len(pixels) else 255.0

    return brightest


STATISTICS: Final[Mapping[str, Statistic]] = MappingProxyType(
    {
        "hematoxylin_otsu": Statistic(
            _hematoxylin_otsu,
            "Otsu's threshold of the density of hematoxylin (to base e, Ruifrok and Johnston's vectors) in the tissue.",
        ),
        "hematoxylin_median": Statistic(
            lambda pixels: float(np.median(_hematoxylin(pixels))) if len(pixels) else 0.0,
            "Median of the density of hematoxylin (to base e) in the tissue.",
        ),
        "ihc_nuclear_otsu": Statistic(
            _nuclear_otsu,
            "Otsu's threshold of hematoxylin and of the DAB above the haze (to base e) in the tissue.",
        ),
        "dab_haze": Statistic(
            _dab_haze,
            "Density of DAB (to base e) that three tenths of the tissue do not reach: what binds anywhere.",
        ),
        "brightest_red": Statistic(_background(0), "99th percentile of red in the tissue, 0 to 255."),
        "brightest_green": Statistic(_background(1), "99th percentile of green in the tissue, 0 to 255."),
        "brightest_blue": Statistic(_background(2), "99th percentile of blue in the tissue, 0 to 255."),
    }
)
