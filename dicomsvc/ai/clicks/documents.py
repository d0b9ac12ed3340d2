"""What was answered to clicks, as JSON and as GeoJSON (RFC 7946, its coordinates being pixels).

``shift`` is taken off every place: 0.5 for pictures, where whole numbers are pixel centres, 0 for slides.
"""

from typing import Any

import numpy as np

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.clicks.answering import Answers
from dicomsvc.ai.clicks.things import REASONS
from dicomsvc.ai.findings import Instances


def answers_document(answers: Answers, manifest: Manifest, backend: str, shift: float = 0.0) -> dict[str, Any]:
    """Return clicks in their order, and the things that they found, each of them once."""
    return {
        "model": manifest.name,
        "version": manifest.version,
        "weights_sha256": manifest.weights_sha256,
        "backend": backend,
        "clicks": [_click(answers, number, shift) for number in range(len(answers.points))],
        "instances": [_thing(answers.instances, row, manifest, shift) for row in range(len(answers.instances))],
    }


def _click(answers: Answers, number: int, shift: float) -> dict[str, Any]:
    x, y = (round(float(each) - shift, 3) for each in answers.points[number])
    row, nothing = int(answers.things[number]), answers.nothing[number]
    if nothing is None:
        return {"point": [x, y], "instance": row}
    return {"point": [x, y], "instance": None, "nothing": str(nothing), "reason": REASONS[nothing]}


def _thing(instances: Instances, row: int, manifest: Manifest, shift: float) -> dict[str, Any]:
    return {
        "centroid": _places(instances.centroids[row], shift),
        "contour": _places(instances.polygon(row), shift),
        "class": manifest.classes[int(instances.class_index[row])].label,
        "probability": round(float(instances.probability[row]), 4),
        "measurements": {name: round(float(values[row]), 4) for name, values in instances.measurements.items()},
    }


def _places(points: Any, shift: float) -> Any:
    return np.round(points.astype(np.float64) - shift, 2).tolist()


def geojson_document(document: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    """Return a FeatureCollection of the things of `answers_document`, as QuPath and others read them."""
    colours = {each.label: list(each.colour) for each in manifest.classes}
    features = []
    for number, thing in enumerate(document["instances"]):
        ring = [*thing["contour"], thing["contour"][0]]
        clicks = [click["point"] for click in document["clicks"] if click["instance"] == number]
        properties = {
            "objectType": "annotation",
            "classification": {"name": thing["class"], "color": colours[thing["class"]]},
            "measurements": {**thing["measurements"], "probability": thing["probability"]},
            "clicks": clicks,
        }
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    nowhere = [click for click in document["clicks"] if click["instance"] is None]
    head = {name: document[name] for name in ("model", "version", "weights_sha256")}
    return {"type": "FeatureCollection", "features": features, "nothing": nowhere, **head}
