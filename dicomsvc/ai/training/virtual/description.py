"""The ``model.toml`` of a virtual stain."""

from collections.abc import Sequence
from typing import Final

from dicomsvc.ai.training.describing import head_lines, quoted
from dicomsvc.ai.training.virtual.recipe import Recipe

_COARSER: Final = 1.1
_USE: Final = (
    "Showing what another stain of the same section might look like, for research and teaching. Synthetic: nothing was "
    "stained or seen. Not for diagnosis; no cell may be called positive by it."
)


def manifest_text(recipe: Recipe, tensors: Sequence[str]) -> str:
    """Return the manifest; ``tensors`` are those of the channels, in order. ``@SHA256@`` stands for the digest."""
    lines = [
        *head_lines(recipe, _USE, ["SM"]),
        "",
        "[input]",
        'tensor = "IMAGE"',
        f"mpp = {recipe.mpp:g}",
        f"coarsest_mpp = {recipe.mpp * _COARSER:g}",
        "tile_size = 512",
        "overlap = 64",
        'stain = "H&E"',
        "",
        "[output]",
        'kind = "image"',
    ]
    for channel, tensor in zip(recipe.channel, tensors, strict=True):
        lines += ["", "[[output.channels]]", f"name = {quoted(channel.name)}", f"label = {quoted(channel.label)}"]
        lines += [f"tensor = {quoted(tensor)}", f"stands_for = {quoted(channel.stands_for)}"]
        lines.append(f"colour = {list(channel.colour)}")
    lines += [
        "",
        "[[classes]]",
        'label = "Synthetic image"',
        'category = { value = "91723000", scheme = "SCT", meaning = "Anatomical Structure" }',
        'type = { value = "85756007", scheme = "SCT", meaning = "Tissue" }',
        "colour = [255, 255, 255]",
    ]
    return "\n".join(lines) + "\n"
