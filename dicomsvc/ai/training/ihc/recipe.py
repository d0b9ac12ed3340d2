"""The recipe of the IHC network."""

from pydantic import Field

from dicomsvc.ai.training.recipe import DataPath, Fold, LabelledFolder, Schedule, Share, Slide


class Recipe(Schedule):
    """``rendered`` is the share of crops whose nuclei come from fluorescence; the others' come from coloured pictures.

    ``test_fold`` of the fluorescence is never rendered; ``diameter`` is the range of median sizes of real nuclei.
    """

    fluorescence: DataPath
    test_fold: Fold | None = None
    labelled: tuple[LabelledFolder, ...] = ()
    slide: tuple[Slide, ...] = ()
    rendered: Share = 0.75
    diameter: tuple[float, float] = (8.0, 18.0)
    validation: int = Field(default=24, ge=0, le=500)
    """So many rendered pictures choose the best weights."""
