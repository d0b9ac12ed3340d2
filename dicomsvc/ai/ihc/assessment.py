"""From what an IHC model found to a score that may be told, or the reason why there is none."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.findings import Instances
from dicomsvc.ai.ihc.plausibility import (
    DARK,
    Colouring,
    Judgement,
    colouring,
    glass_of,
    judge_cells,
    judge_colours,
)
from dicomsvc.ai.ihc.presets import Compartment, Preset
from dicomsvc.ai.ihc.scoring import Score, columns, positive_cells, score
from dicomsvc.ai.statistics import tissue_pixels

NOT_FOR_DIAGNOSIS: Final = "not for diagnosis"


@dataclass(frozen=True, slots=True)
class Assessment:
    """A score with what speaks against it; one that is refused is not to be told."""

    score: Score
    judgement: Judgement
    final: bool

    @property
    def refused(self) -> bool:
        return bool(self.judgement.refusals)

    def document(self) -> dict[str, Any]:
        """Return it as JSON; a refused one has no numbers but the count of cells."""
        head: dict[str, Any] = {
            "status": "refused" if self.refused else "scored",
            "final": self.final and not self.refused,
            "marker": self.score.preset.name,
            "total": self.score.total,
        }
        if self.refused:
            head["reasons"] = list(self.judgement.refusals)
        else:
            head |= self.score.document()
        return {**head, "warnings": list(self.judgement.warnings), "note": NOT_FOR_DIAGNOSIS}

    def words(self) -> str:
        """Return it in a line."""
        label = self.score.preset.label
        if self.refused:
            return f"{label}: refused: {'; '.join(self.judgement.refusals)}"
        found = self.score
        text = f"{label}: {found.percent_positive:.1f} % of {found.total} cells positive, H-score {found.h_score:.0f}"
        return f"{text}{'' if self.final else ' (not final)'}, {NOT_FOR_DIAGNOSIS}"


def gives_scores(manifest: Manifest) -> bool:
    """Whether a model tells positive cells from negative ones, with the densities that a score needs."""
    return {"positive", "marker"} <= manifest.output.tensors.keys()


def is_fallback(manifest: Manifest) -> bool:
    """Whether a model is a rule, not a trained one: then no score of it is final."""
    return manifest.training_data.strip().lower() == "none"


def reclassed(instances: Instances, preset: Preset) -> Instances:
    """Return things whose class is that of the marker, where it is not looked for in the nucleus."""
    if preset.compartment is Compartment.NUCLEUS or not len(instances):
        return instances
    positive = positive_cells(columns(instances.class_index, instances.measurements), preset)
    return replace(instances, class_index=positive.astype(np.int16))


def assess_picture(
    picture: npt.NDArray[np.uint8], instances: Instances, preset: Preset, manifest: Manifest
) -> Assessment:
    """Score what was found in a picture ``(rows, columns, 3)``."""
    colours = colouring(tissue_pixels(picture), glass_of(picture))
    return assess(instances, preset, manifest, _dark(picture, colours))


def _dark(picture: npt.NDArray[np.uint8], colours: Colouring) -> Colouring:
    """Note a picture that is mostly black, whose dark part does not count as tissue."""
    return replace(colours, dark=colours.dark or float(np.median(picture.max(axis=2))) < DARK)


def assess(
    instances: Instances,
    preset: Preset,
    manifest: Manifest,
    colours: Colouring | None,
    rows: npt.NDArray[np.bool_] | None = None,
) -> Assessment:
    """Score the cells of ``instances``, or those of some ``rows``, and judge the score."""
    chosen = instances if rows is None else instances.chosen(rows)
    fallback = is_fallback(manifest)
    cells = columns(chosen.class_index, chosen.measurements)
    found = score(cells, preset)
    judgement = Judgement() if colours is None else judge_colours(colours)
    if not judgement.refusals:
        judgement += judge_cells(cells, found, chosen.measurements, fallback=fallback)
    return Assessment(found, judgement, final=not fallback)
