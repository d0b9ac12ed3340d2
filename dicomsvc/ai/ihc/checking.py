"""Whether a picture is immunohistochemistry at all, and what a reader of its score must know."""

from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.ihc.assessment import is_fallback
from dicomsvc.ai.ihc.cells import Answer, CellTable
from dicomsvc.ai.ihc.plausibility import colouring, glass_of, judge_cells, judge_colours
from dicomsvc.ai.ihc.presets import Preset
from dicomsvc.ai.ihc.scoring import Cells, score
from dicomsvc.ai.statistics import tissue_pixels
from dicomsvc.errors import UnfitSlide

_OD: Final = 2.0 / 255


def check_picture(picture: npt.NDArray[np.uint8]) -> tuple[str, ...]:
    """Return what its colours warn of.

    Raises
    ------
    UnfitSlide
        When it is no immunohistochemistry with hematoxylin; the message says by what that is seen.
    """
    judgement = judge_colours(colouring(tissue_pixels(picture), glass_of(picture)))
    if judgement.refusals:
        raise UnfitSlide(f"not scored: {'; '.join(judgement.refusals)}")
    return judgement.warnings


def cell_columns(table: CellTable, answer: Answer) -> Cells:
    """Return the columns that scores are made of, of all cells."""
    return Cells(answer.positive, table.mean_marker * _OD, table.ring_marker * _OD)


def cell_warnings(table: CellTable, answer: Answer, preset: Preset, manifest: Manifest) -> tuple[str, ...]:
    """Return what the cells that count warn of; a reason to refuse a score on a slide is a warning on a picture."""
    counted = answer.counted
    cells = cell_columns(table, answer).chosen(counted)
    positive = table.above_positive[answer.prob][counted].astype(np.float64)
    measurements = {
        "mean_marker_od": cells.nuclear_od,
        "mean_counterstain_od": table.mean_hematoxylin[counted] * _OD,
        "positive_probability": positive / np.maximum(answer.area[counted], 1),
    }
    judgement = judge_cells(cells, score(cells, preset), measurements, fallback=is_fallback(manifest))
    return (*(f"not reliable: {reason}" for reason in judgement.refusals), *judgement.warnings)
