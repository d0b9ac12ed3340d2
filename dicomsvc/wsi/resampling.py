"""A slide at the resolution that a model wants."""

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from dicomsvc.errors import TooLarge, UnfitSlide
from dicomsvc.wsi.codecs import Pixels, sample_type
from dicomsvc.wsi.frame_cache import FrameCache
from dicomsvc.wsi.image import MAX_REGION_BYTES, StoredImage
from dicomsvc.wsi.levels import level_for, readable_levels, slide_mpp
from dicomsvc.wsi.optical_paths import RGB, all_paths, choose_paths
from dicomsvc.wsi.plan import Rectangle, make_grid
from dicomsvc.wsi.raster import resize
from dicomsvc.wsi.slide import Slide

Tile = npt.NDArray[np.uint8]
CACHE_BYTES: Final = 192 << 20
_PART_PIXELS: Final = 1 << 24
_CUBIC_MARGIN: Final = 2
_SAMPLED_FRAMES: Final = 64
_PERCENTILE: Final = 99.9
_RESIZABLE: Final = ("uint8", "uint16", "int16", "float32")


class Plane:
    """A slide at about ``mpp`` micrometres a pixel; safe to use from several threads.

    It is read from the coarsest sound level that is not coarser (`dicomsvc.wsi.levels`), as the mean over each plane
    pixel's area; a slide that is coarser itself is enlarged by cubic interpolation. What is outside of the slide is
    white in colour, 0 in fluorescence. A place comes out the same whatever rectangle it is read with: source pixels are
    cut only where a border of the plane's pixels and one of the source's meet, which the grid's fractions make happen
    often.

    Samples of 8 bits stay as they are; of more, 0 becomes 0 and the 99.9th percentile of the slide's coarsest level
    becomes 255, for each optical path; colour of more bits keeps its most significant 8. ``channels`` of None are all
    that the slide has, of whatever kind.

    Levels are taken to begin at the same corner of the slide: many writers give all of them one origin for the centre
    of the first pixel (PS3.3 C.8.12.4), which cannot be true of pixels that differ in size.

    Raises
    ------
    UnfitSlide
        When the slide has no level or no pixel spacing, is coarser than ``coarsest_mpp``, or its optical paths are not
        the ``channels`` that are asked for.
    InvalidModel
        When ``mpp`` is no positive number.
    """

    def __init__(
        self,
        slide: Slide,
        mpp: float,
        channels: Sequence[str] | None = RGB,
        *,
        coarsest_mpp: float = math.inf,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.slide_mpp = slide_mpp(slide)
        if max(self.slide_mpp) > coarsest_mpp * 1.01:
            raise UnfitSlide(
                f"the model needs {mpp:g} um a pixel and takes up to {coarsest_mpp:g}; "
                f"the slide has {max(self.slide_mpp):.4g}"
            )
        base = slide.levels[0]
        self.channels = all_paths(base) if channels is None else tuple(channels)
        self._paths = choose_paths(base, channels)
        self.grid = make_grid(base.columns, base.rows, self.slide_mpp, mpp)
        level = level_for(readable_levels(slide), self.grid.step)
        self._image = level.image
        self._step = (self.grid.step[0] / level.factor[0], self.grid.step[1] / level.factor[1])
        self._cache = FrameCache(cache_bytes)
        self._dtype = sample_type(base.reader.index)
        self._highest = _highest(slide.levels[-1], self._paths) if self._dtype != np.uint8 else None

    @property
    def columns(self) -> int:
        return self.grid.columns

    @property
    def rows(self) -> int:
        return self.grid.rows

    @property
    def samples(self) -> int:
        """Samples per pixel of what is read."""
        return len(self.channels)

    @property
    def scale(self) -> tuple[float, float]:
        """Plane pixels per slide pixel, (x, y)."""
        return self.grid.scale

    @property
    def mpp(self) -> tuple[float, float]:
        """The real resolution, (x, y)."""
        return self.slide_mpp[0] * float(self.grid.step[0]), self.slide_mpp[1] * float(self.grid.step[1])

    @property
    def frames_decoded(self) -> int:
        """How many source frames have been decoded so far."""
        return self._cache.decoded

    def read(self, area: Rectangle) -> Tile:
        """Return a rectangle of the plane as ``(rows, columns, samples)``.

        Raises
        ------
        TooLarge
            When it would take more memory than one may have.
        NotFound, DamagedFile, NotAcceptable
            When its frames cannot be read.
        """
        if area.width * area.height * self.samples > MAX_REGION_BYTES:
            raise TooLarge(f"a region of {area.width} x {area.height} pixels is too large to be read at once")
        pixels = np.empty((area.height, area.width, self.samples), np.uint8)
        for part in self._parts(area):
            top, left = part.y - area.y, part.x - area.x
            pixels[top : top + part.height, left : left + part.width] = self._read_part(part)
        return pixels

    def read_many(self, areas: Sequence[Rectangle], threads: int = 2) -> Iterator[Tile]:
        """Yield rectangles in the order given, read ahead in so many threads; see `read`.

        At most twice as many as there are threads are held, besides the source frames that neighbours share.
        """
        if threads < 2:
            yield from map(self.read, areas)
            return
        pool = ThreadPoolExecutor(threads, "plane")
        waiting: deque[Future[Tile]] = deque()
        rest = iter(areas)
        try:
            waiting.extend(pool.submit(self.read, area) for area in itertools.islice(rest, 2 * threads))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(self.read, area) for area in itertools.islice(rest, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _parts(self, area: Rectangle) -> Iterator[Rectangle]:
        """Cut a rectangle until its source fits into a few dozen megabytes."""
        if area.width < 1 or area.height < 1:
            return
        pixels = area.width * area.height
        if pixels == 1 or pixels * max(1.0, float(self._step[0] * self._step[1])) <= _PART_PIXELS:
            yield area
        elif area.height > 1 and area.height * self._step[1] * 4 > area.width * self._step[0]:
            half = area.height // 2
            yield from self._parts(Rectangle(area.x, area.y, area.width, half))
            yield from self._parts(Rectangle(area.x, area.y + half, area.width, area.height - half))
        else:
            half = area.width // 2
            yield from self._parts(Rectangle(area.x, area.y, half, area.height))
            yield from self._parts(Rectangle(area.x + half, area.y, area.width - half, area.height))

    def _read_part(self, area: Rectangle) -> Tile:
        left, right = _aligned(area.x, area.right, self._step[0])
        top, bottom = _aligned(area.y, area.bottom, self._step[1])
        x, y = int(left * self._step[0]), int(top * self._step[1])
        source = self._source(x, y, int(right * self._step[0]) - x, int(bottom * self._step[1]) - y)
        resized = resize(source, right - left, bottom - top)
        return self._eight_bits(
            resized[area.y - top : area.bottom - top, area.x - left : area.right - left],
        )

    def _source(self, x: int, y: int, width: int, height: int) -> Pixels:
        regions = [self._image.read_region(x, y, width, height, path, decoded=self._decoded) for path in self._paths]
        pixels = regions[0] if len(regions) == 1 else np.concatenate(regions, axis=2)
        return pixels if pixels.dtype.name in _RESIZABLE else pixels.astype(np.float32)

    def _decoded(self, frame_number: int) -> Pixels:
        return self._cache.get(frame_number, lambda: self._image.reader.decoded(frame_number))

    def _eight_bits(self, pixels: Pixels) -> Tile:
        if self._highest is None:
            return pixels
        scaled = pixels.astype(np.float32) * (np.float32(255) / self._highest)
        shown: Tile = np.clip(np.rint(np.nan_to_num(scaled)), 0, 255).astype(np.uint8)
        return shown


def _aligned(first: int, end: int, step: Fraction) -> tuple[int, int]:
    """Widen a range of plane pixels until it ends on whole source pixels, with room for cubic interpolation."""
    block = step.denominator
    margin = math.ceil(_CUBIC_MARGIN / step) if step < 1 else 0
    return (first - margin) // block * block, -(-(end + margin) // block) * block


def _highest(image: StoredImage, paths: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return for each sample the value that becomes 255."""
    index = image.reader.index
    if index.samples_per_pixel == 3:
        return np.full(3, float(2**index.bits_stored - 1), np.float32)
    highest = []
    for path in paths:
        placed = list(image.tiling.placements(0, 0, image.columns, image.rows, path))
        chosen = placed[:: max(1, -(-len(placed) // _SAMPLED_FRAMES))]
        values = [image.reader.decoded(each.frame_number)[::2, ::2].ravel() for each in chosen]
        value = float(np.percentile(np.nan_to_num(np.concatenate(values)), _PERCENTILE)) if values else 0.0
        highest.append(value if value > 0 else 1.0)
    return np.array(highest, np.float32)
