"""Cuts rows of tiles into frames and encodes them (PS3.5 8.1.1, 8.2, A.4)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, Protocol

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGLSLossless

from dicomsvc.objects.part10 import FLOAT_PIXEL_DATA, PIXEL_DATA

Strip = npt.NDArray[Any]
"""A row of tiles of one channel: ``(rows, columns)`` or, of a colour image, ``(rows, columns, 3)``; the last tiles may
be cut off at the right and at the bottom."""
Frames = Sequence[bytes | memoryview | None]
"""The frames of a row of tiles, from left to right; None stands for one that is all background."""

_HALF: Final = 128


class FrameEncoder(Protocol):
    """Encodes frames of ``tile`` (rows, columns) pixels."""

    @property
    def tile(self) -> tuple[int, int]: ...

    @property
    def transfer_syntax_uid(self) -> str: ...

    @property
    def encapsulated(self) -> bool: ...

    @property
    def element(self) -> int:
        """Element number of the pixels in group 7FE0."""
        ...

    @property
    def vr(self) -> bytes:
        """Value representation of uncompressed pixels (PS3.5 A.2)."""
        ...

    @property
    def frame_bytes(self) -> int:
        """Bytes of an uncompressed frame."""
        ...

    def blank(self) -> bytes:
        """Return an encoded frame that is all background."""
        ...

    def encode(self, strip: Strip, *, reduced: bool = False) -> Frames:
        """Encode a row of tiles; ``reduced`` says that values are shares of 255 of several finer pixels."""
        ...


class _Native(ABC):
    transfer_syntax_uid: str = ExplicitVRLittleEndian
    encapsulated = False
    element = PIXEL_DATA
    vr = b"OB"

    def __init__(self, tile: tuple[int, int]) -> None:
        self.tile = tile

    @property
    @abstractmethod
    def frame_bytes(self) -> int: ...

    def blank(self) -> bytes:
        return bytes(self.frame_bytes)


class BitEncoder(_Native):
    """One bit a pixel, the least significant first; tiles have a multiple of 8 columns."""

    @property
    def frame_bytes(self) -> int:
        return self.tile[0] * self.tile[1] // 8

    def encode(self, strip: Strip, *, reduced: bool = False) -> Frames:
        across = -(-strip.shape[1] // self.tile[1])
        if not has_values(strip):
            return [None] * across
        bits = np.packbits(strip >= _HALF if reduced else strip, axis=1, bitorder="little")
        return _views(_cut(bits, (self.tile[0], self.tile[1] // 8)))


class ByteEncoder(_Native):
    """Samples of 8 bits, ``samples`` a pixel."""

    def __init__(self, tile: tuple[int, int], samples: int = 1) -> None:
        super().__init__(tile)
        self._samples = samples

    @property
    def frame_bytes(self) -> int:
        return self.tile[0] * self.tile[1] * self._samples

    def encode(self, strip: Strip, *, reduced: bool = False) -> Frames:
        return _views(_cut(strip, self.tile))


class ShortEncoder(_Native):
    """Samples of 16 bits without sign."""

    vr = b"OW"

    @property
    def frame_bytes(self) -> int:
        return self.tile[0] * self.tile[1] * 2

    def encode(self, strip: Strip, *, reduced: bool = False) -> Frames:
        return _views(_cut(strip.astype("<u2", copy=False), self.tile))


class FloatEncoder(_Native):
    """Samples of 32 bit floating point."""

    element = FLOAT_PIXEL_DATA
    vr = b"OF"

    @property
    def frame_bytes(self) -> int:
        return self.tile[0] * self.tile[1] * 4

    def encode(self, strip: Strip, *, reduced: bool = False) -> Frames:
        return _views(_cut(strip.astype("<f4", copy=False), self.tile))


class _Compressed(_Native):
    encapsulated = True

    def encode(self, strip: Strip, *, reduced: bool = False) -> Frames:
        tiles = _cut(strip, self.tile)
        return [self.encode_frame(tile) if has_values(tile) else None for tile in tiles]

    @abstractmethod
    def encode_frame(self, pixels: npt.NDArray[Any]) -> bytes: ...

    def blank(self) -> bytes:
        return self.encode_frame(np.zeros(self.tile, np.uint8))

    @property
    def frame_bytes(self) -> int:
        return self.tile[0] * self.tile[1]


class JpegLsEncoder(_Compressed):
    """JPEG-LS without loss, 8 bits."""

    transfer_syntax_uid = JPEGLSLossless

    def encode_frame(self, pixels: npt.NDArray[Any]) -> bytes:
        # Noise grows when it is coded; the codec's own guess of its room is too small for that.
        room = 2 * pixels.nbytes + 4096
        return bytes(imagecodecs.jpegls_encode(np.ascontiguousarray(pixels), level=0, out=room))


class JpegEncoder(_Compressed):
    """Baseline JPEG, 8 bits: colour as YCbCr with halved colour columns, or monochrome."""

    transfer_syntax_uid = JPEGBaseline8Bit

    def __init__(self, tile: tuple[int, int], samples: int, quality: int = 90) -> None:
        super().__init__(tile)
        self._samples, self._quality = samples, quality

    @property
    def frame_bytes(self) -> int:
        return self.tile[0] * self.tile[1] * self._samples

    def encode_frame(self, pixels: npt.NDArray[Any]) -> bytes:
        contiguous = np.ascontiguousarray(pixels)
        if self._samples == 1:
            return bytes(imagecodecs.jpeg8_encode(contiguous, level=self._quality))
        return bytes(
            imagecodecs.jpeg8_encode(
                contiguous, level=self._quality, colorspace="RGB", outcolorspace="YCBCR", subsampling="422"
            )
        )

    def blank(self) -> bytes:
        return self.encode_frame(np.zeros((*self.tile, 3) if self._samples == 3 else self.tile, np.uint8))


def has_values(values: npt.NDArray[Any]) -> bool:
    """Whether anything is not zero; bytes are looked at as truth values, many at a time."""
    return bool((values.view(np.bool_) if values.itemsize == 1 else values).any())


def _cut(strip: Strip, tile: tuple[int, int]) -> npt.NDArray[Any]:
    """Return tiles ``(tiles, rows, columns, …)``, filled up with zeros."""
    rows, columns = tile
    across = -(-strip.shape[1] // columns)
    whole = (rows, across * columns)
    if strip.shape[:2] != whole:
        filled = np.zeros((*whole, *strip.shape[2:]), strip.dtype)
        filled[: strip.shape[0], : strip.shape[1]] = strip
        strip = filled
    tiles = strip.reshape(rows, across, columns, *strip.shape[2:])
    return np.ascontiguousarray(tiles.swapaxes(0, 1))


def _views(tiles: npt.NDArray[Any]) -> Frames:
    """Return the bytes of each tile, None for those without a value."""
    flat = tiles.reshape(len(tiles), -1)
    used = np.asarray((flat.view(np.bool_) if flat.itemsize == 1 else flat).any(axis=1))
    data = flat.data.cast("B")
    size = flat.nbytes // len(flat)
    return [data[number * size : (number + 1) * size] if keep else None for number, keep in enumerate(used.tolist())]
