"""The ``model.toml`` of a site's own model of pixels or of things."""

import colorsys
from collections.abc import Mapping, Sequence
from typing import Final

from dicomsvc.ai.training.patches.recipe import ClassCode
from dicomsvc.ai.training.segmentation.recipe import Described
from dicomsvc.ai.training.virtual.description import quoted

_COARSER: Final = 1.1


def manifest_text(
    recipe: Described,
    kind: str,
    tensors: Mapping[str, str],
    objects: Sequence[str],
    settings: Mapping[str, float] | None = None,
) -> str:
    """Return the manifest; ``tensors`` are by role, and ``@SHA256@`` stands for the digest."""
    top = {
        "title": recipe.title,
        "version": "1.0.0",
        "summary": recipe.summary,
        "intended_use": recipe.intended_use,
        "limitations": recipe.limitations,
        "licence": recipe.licence,
        "training_data": recipe.training_data,
    }
    named = ", ".join(f"{role} = {quoted(name)}" for role, name in tensors.items())
    lines = [f"{key} = {quoted(value)}" for key, value in top.items()]
    lines += [
        'family = { value = "123110", scheme = "DCM", meaning = "Artificial Intelligence" }',
        f"objects = [{', '.join(map(quoted, objects))}]",
        'weights_sha256 = "@SHA256@"',
        "",
        "[input]",
        'tensor = "IMAGE"',
        f"mpp = {recipe.mpp:g}",
        f"coarsest_mpp = {recipe.mpp * _COARSER:g}",
        "tile_size = 512",
        "overlap = 64",
        f"stain = {quoted(recipe.stain)}",
        "",
        "[output]",
        f"kind = {quoted(kind)}",
        f"tensors = {{ {named} }}",
    ]
    if settings:
        lines += ["", "[output.settings]", *(f"{name} = {value:g}" for name, value in settings.items())]
    for number, each in enumerate(recipe.classes):
        colour = each.colour or _colour(number, len(recipe.classes))
        lines += ["", "[[classes]]", f"label = {quoted(each.label)}"]
        lines += [f"category = {_code(each.category)}", f"type = {_code(each.type)}", f"colour = {list(colour)}"]
    return "\n".join(lines) + "\n"


def _colour(number: int, count: int) -> tuple[int, int, int]:
    """Return one of as many colours as there are classes, evenly around the circle of hues."""
    red, green, blue = colorsys.hsv_to_rgb(number / count, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _code(code: ClassCode) -> str:
    return f"{{ value = {quoted(code.value)}, scheme = {quoted(code.scheme)}, meaning = {quoted(code.meaning)} }}"
