"""Layers out of stored result series."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt
from pydicom.uid import (
    MicroscopyBulkSimpleAnnotationsStorage,
    ParametricMapStorage,
    SegmentationStorage,
)

from dicomsvc.ai.overlay.layers import AnnotationLayer, Layer, MapLayer, PlacedImage, Pyramid, SegmentLayer, Values
from dicomsvc.ai.overlay.view import SlidePlane
from dicomsvc.dicom.json import metadata_dataset
from dicomsvc.errors import Conflict
from dicomsvc.objects.annotations import AnnotationGroup, read_annotations
from dicomsvc.objects.colour import srgb_colour
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.wsi.attributes import Dataset, first, integer, item, items, number, numbers, text
from dicomsvc.wsi.codecs import Pixels
from dicomsvc.wsi.image import StoredImage, open_image
from dicomsvc.wsi.slide import Slide

_FRAME_OF_REFERENCE = "00200052"
_LABELMAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
SEGMENTATIONS = (str(SegmentationStorage), _LABELMAP_STORAGE)
_COLOURS = ((0, 158, 115), (213, 94, 0), (0, 114, 178), (204, 121, 167), (230, 159, 0), (86, 180, 233))
"""For segments that recommend none; told apart by the colour blind (Okabe and Ito)."""


def stored_layers(store: Store, slide: Slide, study_instance_uid: str, series: Sequence[str]) -> list[Layer]:
    """Return what can be drawn of result series: maps below, then segments, annotations on top.

    Raises
    ------
    NotFound
        When a series is not stored.
    Conflict
        When an object is about another slide.
    DicomsvcError
        When an object cannot be read.
    """
    plane = SlidePlane(slide.levels[0])
    records = [record for uid in series for record in store.instances.find(study_instance_uid, uid)]
    images: dict[tuple[object, ...], list[StoredImage]] = defaultdict(list)
    annotations: list[Layer] = []
    for record, metadata in store.instances.metadata(records):
        _require_same_slide(record, metadata_dataset(metadata, ""), slide)
        if record.sop_class_uid in (*SEGMENTATIONS, str(ParametricMapStorage)) and record.number_of_frames:
            image = open_image(store, record, metadata)
            images[same_object(image)].append(image)
        elif record.sop_class_uid == MicroscopyBulkSimpleAnnotationsStorage:
            annotations += _annotation_layers(record, metadata_dataset(metadata, ""), slide, plane)
    maps: list[Layer] = []
    segments: list[Layer] = []
    for levels in images.values():
        levels.sort(key=lambda image: -image.columns * image.rows)
        placed = tuple(PlacedImage(image, plane.placing(image)) for image in levels)
        if levels[0].record.sop_class_uid in SEGMENTATIONS:
            segments += _segment_layers(placed, len(segments))
        else:
            maps.append(_map_layer(placed))
    return list(chain(maps, segments, annotations))


def _require_same_slide(record: InstanceRecord, ds: Dataset, slide: Slide) -> None:
    frames = text(ds, _FRAME_OF_REFERENCE), text(slide.levels[0].dataset, _FRAME_OF_REFERENCE)
    if all(frames) and frames[0] != frames[1]:
        raise _about_another(record)


def _about_another(record: InstanceRecord) -> Conflict:
    return Conflict(f"instance {record.sop_instance_uid} is about another slide than the one to be drawn")


def same_object(image: StoredImage) -> tuple[object, ...]:
    """Return what the levels of one pyramid have in common."""
    ds = image.dataset
    labels = tuple(text(each, "00620005") for each in items(ds, "00620002"))
    kind = (image.record.series_instance_uid, image.record.sop_class_uid, text(ds, "00620001"))
    return (*kind, text(ds, "00080019"), labels, text(_mapping(ds), "00409210"))


def _segment_layers(levels: tuple[PlacedImage, ...], before: int) -> Iterator[SegmentLayer]:
    for segment, value, channel in segment_values(levels[0].image.dataset):
        recommended = [int(part) for part in numbers(segment, "0062000D")]
        colour = srgb_colour(recommended) if len(recommended) == 3 else _COLOURS[(before + channel) % len(_COLOURS)]
        yield SegmentLayer(text(segment, "00620005"), colour, Pyramid(levels, value, channel))


def segment_values(ds: Dataset) -> Iterator[tuple[Dataset, Callable[[Pixels], Values], int]]:
    """Yield each segment but a label map's background, what makes shares of 1 of stored values, and its channel."""
    highest = float(max(1, integer(ds, "0062000E", 1))) if text(ds, "00620001") == "FRACTIONAL" else 1.0
    is_labelmap = text(ds, "00620001") == "LABELMAP"
    for channel, segment in enumerate(items(ds, "00620002")):
        segment_number = integer(segment, "00620004", channel + 1)
        if is_labelmap and segment_number == 0:
            continue
        value = partial(_is_label, segment_number) if is_labelmap else partial(_share, highest)
        yield segment, value, 0 if is_labelmap else channel


def _share(highest: float, pixels: Pixels) -> Values:
    return pixels.astype(np.float32) / np.float32(highest)


def _is_label(wanted: int, pixels: Pixels) -> Values:
    chosen: Values = (pixels == wanted).astype(np.float32)
    return chosen


def _as_stored(pixels: Pixels) -> Values:
    return pixels.astype(np.float32)


def _mapping(ds: Dataset) -> Dataset:
    """Return the first Real World Value Mapping Sequence item (PS3.3 C.7.6.16.2.11)."""
    return item(ds, "52009229", "00409096") or item(ds, "52009230", "00409096")


def _map_layer(levels: tuple[PlacedImage, ...]) -> MapLayer:
    ds = levels[0].image.dataset
    mapping = _mapping(ds)
    slope, intercept = number(mapping, "00409225", 1.0), number(mapping, "00409224", 0.0)
    ends = [first(mapping, "00409214"), first(mapping, "00409213")]
    if not all(isinstance(end, int | float) for end in ends):
        ends = [first(mapping, "00409216"), first(mapping, "00409211")]
    lowest, highest = sorted(float(end) for end in ends) if None not in ends else (0.0, 1.0)
    unit = text(item(mapping, "004008EA"), "00080100")
    name = text(mapping, "00409210") or text(mapping, "00282003") or "Map"
    scale = sorted((lowest * slope + intercept, highest * slope + intercept))
    label = f"{name}: {scale[0]:g} to {scale[1]:g} {'' if unit == '1' else unit}".rstrip()
    return MapLayer(label, lowest, highest, Pyramid(levels, _as_stored))


def _annotation_layers(record: InstanceRecord, ds: Dataset, slide: Slide, plane: SlidePlane) -> Iterator[Layer]:
    referenced = text(item(ds, "00081140"), "00081155")
    level = next((each for each in slide.levels if each.record.sop_instance_uid == referenced), None)
    factor = plane.placing(level or slide.levels[0]).factor

    def from_pixels(points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        return np.asarray(points, np.float64) * factor

    for group in read_annotations(record.readable_path()):
        if level is None and not _is_spatial(group):
            raise _about_another(record)
        if len(group):
            yield AnnotationLayer(group, plane.from_mm if _is_spatial(group) else from_pixels)


def _is_spatial(group: AnnotationGroup) -> bool:
    return int(group.points.shape[1]) == 3
