"""What is answered: pictures as base64 PNG, and the score."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomsvc.ai.deepliif.parameters import Wish
from dicomsvc.ai.ihc.assessment import is_fallback
from dicomsvc.ai.ihc.cells import Answer as CellAnswer
from dicomsvc.ai.ihc.cells import CellTable, make_table
from dicomsvc.ai.ihc.checking import cell_warnings, check_picture
from dicomsvc.ai.ihc.drawing import draw, grey, hematoxylin_picture, png
from dicomsvc.ai.ihc.engine import Engine, Stop
from dicomsvc.ai.ihc.maps import MAX_PICTURE_PIXELS, Maps, map_picture
from dicomsvc.ai.ihc.postprocess import Plane, SegPlanes, find_territories
from dicomsvc.ai.ihc.presets import DEFAULT, preset_named
from dicomsvc.ai.pictures import Picture, read_picture
from dicomsvc.errors import BadRequest, NotParseable, TooLarge


@dataclass(frozen=True, slots=True)
class Pictures:
    """The files that ``/api/postprocess`` gets."""

    img: Path
    seg_img: Path
    marker_img: Path | None


@dataclass(frozen=True, slots=True, eq=False)
class _Processed:
    table: CellTable
    answer: CellAnswer
    images: dict[str, Picture]


def infer(engine: Engine, path: Path, wish: Wish, model: str | None, stop: Stop) -> bytes:
    """Answer ``/api/infer`` for the picture in a file, as JSON.

    Raises
    ------
    UnfitSlide
        When a score is asked for and the picture is no immunohistochemistry.
    """
    stop.check()
    picture = _picture(path, "img")
    warnings = () if wish.nopost else check_picture(picture)
    manifest = engine.model(model)
    told = {"name": manifest.name, "version": manifest.version, "final": not is_fallback(manifest)}
    with engine.room(picture.shape[0] * picture.shape[1], stop):
        maps = map_picture(picture, wish.mpp, manifest, engine.backend(), tell=stop.check)
        stop.check()
        if wish.nopost:
            return _json({"images": _encoded(_chosen(maps, {}, wish)), "model": told})
        done = _processed(picture, maps.segmentation, maps.marker, wish, maps.hematoxylin)
        warnings += cell_warnings(done.table, done.answer, preset_named(DEFAULT), manifest)
        stop.check()
        images = _encoded(_chosen(maps, done.images, wish))
    return _json({"images": images, "scoring": done.answer.scoring(), "model": told, "warnings": warnings})


def postprocess(engine: Engine, pictures: Pictures, wish: Wish, stop: Stop) -> bytes:
    """Answer ``/api/postprocess`` for pictures in files, as JSON."""
    stop.check()
    picture, shown = _picture(pictures.img, "img"), _picture(pictures.seg_img, "seg_img")
    marker = None if pictures.marker_img is None else _picture(pictures.marker_img, "marker_img").max(axis=2)
    for name, other in (("seg_img", shown), ("marker_img", marker)):
        if other is not None and other.shape[:2] != picture.shape[:2]:
            raise BadRequest(
                f"{name} has {other.shape[1]} x {other.shape[0]} pixels, img {picture.shape[1]} x {picture.shape[0]}"
            )
    with engine.room(picture.shape[0] * picture.shape[1], stop):
        done = _processed(picture, SegPlanes.of_picture(shown), marker, wish)
        stop.check()
        images = _encoded({"SegRefined": done.images["SegRefined"]} if wish.slim else done.images)
    return _json({"images": images, "scoring": done.answer.scoring()})


def _picture(path: Path, name: str) -> Picture:
    try:
        picture = read_picture(path)
    except NotParseable as error:
        raise BadRequest(f"{name}: {error}") from error
    if picture.shape[0] * picture.shape[1] > MAX_PICTURE_PIXELS:
        raise TooLarge(f"{name} has more than {MAX_PICTURE_PIXELS // 1_000_000} megapixels; import it as a slide")
    return picture


def _processed(
    picture: Picture, segmentation: SegPlanes, marker: Plane | None, wish: Wish, hematoxylin: Plane | None = None
) -> _Processed:
    found = find_territories(segmentation, wish.mpp)
    table = make_table(found, wish.mpp, marker, hematoxylin)
    # Without a marker there is nothing to compare with.
    answer = table.answer(wish.thresholds if marker is not None else wish.thresholds.without_marker())
    drawing = draw(found, answer)
    return _Processed(table, answer, {"SegOverlaid": drawing.overlaid(picture), "SegRefined": drawing.refined()})


def _chosen(maps: Maps, named: Mapping[str, Picture], wish: Wish) -> dict[str, Picture]:
    if wish.slim:
        return {"SegRefined": named["SegRefined"]} if named else {"Seg": maps.segmentation.picture()}
    return {
        "Hema": hematoxylin_picture(maps.hematoxylin),
        "DAPI": grey(maps.dapi),
        "Lap2": grey(maps.lap2),
        "Marker": grey(maps.marker),
        "Seg": maps.segmentation.picture(),
        **named,
    }


def _encoded(pictures: Mapping[str, Picture]) -> dict[str, str]:
    return {name: base64.b64encode(png(each)).decode("ascii") for name, each in pictures.items()}


def _json(answer: Mapping[str, Any]) -> bytes:
    # Made in the worker's thread: hundreds of megabytes would hold the event loop for seconds.
    return json.dumps(answer).encode()
