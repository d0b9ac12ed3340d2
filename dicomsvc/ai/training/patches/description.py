"""The ``model.toml`` of a patch classifier."""

import colorsys
import json
from typing import Final

from dicomsvc.ai.training.patches.recipe import ClassCode, Recipe

TENSOR: Final = "PROBABILITY"
_COARSER: Final = 1.15


def manifest_text(recipe: Recipe) -> str:
    """Return the manifest; ``@SHA256@`` stands for the digest."""
    top = {
        "title": recipe.title,
        "version": "1.0.0",
        "summary": recipe.summary,
        "intended_use": recipe.intended_use,
        "limitations": recipe.limitations,
        "licence": recipe.licence,
        "training_data": recipe.training_data,
    }
    lines = [f"{key} = {_quoted(value)}" for key, value in top.items()]
    lines += [
        'family = { value = "123110", scheme = "DCM", meaning = "Artificial Intelligence" }',
        'objects = ["SEG", "SR"]',
        'weights_sha256 = "@SHA256@"',
        "",
        "[input]",
        'tensor = "IMAGE"',
        f"mpp = {recipe.mpp:g}",
        f"coarsest_mpp = {recipe.coarsest_mpp or recipe.mpp * _COARSER:g}",
        f"tile_size = {recipe.side}",
        f"overlap = {recipe.overlap}",
        'stain = "H&E"',
        f"only_tissue = {str(recipe.only_tissue).lower()}",
        "",
        "[output]",
        'kind = "classification"',
        f'tensors = {{ probability = "{TENSOR}" }}',
    ]
    shown = [each for each in recipe.ordered if not each.background]
    for number, each in enumerate(shown):
        colour = each.colour or _colour(number, len(shown))
        lines += ["", "[[classes]]", f"label = {_quoted(each.label)}"]
        lines += [f"category = {_code(each.category)}", f"type = {_code(each.type)}", f"colour = {list(colour)}"]
    return "\n".join(lines) + "\n"


def _colour(number: int, count: int) -> tuple[int, int, int]:
    """Return one of as many colours as there are classes, evenly around the circle of hues."""
    red, green, blue = colorsys.hsv_to_rgb(number / count, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _code(code: ClassCode) -> str:
    return f"{{ value = {_quoted(code.value)}, scheme = {_quoted(code.scheme)}, meaning = {_quoted(code.meaning)} }}"


def _quoted(text: str) -> str:
    return json.dumps(" ".join(text.split()), ensure_ascii=False)
