"""What a training run is made of: a TOML file, its paths as seen from the file."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from dicomsvc.ai.training.schedules import ScheduleName
from dicomsvc.errors import BadRequest

Share = Annotated[float, Field(ge=0, le=1)]
Fold = Annotated[int, Field(ge=0, le=4)]


def _placed(path: Path, info: ValidationInfo) -> Path:
    return (info.context or {}).get("root", Path()) / path


DataPath = Annotated[Path, AfterValidator(_placed)]
"""A path in a recipe, seen from the recipe's folder."""


class Strict(BaseModel):
    """A part of a recipe: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelledFolder(Strict):
    """``images/`` and ``labels/``; of the five folds one is looked at while training, one never.

    ``share`` is how often it is cut from beside other folders; each counts by its pictures unless it is given.
    """

    folder: DataPath
    share: float | None = Field(default=None, gt=0, le=1000)
    groups: tuple[str, ...] = ()
    validation_fold: Fold | None = None
    test_fold: Fold | None = None

    def training_folds(self) -> list[int]:
        return [fold for fold in range(5) if fold not in (self.validation_fold, self.test_fold)]


class Slide(Strict):
    """A slide or picture of H&E without labels; ``regions`` of it become backdrops."""

    file: DataPath
    mpp: float = Field(gt=0.05, lt=10)
    regions: int = Field(default=6, ge=1, le=100)


class Schedule(Strict):
    """What every task's recipe has. ``side`` is that of a crop in pixels."""

    seed: int = 0
    side: int = Field(default=192, ge=64, le=512, multiple_of=16)
    batch: int = Field(default=12, ge=2, le=256)
    steps: int = Field(default=2000, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, lt=1)
    schedule: ScheduleName = "cosine"
    patience: int = Field(default=6, ge=1)
    looks: int = Field(default=20, ge=1, le=1000)
    """How often the validation pictures are looked at."""
    start: DataPath | None = None
    """Weights file of an earlier run to begin with; those that fit by name and shape are taken."""


RecipeType = TypeVar("RecipeType", bound=Schedule)


def parse_recipe(kind: type[RecipeType], document: dict[str, Any], file: Path) -> RecipeType:
    """Return a recipe of what the TOML file says.

    Raises
    ------
    BadRequest
        When it has an unknown or a wrong key.
    """
    try:
        return kind.model_validate(document, context={"root": file.parent})
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRequest(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
