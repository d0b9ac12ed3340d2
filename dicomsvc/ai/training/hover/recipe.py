"""The recipe of a HoVer-Net."""

from typing import Annotated

from pydantic import Field

from dicomsvc.ai.training.segmentation.recipe import Described

Weight = Annotated[float, Field(ge=0, le=100)]


class Recipe(Described):
    """With several classes ``classes/ID.png`` tells the type of each pixel's thing, 255 where nobody knows.

    The weights are those of the losses: of the distances, of their slopes, and of the types.
    """

    distance_weight: Weight = 1.0
    slope_weight: Weight = 2.0
    type_weight: Weight = 1.0

    @property
    def channels(self) -> int:
        """Of the branch for types: the background and the classes; 0 when there is nothing to tell apart."""
        return len(self.classes) + 1 if len(self.classes) > 1 else 0
