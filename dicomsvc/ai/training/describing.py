"""Parts of the ``model.toml`` that training writes for a site's own models."""

import colorsys
import json
from collections.abc import Sequence
from typing import Protocol

from pydantic import Field

from dicomsvc.ai.training.recipe import Strict


class ClassCode(Strict):
    """As PS3.3 8.8 has it."""

    value: str
    scheme: str
    meaning: str


class ModelClass(Strict):
    """A class as people and result objects name it; without ``colour`` it gets one."""

    label: str = Field(min_length=1, max_length=64)
    type: ClassCode = ClassCode(value="85756007", scheme="SCT", meaning="Tissue")
    category: ClassCode = ClassCode(value="91723000", scheme="SCT", meaning="Anatomical Structure")
    colour: tuple[int, int, int] | None = None


class Words(Protocol):
    """What a recipe says of its model in words."""

    @property
    def title(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def limitations(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def training_data(self) -> str: ...


def head_lines(words: Words, intended_use: str, objects: Sequence[str]) -> list[str]:
    """Return what stands before the tables; ``@SHA256@`` stands for the digest of the weights."""
    told = {
        "title": words.title,
        "version": "1.0.0",
        "summary": words.summary,
        "intended_use": intended_use,
        "limitations": words.limitations,
        "licence": words.licence,
        "training_data": words.training_data,
    }
    return [
        *(f"{key} = {quoted(value)}" for key, value in told.items()),
        'family = { value = "123110", scheme = "DCM", meaning = "Artificial Intelligence" }',
        f"objects = [{', '.join(map(quoted, objects))}]",
        'weights_sha256 = "@SHA256@"',
    ]


def class_lines(classes: Sequence[ModelClass]) -> list[str]:
    """Return the tables of classes, in order."""
    lines = []
    for number, each in enumerate(classes):
        colour = each.colour or _colour(number, len(classes))
        lines += ["", "[[classes]]", f"label = {quoted(each.label)}"]
        lines += [f"category = {_code(each.category)}", f"type = {_code(each.type)}", f"colour = {list(colour)}"]
    return lines


def quoted(text: str) -> str:
    """Return a text as TOML has it, on one line."""
    return json.dumps(" ".join(text.split()), ensure_ascii=False)


def _colour(number: int, count: int) -> tuple[int, int, int]:
    """Return one of as many colours as there are classes, evenly around the circle of hues."""
    red, green, blue = colorsys.hsv_to_rgb(number / count, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _code(code: ClassCode) -> str:
    return f"{{ value = {quoted(code.value)}, scheme = {quoted(code.scheme)}, meaning = {quoted(code.meaning)} }}"
