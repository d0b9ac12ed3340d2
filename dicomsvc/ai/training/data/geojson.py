"""Reads outlines that QuPath exports as GeoJSON (RFC 7946), with the class of each."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from dicomsvc.ai.training.data.marks import NO_CLASS, Mark, Ring, disc, make_mark
from dicomsvc.errors import BadRequest

_MAX_BYTES: Final = 1 << 29


def read_geojson(file: Path, point_radius: tuple[float, float] | None = None) -> tuple[list[Mark], Counter[str]]:
    """Return the outlines of a file, and how many were left out, by reason.

    Takes a FeatureCollection, one Feature, or QuPath's plain list of Features. Points become discs of
    ``point_radius`` slide pixels, (x, y), or are left out.

    Raises
    ------
    BadRequest
        When the file cannot be read, or is no GeoJSON.
    """
    left_out: Counter[str] = Counter()
    marks = []
    for feature in _features(file):
        rings, reason = _rings(feature.get("geometry"), point_radius)
        mark = make_mark(_label(feature), None, rings) if rings else None
        if mark is None:
            left_out[reason or "outline that encloses nothing"] += 1
        else:
            marks.append(mark)
    return marks, left_out


def _features(file: Path) -> list[Mapping[str, Any]]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise BadRequest(f"{file} is larger than {_MAX_BYTES >> 20} MB")
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{file} is no JSON: {type(error).__name__}") from error
    if isinstance(document, dict):
        document = document.get("features") if document.get("type") == "FeatureCollection" else [document]
    if not isinstance(document, list) or not all(
        isinstance(each, dict) and each.get("type") == "Feature" for each in document
    ):
        raise BadRequest(f"{file} is no GeoJSON of features")
    return document


def _label(feature: Mapping[str, Any]) -> str:
    """Return QuPath's classification, else a ``class`` or ``label`` property."""
    properties = feature.get("properties")
    if not isinstance(properties, dict):
        return NO_CLASS
    found = properties.get("classification")
    if isinstance(found, dict):
        names = found.get("names")
        found = found.get("name") or (": ".join(map(str, names)) if isinstance(names, list) else None)
    for each in (found, properties.get("class"), properties.get("label")):
        if isinstance(each, str) and each.strip():
            return each.strip()
    return NO_CLASS


def _rings(geometry: Any, point_radius: tuple[float, float] | None) -> tuple[list[Ring], str]:
    """Return the rings of a geometry, or why there are none."""
    described: Mapping[str, Any] = geometry if isinstance(geometry, dict) else {}
    kind, places = described.get("type"), described.get("coordinates", ())
    try:
        if kind == "Polygon":
            return [_ring(each) for each in places], ""
        if kind == "MultiPolygon":
            return [_ring(each) for polygon in places for each in polygon], ""
        if kind in ("Point", "MultiPoint"):
            if point_radius is None:
                return [], "point, and no size for points was given"
            centres = [places] if kind == "Point" else places
            return [disc(each, point_radius) for each in _points(centres)], ""
    except (TypeError, ValueError, IndexError):
        return [], "geometry that cannot be read"
    return [], f"geometry of type {kind if kind in ('LineString', 'MultiLineString') else 'unknown'}"


def _points(places: Any) -> Iterator[Ring]:
    for place in places:
        yield np.array([float(place[0]), float(place[1])])


def _ring(places: Any) -> Ring:
    return np.array([(float(place[0]), float(place[1])) for place in places], np.float64).reshape(-1, 2)
