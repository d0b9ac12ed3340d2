"""What is answered: pictures as base64 PNG, and the score."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.deepliif.parameters import Wish
from dicomsvc.ai.ihc.cells import make_table
from dicomsvc.ai.ihc.drawing import draw, grey, hematoxylin_picture, png
from dicomsvc.ai.ihc.engine import FALLBACK, Engine, Stop
from dicomsvc.ai.ihc.maps import MAX_PICTURE_PIXELS, Maps, map_picture
from dicomsvc.ai.ihc.postprocess import Plane, SegPlanes, find_territories
from dicomsvc.ai.pictures import Picture, read_picture
from dicomsvc.errors import BadRequest, NotParseable, TooLarge

Answer = dict[str, Any]


def infer(engine: Engine, path: Path, wish: Wish, model: str | None, stop: Stop) -> bytes:
    """Answer ``/api/infer`` for the picture in a file, as JSON."""
    stop.check()
    picture = _picture(path, "img")
    manifest = engine.model(model)
    maps = map_picture(picture, wish.mpp, manifest, engine.backend(), tell=stop.check)
    stop.check()
    named: dict[str, npt.NDArray[np.uint8]] = {}
    answer: Answer = {}
    if not wish.nopost:
        answer, named = _processed(maps.picture, maps.segmentation, maps.marker, wish)
    stop.check()
    return _json({"images": _encoded(_chosen(maps, named, wish)), **answer, **_told(manifest)})


def postprocess(img: Path, seg_img: Path, marker_img: Path | None, wish: Wish, stop: Stop) -> bytes:
    """Answer ``/api/postprocess`` for pictures in files, as JSON."""
    stop.check()
    picture, shown = _picture(img, "img"), _picture(seg_img, "seg_img")
    marker = None if marker_img is None else _picture(marker_img, "marker_img").max(axis=2)
    for name, other in (("seg_img", shown), ("marker_img", marker)):
        if other is not None and other.shape[:2] != picture.shape[:2]:
            raise BadRequest(
                f"{name} has {other.shape[1]} x {other.shape[0]} pixels, img {picture.shape[1]} x {picture.shape[0]}"
            )
    answer, named = _processed(picture, SegPlanes.of_picture(shown), marker, wish)
    stop.check()
    return _json({"images": _encoded({"SegRefined": named["SegRefined"]} if wish.slim else named), **answer})


def _picture(path: Path, name: str) -> Picture:
    try:
        picture = read_picture(path)
    except NotParseable as error:
        raise BadRequest(f"{name}: {error}") from error
    if picture.shape[0] * picture.shape[1] > MAX_PICTURE_PIXELS:
        raise TooLarge(f"{name} has more than {MAX_PICTURE_PIXELS // 1_000_000} megapixels; import it as a slide")
    return picture


def _processed(
    picture: Picture, segmentation: SegPlanes, marker: Plane | None, wish: Wish
) -> tuple[Answer, dict[str, npt.NDArray[np.uint8]]]:
    found = find_territories(segmentation, wish.mpp)
    thresholds = wish.thresholds
    table = make_table(found, wish.mpp, marker)
    # Without a marker there is nothing to compare with.
    answer = table.answer(thresholds if marker is not None else thresholds.without_marker())
    drawing = draw(found, answer)
    named = {"SegOverlaid": drawing.overlaid(picture), "SegRefined": drawing.refined()}
    return {"scoring": answer.scoring()}, named


def _chosen(maps: Maps, named: dict[str, npt.NDArray[np.uint8]], wish: Wish) -> dict[str, npt.NDArray[np.uint8]]:
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


def _encoded(pictures: dict[str, npt.NDArray[np.uint8]]) -> dict[str, str]:
    return {name: base64.b64encode(png(each)).decode("ascii") for name, each in pictures.items()}


def _json(answer: Answer) -> bytes:
    # Made in the worker's thread: hundreds of megabytes would hold the event loop for seconds.
    return json.dumps(answer).encode()


def _told(manifest: Manifest) -> Answer:
    """Return what the contract does not have: by which model, and whether its score may be used."""
    final = manifest.name != FALLBACK
    warnings = [] if final else [f"{manifest.title}: a fallback by rule, whose score is not final"]
    return {"model": {"name": manifest.name, "version": manifest.version, "final": final}, "warnings": warnings}
