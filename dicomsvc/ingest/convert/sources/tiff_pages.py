"""Which pages of a TIFF are levels, channels, label, overview and thumbnail."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dicomsvc.errors import ConversionError
from dicomsvc.ingest.convert.sources.base import Associated

_ASPECT_TOLERANCE = 0.02
_REDUCED_IMAGE = 1


@dataclass(slots=True)
class Pages:
    """The pages of a slide: for each level one page a channel, and the pictures beside them."""

    kind: str
    levels: list[list[Any]]
    associated: dict[Associated, Any] = field(default_factory=dict)


def find_pages(tiff: Any) -> Pages:
    """Sort the pages of an open ``tifffile.TiffFile``.

    Raises
    ------
    ConversionError
        When there is no image of a slide among them.
    """
    if tiff.is_svs:
        return _aperio(tiff)
    if tiff.is_ome:
        return _ome(tiff)
    if tiff.is_philips:
        return _philips(tiff)
    return Pages("tiff", _by_size(_all_pages(tiff)))


def _aperio(tiff: Any) -> Pages:
    names: dict[str, Associated] = {"Thumbnail": "thumbnail", "Label": "label", "Macro": "overview"}
    pages = Pages("aperio", [])
    for series in tiff.series:
        if series.name == "Baseline":
            pages.levels = [[_page(level.pages[0])] for level in series.levels]
        elif series.name in names:
            pages.associated[names[series.name]] = _page(series.pages[0])
    if not pages.levels:
        raise ConversionError("The SVS file holds no image of the slide")
    return pages


def _ome(tiff: Any) -> Pages:
    def area(series: Any) -> int:
        page = series.keyframe
        return int(page.imagewidth * page.imagelength)

    series = [entry for entry in tiff.series if entry.kind == "ome"] or list(tiff.series)
    base = max(series, key=area)
    pages = Pages("ome-tiff", [_channels(level) for level in base.levels])
    for other in series:
        name = (other.name or "").lower()
        if other is base:
            continue
        if "label" in name:
            pages.associated["label"] = _page(other.pages[0])
        elif "macro" in name or "overview" in name:
            pages.associated["overview"] = _page(other.pages[0])
        elif "thumb" in name:
            pages.associated["thumbnail"] = _page(other.pages[0])
    return pages


def _channels(level: Any) -> list[Any]:
    """Take one page a channel: the first time point, and the plane in the middle of the stack."""
    sizes = dict(zip(level.axes, level.shape, strict=True))
    steps = [axis for axis in level.axes if axis not in "YXS"]
    if any(axis not in "TCZ" for axis in steps):
        raise ConversionError(f"Images with axes {level.axes} cannot be converted")
    count = 1
    for axis in steps:
        count *= sizes[axis]
    if len(level.pages) != count:
        # Channels lie in planes of one page: that page is read as it is.
        return [_page(level.pages[0])]
    chosen = []
    for channel in range(sizes.get("C", 1)):
        index = 0
        for axis in steps:
            position = {"C": channel, "Z": sizes.get("Z", 1) // 2, "T": 0}[axis]
            index = index * sizes[axis] + position
        chosen.append(_page(level.pages[index]))
    return chosen


def _philips(tiff: Any) -> Pages:
    pages = Pages("philips", [])
    others = []
    for page in tiff.pages:
        description = str(_page(page).description)
        if description.startswith("Label"):
            pages.associated["label"] = _page(page)
        elif description.startswith("Macro"):
            pages.associated["overview"] = _page(page)
        else:
            others.append(_page(page))
    pages.levels = _by_size(others)
    return pages


def _all_pages(tiff: Any) -> list[Any]:
    pages = [_page(page) for page in tiff.pages]
    for page in list(pages):
        for offset in page.subifds or ():
            pages.append(_sub_page(tiff, page, offset))
    return pages


def _sub_page(tiff: Any, page: Any, offset: int) -> Any:
    from tifffile import TiffPage

    tiff.filehandle.seek(offset)
    return TiffPage(tiff, index=(page.index, offset))


def _by_size(pages: Sequence[Any]) -> list[list[Any]]:
    """Group pages of one shape into levels: same kind of pixels and same proportions as the largest."""
    usable = [page for page in pages if page.imagewidth and page.imagelength]
    if not usable:
        raise ConversionError("The TIFF holds no image")
    base = max(usable, key=lambda page: page.imagewidth * page.imagelength)
    levels: dict[tuple[int, int], list[Any]] = {}
    for page in usable:
        if _belongs(page, base):
            levels.setdefault((page.imagewidth, page.imagelength), []).append(page)
    ordered = [levels[size] for size in sorted(levels, reverse=True)]
    channels = len(ordered[0]) if base.samplesperpixel == 1 else 1
    return [level[:channels] for level in ordered if len(level) >= channels]


def _belongs(page: Any, base: Any) -> bool:
    if (page.samplesperpixel, page.bitspersample) != (base.samplesperpixel, base.bitspersample):
        return False
    if page.is_tiled != base.is_tiled:
        return False
    across, down = base.imagewidth / page.imagewidth, base.imagelength / page.imagelength
    # A coarse level's size is rounded, or padded to whole tiles.
    slack = _ASPECT_TOLERANCE + 2 / min(page.imagewidth, page.imagelength)
    return bool(abs(across - down) <= slack * max(across, down))


def _page(page: Any) -> Any:
    return page.aspage() if hasattr(page, "aspage") else page
