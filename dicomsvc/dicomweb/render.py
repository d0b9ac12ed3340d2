"""Makes a picture of a stored image: chooses the level, reads it in bands, shows its values, scales, encodes.

Memory is bounded by a band and the picture, time by the number of source pixels, however large the image is.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageCms

from dicomsvc.dicomweb.viewport import Framing, Rendering, Viewport, frame_picture
from dicomsvc.errors import TooLarge
from dicomsvc.wsi.codecs import Pixels
from dicomsvc.wsi.display import (
    Palette,
    Window,
    needs_window,
    range_window,
    read_palette,
    rescale,
    show,
    stored_window,
)
from dicomsvc.wsi.image import StoredImage
from dicomsvc.wsi.slide import Slide

MAX_SOURCE_PIXELS: Final = 1 << 28
DEFAULT_SIDE: Final = 2048
_PALETTE_DATA: Final = ("00281201", "00281202", "00281203")
_PROFILE_PATHS: Final = ("00480105/1/00282000", "00282000")
_MAX_PROFILE_BYTES: Final = 1 << 24
# Above this scale a coarser level cannot have enough pixels.
_WORTH_A_LEVEL: Final = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a picture is made of: an image's total pixel matrix, or one frame of it (``pixels``)."""

    image: StoredImage
    pixels: Pixels | None = None

    @property
    def columns(self) -> int:
        return self.image.columns if self.pixels is None else int(self.pixels.shape[1])

    @property
    def rows(self) -> int:
        return self.image.rows if self.pixels is None else int(self.pixels.shape[0])

    def read(self, x: int, y: int, width: int, height: int) -> Pixels:
        if self.pixels is None:
            return self.image.read_region(x, y, width, height)
        return self.pixels[y : y + height, x : x + width]

    def bands(self, framing: Framing) -> Iterator[Pixels]:
        """Yield the source rectangle from top to bottom, cut where tiles end."""
        step = self.image.tiling.rows
        y, end = framing.y, framing.y + framing.height
        while y < end:
            border = min(end, (y // step + 1) * step)
            yield self.read(framing.x, y, framing.width, border - y)
            y = border


def render(source: Source, slide: Callable[[], Slide], rendering: Rendering, default_side: int) -> Image.Image:
    """Return the picture of a source; ``slide`` opens the pyramid that it belongs to, and is called when it helps.

    Raises
    ------
    TooLarge
        When too many pixels would have to be read for it.
    BadRequest
        When the source rectangle lies outside.
    """
    viewport = rendering.viewport or Viewport(min(source.columns, default_side), min(source.rows, default_side))
    framing = frame_picture(viewport, source.columns, source.rows)
    if source.pixels is None and framing.picture_width < _WORTH_A_LEVEL * framing.width:
        source, framing = _on_better_level(source, slide(), framing)
    if framing.width * framing.height > MAX_SOURCE_PIXELS:
        raise TooLarge(
            f"{framing.width} x {framing.height} pixels would have to be read for this picture, and the series has no "
            "coarser level; ask for a smaller source rectangle (viewport=vw,vh,sx,sy,sw,sh)"
        )
    picture = _scaled(_shown_bands(source, framing, rendering), framing)
    if framing.flip_columns:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if framing.flip_rows:
        picture = picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return picture


def _on_better_level(source: Source, slide: Slide, framing: Framing) -> tuple[Source, Framing]:
    image = source.image
    across, down = framing.picture_width / framing.width, framing.picture_height / framing.height
    level = slide.coarser(image, int(image.columns * across), int(image.rows * down))
    if level.columns == image.columns:
        return source, framing
    by_x, by_y = level.columns / image.columns, level.rows / image.rows
    x, y = min(int(framing.x * by_x), level.columns - 1), min(int(framing.y * by_y), level.rows - 1)
    moved = Framing(
        x=x,
        y=y,
        width=max(1, min(round(framing.width * by_x), level.columns - x)),
        height=max(1, min(round(framing.height * by_y), level.rows - y)),
        picture_width=framing.picture_width,
        picture_height=framing.picture_height,
        flip_columns=framing.flip_columns,
        flip_rows=framing.flip_rows,
    )
    return Source(level), moved


def _shown_bands(source: Source, framing: Framing, rendering: Rendering) -> Iterator[Image.Image]:
    ds = source.image.dataset
    palette = _palette(source.image)
    window = rendering.window
    if window is None and palette is None and _is_deep(source.image):
        window = stored_window(ds) or _range_of(source, framing)
    for pixels in source.bands(framing):
        shown = show(pixels, ds, window, palette)
        yield Image.fromarray(np.ascontiguousarray(shown[:, :, 0] if shown.shape[2] == 1 else shown))


def _is_deep(image: StoredImage) -> bool:
    index = image.reader.index
    return index.samples_per_pixel == 1 and (index.bits_allocated > 8 or bool(index.pixel_representation))


def _range_of(source: Source, framing: Framing) -> Window:
    slope, intercept = rescale(source.image.dataset)
    lowest, highest = np.inf, -np.inf
    for pixels in source.bands(framing):
        finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
        if finite.size and needs_window(pixels):
            lowest, highest = min(lowest, float(finite.min())), max(highest, float(finite.max()))
    if not np.isfinite(lowest):
        lowest = highest = 0.0
    ends = sorted((lowest * slope + intercept, highest * slope + intercept))
    return range_window(ends[0], ends[1])


def _scaled(bands: Iterator[Image.Image], framing: Framing) -> Image.Image:
    """Join bands to a picture; they are first reduced by a whole number, so that the large image never exists."""
    factor = max(1, min(framing.width // framing.picture_width, framing.height // framing.picture_height))
    size = (-(-framing.width // factor), -(-framing.height // factor))
    joined: Image.Image | None = None
    waiting: Image.Image | None = None
    y = 0
    for band in bands:
        joined = joined or Image.new(band.mode, size)
        waiting = band if waiting is None else _stacked(waiting, band)
        whole = waiting.height // factor * factor
        if whole:
            joined.paste(waiting.crop((0, 0, waiting.width, whole)).reduce(factor), (0, y))
            y += whole // factor
            waiting = waiting.crop((0, whole, waiting.width, waiting.height)) if whole < waiting.height else None
    assert joined is not None
    if waiting is not None:
        joined.paste(waiting.reduce(factor), (0, y))
    wanted = (framing.picture_width, framing.picture_height)
    if joined.size == wanted:
        return joined
    # The last column and row of cells may stand for fewer pixels than the others.
    box = (0, 0, framing.width / factor, framing.height / factor)
    return joined.resize(wanted, Image.Resampling.BICUBIC, box)


def _stacked(upper: Image.Image, lower: Image.Image) -> Image.Image:
    both = Image.new(upper.mode, (upper.width, upper.height + lower.height))
    both.paste(upper, (0, 0))
    both.paste(lower, (0, upper.height))
    return both


def _palette(image: StoredImage) -> Palette | None:
    if image.reader.index.photometric_interpretation != "PALETTE COLOR":
        return None
    return read_palette(image.dataset, tuple(bulk_value(image, path) for path in _PALETTE_DATA))


def bulk_value(image: StoredImage, path: str) -> bytes:
    """Return a short bulk value of an image; nothing when it has none, or a very long one."""
    where = image.metadata.bulk.get(path)
    if where is None or where.encapsulated or where.length > _MAX_PROFILE_BYTES:
        return b""
    return image.reader.read(where.offset, where.length)


def encode(picture: Image.Image, media_type: str, quality: int, profile: bytes) -> bytes:
    """Return a picture as JPEG or PNG, with an ICC profile when one is given."""
    stream = io.BytesIO()
    embedded = {"icc_profile": profile} if profile else {}
    if media_type == "image/png":
        picture.save(stream, "PNG", compress_level=3, **embedded)
    else:
        picture.save(stream, "JPEG", quality=quality, **embedded)
    return stream.getvalue()


def apply_profile(picture: Image.Image, image: StoredImage, wanted: str) -> tuple[Image.Image, bytes]:
    """Return the picture in the colour space asked for, and the profile to embed (PS3.18 8.3.5.1.5)."""
    if wanted == "no" or picture.mode != "RGB":
        return picture, b""
    profile = next(filter(None, (bulk_value(image, path) for path in _PROFILE_PATHS)), b"")
    if wanted == "yes":
        return picture, profile
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, own, srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            # A broken profile: the picture is shown as if it had none.
            return picture, srgb.tobytes()
        picture = converted or picture
    return picture, srgb.tobytes()
