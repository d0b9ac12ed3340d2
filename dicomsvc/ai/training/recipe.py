"""What a training run is made of: a TOML file, its paths as seen from the file."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicomsvc.errors import BadRequest

Share = Annotated[float, Field(ge=0, le=1)]
Fold = Annotated[int, Field(ge=0, le=4)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelledFolder(_Strict):
    """``images/`` and ``labels/``; of the five folds one is looked at while training, one never."""

    folder: Path
    groups: tuple[str, ...] = ()
    validation_fold: Fold | None = None
    test_fold: Fold | None = None

    def training_folds(self) -> list[int]:
        return [fold for fold in range(5) if fold not in (self.validation_fold, self.test_fold)]


class Slide(_Strict):
    """A slide or picture of H&E without labels; ``regions`` of it become backdrops."""

    file: Path
    mpp: float = Field(gt=0.05, lt=10)
    regions: int = Field(default=6, ge=1, le=100)


class Recipe(_Strict):
    """``rendered`` is the share of crops that are rendered; ``diameter`` the range of median sizes of real nuclei."""

    fluorescence: Path
    labelled: tuple[LabelledFolder, ...] = Field(min_length=1)
    slide: tuple[Slide, ...] = ()
    rendered: Share = 0.68
    diameter: tuple[float, float] = (8.0, 18.0)
    seed: int = 0
    side: int = Field(default=192, ge=64, le=512, multiple_of=16)
    batch: int = Field(default=12, ge=2, le=256)
    steps: int = Field(default=2000, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, lt=1)
    patience: int = Field(default=6, ge=1)


def read_recipe(file: Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    BadRequest
        When it is no TOML, or has an unknown or a wrong key.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        recipe = Recipe.model_validate(document)
    except OSError as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"{file} is no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRequest(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return _placed(recipe, file.parent)


def _placed(recipe: Recipe, root: Path) -> Recipe:
    changes: dict[str, Any] = {
        "fluorescence": root / recipe.fluorescence,
        "labelled": tuple(each.model_copy(update={"folder": root / each.folder}) for each in recipe.labelled),
        "slide": tuple(each.model_copy(update={"file": root / each.file}) for each in recipe.slide),
    }
    return recipe.model_copy(update=changes)
