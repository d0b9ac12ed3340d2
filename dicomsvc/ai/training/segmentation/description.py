"""The ``model.toml`` of a site's own model of pixels or of things."""

from collections.abc import Mapping, Sequence
from typing import Final

from dicomsvc.ai.training.describing import class_lines, head_lines, quoted
from dicomsvc.ai.training.segmentation.recipe import Described

_COARSER: Final = 1.1


def manifest_text(
    recipe: Described,
    kind: str,
    tensors: Mapping[str, str],
    objects: Sequence[str],
    settings: Mapping[str, float] | None = None,
) -> str:
    """Return the manifest; ``tensors`` are by role, and ``@SHA256@`` stands for the digest."""
    named = ", ".join(f"{role} = {quoted(name)}" for role, name in tensors.items())
    lines = [
        *head_lines(recipe, recipe.intended_use, objects),
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
    lines += class_lines(recipe.classes)
    return "\n".join(lines) + "\n"
