"""Which samples of a slide a model's channels are (PS3.3 C.8.12.5)."""

from collections.abc import Sequence
from typing import Final

from dicomsvc.errors import UnfitSlide
from dicomsvc.wsi.attributes import item, items, text
from dicomsvc.wsi.image import StoredImage

RGB: Final = ("R", "G", "B")
_EPIFLUORESCENCE: Final = "111743"


def all_paths(image: StoredImage) -> tuple[str, ...]:
    """Return a name for each sample that all of a slide's optical paths give together."""
    return RGB if image.reader.index.samples_per_pixel == 3 else image.tiling.channels


def choose_paths(image: StoredImage, channels: Sequence[str] | None) -> tuple[int, ...]:
    """Return the numbers of the optical paths that ``channels`` name; of a colour image its only one; all for None.

    A name is an Optical Path Identifier or Description, upper and lower case alike. One channel asked of a slide that
    has one needs no name.

    Raises
    ------
    UnfitSlide
        When the slide has colour where optical paths are wanted or the other way round, or lacks one.
    """
    paths = items(image.dataset, "00480105")
    samples = image.reader.index.samples_per_pixel
    if channels is None:
        return (0,) if samples == 3 else tuple(range(len(image.tiling.channels)))
    if tuple(channels) == RGB:
        codes = {text(item(path, "00220016"), "00080100") for path in paths}
        if samples == 3 and codes == {_EPIFLUORESCENCE}:
            raise UnfitSlide(f"the model wants a colour image of a stain; the slide is fluorescence: {_names(image)}")
        if samples != 3:
            raise UnfitSlide(f"the model wants a colour image; the slide has {_described(image)}")
        return (0,)
    if samples != 1:
        raise UnfitSlide(f"the model wants the optical paths {', '.join(channels)}; the slide is a colour image")
    names = [{text(path, "00480106").casefold(), text(path, "00480107").casefold()} for path in paths]
    if len(channels) == 1 and len(image.tiling.channels) == 1:
        return (0,)
    chosen = []
    for channel in channels:
        number = next((i for i, known in enumerate(names) if channel.casefold() in known), None)
        if number is None or number >= len(image.tiling.channels):
            raise UnfitSlide(f"the model wants the optical path {channel}; the slide has {_described(image)}")
        chosen.append(number)
    return tuple(chosen)


def _described(image: StoredImage) -> str:
    samples = image.reader.index.samples_per_pixel
    return f"{len(image.tiling.channels)} optical path(s) of {samples} sample(s): {_names(image)}"


def _names(image: StoredImage) -> str:
    paths = items(image.dataset, "00480105")
    return ", ".join(text(path, "00480107") or text(path, "00480106") for path in paths[:20])
