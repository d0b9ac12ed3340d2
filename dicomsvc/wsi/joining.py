"""Instances that are one image together: parts of a concatenation, optical paths, focal planes.

Many writers make an instance for each optical path and each focal plane of a level, and split large ones into
concatenations (PS3.3 C.7.6.16.2.2.4). Whoever looks at the slide as a whole wants one image for each level.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import accumulate
from operator import attrgetter
from typing import Any, Final

import numpy as np

from dicomsvc.errors import UnfitSlide
from dicomsvc.wsi.attributes import Dataset, integer, item, items, number, text
from dicomsvc.wsi.codecs import Pixels
from dicomsvc.wsi.frame_reader import FrameReader
from dicomsvc.wsi.image import StoredImage
from dicomsvc.wsi.tiling import Tiling, as_sparse

_CONCATENATION: Final = "00209161"
_FRAME_OFFSET: Final = "00209228"
_PARTS: Final = "00209163"
_OPTICAL_PATHS: Final = "00480105"
_PER_FRAME: Final = "52009230"


class JoinedFrames(FrameReader):
    """The frames of several instances, numbered on from one to the next; described by the first one's index."""

    __slots__ = ("_ends", "_parts")

    def __init__(self, parts: Sequence[FrameReader]) -> None:
        super().__init__(parts[0].record, parts[0].index)
        self._parts = tuple(parts)
        self._ends = tuple(accumulate(part.index.number_of_frames for part in parts))

    def encoded(self, frame_number: int) -> bytes:
        part, own = self._find(frame_number)
        return part.encoded(own)

    def decoded(self, frame_number: int) -> Pixels:
        part, own = self._find(frame_number)
        return part.decoded(own)

    def _find(self, frame_number: int) -> tuple[FrameReader, int]:
        for part, end in zip(self._parts, self._ends, strict=True):
            if frame_number <= end:
                return part, frame_number - end + part.index.number_of_frames
        return self._parts[-1], frame_number


def joined(levels: Sequence[StoredImage]) -> list[StoredImage]:
    """Return one image for each size, in the order that sizes are met in.

    Of focal planes the middle one is taken; optical paths of one sample become channels of one image.

    Raises
    ------
    UnfitSlide
        When a part of a concatenation is missing.
    """
    return [_joined_paths(_whole(group)) for group in _grouped(levels, lambda image: (image.columns, image.rows))]


def _grouped(images: Sequence[StoredImage], key: Any) -> list[list[StoredImage]]:
    groups: dict[Hashable, list[StoredImage]] = defaultdict(list)
    for image in images:
        groups[key(image)].append(image)
    return list(groups.values())


def _whole(images: Sequence[StoredImage]) -> list[StoredImage]:
    """Join the parts of concatenations."""
    groups = _grouped(images, lambda image: text(image.dataset, _CONCATENATION) or image.record.sop_instance_uid)
    return [_joined_parts(group) if text(group[0].dataset, _CONCATENATION) else group[0] for group in groups]


def _joined_parts(parts: list[StoredImage]) -> StoredImage:
    parts.sort(key=lambda part: integer(part.dataset, _FRAME_OFFSET, 0))
    counts = [part.reader.index.number_of_frames for part in parts]
    offsets = [integer(part.dataset, _FRAME_OFFSET, -1) for part in parts]
    expected = integer(parts[0].dataset, _PARTS, len(parts))
    if offsets != [0, *accumulate(counts[:-1])] or len(parts) != expected:
        raise UnfitSlide(
            f"instance {parts[0].record.sop_instance_uid} is part of a concatenation of {expected}, "
            f"of which {len(parts)} are stored; send all of them"
        )
    tiling = parts[0].tiling
    if tiling.sparse is not None:
        found = [part.tiling.sparse for part in parts if part.tiling.sparse is not None]
        tiling = replace(tiling, sparse=np.concatenate(found))
    return replace(parts[0], reader=JoinedFrames([part.reader for part in parts]), tiling=tiling)


def _joined_paths(images: Sequence[StoredImage]) -> StoredImage:
    """Join optical paths; the first image's alone where there are several in colour."""
    chosen = [_middle(group) for group in _grouped(images, attrgetter("tiling.channels"))]
    first = chosen[0]
    if len(chosen) == 1 or first.reader.index.samples_per_pixel != 1:
        return first
    chosen.sort(key=lambda image: integer(image.dataset, "00200013", 0))
    described = [path for image in chosen for path in items(image.dataset, _OPTICAL_PATHS)]
    dataset = {**chosen[0].dataset, _OPTICAL_PATHS: {"vr": "SQ", "Value": described}}
    reader = JoinedFrames([image.reader for image in chosen])
    return replace(chosen[0], reader=reader, tiling=_one_tiling(chosen), dataset=dataset)


def _one_tiling(images: Sequence[StoredImage]) -> Tiling:
    """Return the tiling of all frames together."""
    first = images[0].tiling
    channels = tuple(channel for image in images for channel in image.tiling.channels)
    placed, before = [], 0
    for image in images:
        sparse = as_sparse(image.tiling, image.reader.index.number_of_frames)
        placed.append(np.column_stack([sparse[:, :2], np.where(sparse[:, 2] < 0, -1, sparse[:, 2] + before)]))
        before += len(image.tiling.channels)
    return replace(first, channels=channels, focal_planes=1, sparse=np.concatenate(placed))


def _middle(planes: list[StoredImage]) -> StoredImage:
    planes.sort(key=lambda image: (_height(image.dataset), integer(image.dataset, "00200013", 0)))
    return planes[len(planes) // 2]


def _height(ds: Dataset) -> float:
    """Return where along the optical axis an image lies."""
    first_frame = items(ds, _PER_FRAME)[:1]
    position = item(first_frame[0], "0048021A") if first_frame else item(ds, "00480008")
    return number(position, "0040074A", 0.0)
