"""The ``model.toml`` of a patch classifier."""

from typing import Final

from dicomsvc.ai.training.describing import class_lines, head_lines
from dicomsvc.ai.training.patches.recipe import Recipe

TENSOR: Final = "PROBABILITY"
_COARSER: Final = 1.15


def manifest_text(recipe: Recipe) -> str:
    """Return the manifest; ``@SHA256@`` stands for the digest."""
    lines = [
        *head_lines(recipe, recipe.intended_use, ["SEG", "SR"]),
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
    lines += class_lines([each for each in recipe.ordered if not each.background])
    return "\n".join(lines) + "\n"
