"""Cells as GeoJSON and CSV, and all results of a region as one ZIP."""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from dicomsvc.ai.ihc.drawing import (
    NEGATIVE_COLOUR,
    POSITIVE_COLOUR,
    cell_outlines,
    grey,
    hematoxylin_picture,
    png,
)
from dicomsvc.ai.ihc.regions.edits import Line
from dicomsvc.ai.ihc.regions.region import Points, Region
from dicomsvc.ai.ihc.regions.review import Review, drawing_of

_OD: Final = 2.0 / 255
_CLASSES: Final = {True: ("Positive", POSITIVE_COLOUR), False: ("Negative", NEGATIVE_COLOUR)}
_COLUMNS: Final = (
    *("cell", "class", "x", "y", "area_um2", "positive_pixels", "negative_pixels"),
    *("highest_marker_od", "mean_marker_od", "ring_marker_od", "mean_hematoxylin_od", "origin"),
)
Row = dict[str, Any]


def rows(region: Region, seen: Review) -> Iterator[Row]:
    """Yield what is known of each cell that counts; ``x`` and ``y`` are slide pixels (a picture's own, where sent)."""
    table, answer, card = region.table, seen.answer, region.card
    cells = np.flatnonzero(answer.counted)
    places = card.to_slide(table.centroids[cells])
    for cell, (x, y) in zip(cells.tolist(), places.tolist(), strict=True):
        yield {
            "cell": cell + 1,
            "class": _CLASSES[bool(answer.positive[cell])][0],
            "x": round(x, 2),
            "y": round(y, 2),
            "area_um2": round(int(answer.area[cell]) * table.mpp**2, 2),
            "positive_pixels": int(table.above_positive[answer.prob, cell]),
            "negative_pixels": int(table.above_negative[answer.prob, cell]),
            "highest_marker_od": round(float(table.highest_marker[answer.prob, cell]) * _OD, 3),
            "mean_marker_od": round(float(table.mean_marker[cell]) * _OD, 3),
            "ring_marker_od": round(float(table.ring_marker[cell]) * _OD, 3),
            "mean_hematoxylin_od": round(float(table.mean_hematoxylin[cell]) * _OD, 3),
            "origin": "model, class by a person" if cell + 1 in seen.edits.positive else "model",
        }
    for number, added in seen.added.items():
        outline = np.array(added.outline, np.float32)
        x, y = card.to_slide(outline.mean(axis=0)[np.newaxis])[0].tolist()
        area = cv2.contourArea(outline) * card.mpp**2
        yield {
            **dict.fromkeys(_COLUMNS, ""),
            **{"cell": number, "class": _CLASSES[added.positive][0], "x": round(x, 2), "y": round(y, 2)},
            **{"area_um2": round(area, 2), "origin": "person"},
        }


def geojson(region: Region, seen: Review) -> dict[str, Any]:
    """Return the cells that count as polygons in slide pixels, as QuPath and others read them."""
    outlines = dict(
        cell_outlines(region.found, region.table, seen.answer.prob, np.flatnonzero(seen.answer.counted).tolist())
    )
    features = []
    for row in rows(region, seen):
        cell = int(row["cell"])
        outline: Points = np.array(seen.added[cell].outline) if cell in seen.added else outlines[cell - 1]
        features.append(_feature(row, np.round(region.card.to_slide(outline), 2).tolist()))
    return {"type": "FeatureCollection", "features": features}


def _feature(row: Row, ring: Sequence[list[float]]) -> dict[str, Any]:
    name, colour = _CLASSES[row["class"] == "Positive"]
    properties = {key: value for key, value in row.items() if value != ""}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "properties": {
            **properties,
            "objectType": "detection",
            "classification": {"name": name, "color": list(colour)},
        },
    }


def csv_text(region: Region, seen: Review) -> str:
    """Return the cells that count as a table."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(region, seen))
    return stream.getvalue()


def write_zip(
    path: Path, region: Region, seen: Review, changes: Sequence[Line], check: Callable[[], None] = lambda: None
) -> None:
    """Write all results; ``check`` is called between them, and may raise to stop."""
    maps, drawing = region.maps, drawing_of(region, seen)
    pictures: dict[str, Callable[[], Any]] = {
        "Original": lambda: maps.picture,
        "Hema": lambda: hematoxylin_picture(maps.hematoxylin),
        "DAPI": lambda: grey(maps.dapi),
        "Lap2": lambda: grey(maps.lap2),
        "Marker": lambda: grey(maps.marker),
        "Seg": maps.segmentation.picture,
        "SegOverlaid": lambda: drawing.overlaid(maps.picture),
        "SegRefined": drawing.refined,
    }
    texts: dict[str, Callable[[], str]] = {
        "scoring.json": lambda: json.dumps(seen.scoring(), indent=1),
        "region.json": lambda: json.dumps(region.card.document(), indent=1),
        "edits.json": lambda: json.dumps(list(changes), indent=1),
        "cells.csv": lambda: csv_text(region, seen),
        "cells.geojson": lambda: json.dumps(geojson(region, seen)),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for name, text in texts.items():
            check()
            archive.writestr(name, text())
        for name, picture in pictures.items():
            check()
            archive.writestr(zipfile.ZipInfo(f"{name}.png"), png(picture()))
