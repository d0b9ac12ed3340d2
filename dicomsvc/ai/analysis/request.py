"""What an analysis is asked to do, as it stands in a work item's inputs."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from dicomsvc.errors import BadRequest
from dicomsvc.wsi.plan import Rectangle

Uid = Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9]+(\.[0-9]+)*$")]
ModelName = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z0-9][a-z0-9_-]*$")]
_FARTHEST = 1 << 24
# A report tells each region by itself, and takes some 10 ms to build and to read for each.
MAX_REGIONS: Final = 200


class Region(BaseModel):
    """A rectangle in pixels of the slide's finest level; ``x``, ``y``: its top left corner."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: int = Field(ge=0, lt=_FARTHEST)
    y: int = Field(ge=0, lt=_FARTHEST)
    width: int = Field(gt=0, lt=_FARTHEST)
    height: int = Field(gt=0, lt=_FARTHEST)

    def rectangle(self) -> Rectangle:
        return Rectangle(self.x, self.y, self.width, self.height)


def _region(value: object) -> object:
    """Take ``[x, y, width, height]`` for a region."""
    if isinstance(value, list | tuple) and len(value) == 4:
        return dict(zip(("x", "y", "width", "height"), value, strict=True))
    return value


class Options(BaseModel):
    """What is written beside the usual results."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    labelmap: bool = False
    """A LABELMAP segmentation, in a series of its own."""
    probability: bool = False
    """The probability as a FRACTIONAL segmentation."""
    marker: str | None = Field(None, max_length=32)
    """Which marker an IHC model's cells are scored for, e.g. ``ki67`` (`dicomsvc.ai.ihc.presets`)."""
    channels: bool = False
    """The channels that a model for things has beside them, as a derived image."""
    outlines: str | None = Field(None, max_length=80)
    """A model that answers clicks (``nuclick``), which draws the outline of each thing that ``model`` finds."""


class AnalysisRequest(BaseModel):
    """One slide, one model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    study_instance_uid: Uid
    series_instance_uid: Uid
    model: ModelName
    number: int | None = Field(None, ge=1)
    """Version of the model, as Triton counts; goes before ``version``."""
    version: str | None = Field(None, max_length=64)
    """Version as the model calls it; with neither, the one that is preferred."""
    regions: tuple[Annotated[Region, BeforeValidator(_region)], ...] = Field((), max_length=MAX_REGIONS)
    """Where to look; nothing: the whole slide."""
    options: Options = Options()

    def inputs(self) -> dict[str, Any]:
        """Return the inputs of a work item that ask for this."""
        document = self.model_dump(mode="json", exclude_defaults=True)
        regions = [[each.x, each.y, each.width, each.height] for each in self.regions]
        return document | ({"regions": regions} if regions else {})


def read_request(inputs: Mapping[str, Any]) -> AnalysisRequest:
    """Check a work item's inputs.

    Raises
    ------
    BadRequest
        When one is missing, unknown or wrong; the message names it.
    """
    try:
        return AnalysisRequest(**inputs)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        lines = (f"{'.'.join(str(part) for part in problem['loc'])[:80]}: {problem['msg']}" for problem in problems)
        raise BadRequest(f"analysis: {'; '.join(lines)}") from None


def parse_regions(texts: Sequence[str]) -> tuple[Region, ...]:
    """Read regions written as ``X,Y,WIDTH,HEIGHT``.

    Raises
    ------
    BadRequest
        When one is not.
    """
    regions = []
    for text in texts:
        try:
            x, y, width, height = (int(part) for part in text.split(","))
            regions.append(Region(x=x, y=y, width=width, height=height))
        except ValueError:
            raise BadRequest(f"a region is X,Y,WIDTH,HEIGHT in pixels of the finest level, not {text[:80]!r}") from None
    return tuple(regions)
