"""The recipe of a network that tells the class of each pixel."""

from typing import Literal

from pydantic import Field, model_validator

from dicomsvc.ai.training.describing import ModelClass
from dicomsvc.ai.training.recipe import LabelledFolder, Schedule, Share

Decoder = Literal["fpn", "linknet", "unet"]
EncoderName = Literal["efficientnet_lite0", "mobilenet_v2", "plain", "resnet18", "resnet34", "vgg16"]


class PixelClass(ModelClass):
    """A class; its number in the label pictures is its place in the recipe, from 1."""


class Described(Schedule):
    """What every recipe of a site's own model has: resolution, stain, classes, and the words of ``model.toml``.

    ``mpp`` is that of the pictures and of the model. ``zoom`` is by how much crops are enlarged or shrunk at most.
    ``recoloured`` is whether crops change in stain, brightness, focus, noise and JPEG.
    """

    mpp: float = Field(gt=0.05, lt=20)
    stain: Literal["H&E", "IHC", "brightfield"] = "H&E"
    labelled: tuple[LabelledFolder, ...] = Field(min_length=1)
    classes: tuple[PixelClass, ...] = Field(min_length=1, max_length=250, alias="class")
    zoom: float = Field(default=1.25, ge=1, le=4)
    recoloured: bool = True
    encoder: EncoderName = "efficientnet_lite0"
    title: str = Field(max_length=64)
    summary: str
    intended_use: str = (
        "Research. Not for diagnosis; a person must look at the result over the slide before it is used."
    )
    limitations: str = "Measured on what it was trained beside only."
    training_data: str = "A site's own annotations."
    licence: str = "none stated"

    @model_validator(mode="after")
    def _whole(self) -> "Described":
        if self.side % 32:
            raise ValueError("side must be a multiple of 32")
        return self


class Recipe(Described):
    """``labels`` tells what the label pictures are.

    ``classes``: ``classes/ID.png`` has the class of each pixel, as drawings of the store are written. ``numbers``:
    ``labels/ID.png`` has it. ``instances``: ``labels/ID.png`` has the number of each thing, all of one class. In the
    first two 255 is unknown, in the last 65535; 0 is the background, or unknown too without ``background``.

    ``losses`` are added up; ``weights`` are those of the classes, the background's first (all alike unless given);
    ``evenness`` 1 cuts crops around all classes alike, 0 as often as the pictures show them.
    """

    decoder: Decoder = "unet"
    labels: Literal["classes", "instances", "numbers"] = "classes"
    background: bool = True
    losses: tuple[Literal["cross_entropy", "dice", "focal"], ...] = Field(
        default=("cross_entropy", "dice"), min_length=1
    )
    weights: tuple[float, ...] = ()
    evenness: Share = 0.5

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        if self.labels == "instances" and len(self.classes) > 1:
            raise ValueError("labels of instances tell no classes apart")
        if self.channels < 2:
            raise ValueError("one class needs a background to be told from")
        if self.weights and len(self.weights) != self.channels:
            raise ValueError(f"weights must be {self.channels}, one a class and the background's first")
        return self

    @property
    def channels(self) -> int:
        """Of the network: the background, when there is one, and the classes."""
        return len(self.classes) + self.background
