"""The recipe of the nuclei network."""

from pydantic import Field

from dicomsvc.ai.training.recipe import DataPath, LabelledFolder, Schedule, Share, Slide


class Recipe(Schedule):
    """``rendered`` is the share of crops that are rendered; ``diameter`` the range of median sizes of real nuclei.

    ``detail`` is the number of channels of the network's branch at full resolution. ``blend`` is the share of the
    weights of ``start`` in the weights that are exported.
    """

    fluorescence: DataPath
    labelled: tuple[LabelledFolder, ...] = Field(min_length=1)
    slide: tuple[Slide, ...] = ()
    rendered: Share = 0.68
    diameter: tuple[float, float] = (8.0, 18.0)
    detail: int = Field(default=8, ge=0, le=64)
    blend: Share = 0.0
