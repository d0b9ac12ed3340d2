"""The recipe of a W-Net."""

from typing import Literal

from pydantic import Field

from dicomsvc.ai.training.nuclei.recipe import Recipe as NucleiRecipe
from dicomsvc.ai.training.recipe import DataPath


class Recipe(NucleiRecipe):
    """Data as for ``nuclei``. ``alpha`` weighs the L1 of the second stage against the cross entropy of the first.

    ``centres`` are solid dots of ``dot_radius`` pixels (the paper's 2), or density masks that fall off to nothing
    ``reach`` pixels from the middle, as steeply as ``steepness`` says (the paper's equation 1 leaves both open).
    ``nuclei`` is the weights file of a run of the task ``nuclei`` to begin with; unless the stages are trained in
    ``joint``, its mask stays the first stage.
    """

    nuclei: DataPath | None = None
    joint: bool = True
    alpha: float = Field(default=20.0, gt=0, le=1000)
    centres: Literal["density", "dots"] = "density"
    dot_radius: float = Field(default=2.0, ge=1, le=10)
    reach: float = Field(default=7.0, ge=2, le=30)
    steepness: float = Field(default=1.0, gt=0, le=10)
