"""Nuclei as HistomicsTK finds them, as JSON lines for ``dicomsvc evaluate --predictions``.

Runs where the package ``histomicstk`` (1.4.0, Apache-2.0) is installed, an environment of its own will do::

    python benchmarks/nuclei_peer.py FOLDER --mpp 0.25 --out peer.jsonl
    dicomsvc evaluate nuclei --folder FOLDER --mpp 0.25 --predictions "HistomicsTK 1.4.0=peer.jsonl"

The pipeline is that of its NucleiDetection program with that program's defaults: Reinhard normalisation, colour
deconvolution, threshold, multi-scale Laplacian of Gaussian, local maximum clustering, at 20x (0.5 um a pixel).
"""

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

_MPP = 0.5
_REFERENCE_MEAN = (8.63234435, -0.11501964, 0.03868433)
_REFERENCE_DEVIATION = (0.57506023, 0.10403329, 0.01364062)
_FOREGROUND, _RADII, _SEARCH_RADIUS, _LEAST_AREA = 60, (6, 20), 10, 80


def segmented(pixels: Any) -> Any:
    """Return the number of the nucleus in each pixel of an H&E picture of 0.5 um a pixel."""
    deconvolution: Any = import_module("histomicstk.preprocessing.color_deconvolution")
    normalization: Any = import_module("histomicstk.preprocessing.color_normalization")
    nuclear: Any = import_module("histomicstk.segmentation.nuclear")

    normalised = normalization.reinhard(pixels, _REFERENCE_MEAN, _REFERENCE_DEVIATION)
    stains = np.array([deconvolution.stain_color_map[name] for name in ("hematoxylin", "eosin", "null")]).T
    dark = deconvolution.color_deconvolution(normalised, stains).Stains[:, :, 0].astype(float)
    return nuclear.detect_nuclei_kofahi(dark, dark < _FOREGROUND, *_RADII, _LEAST_AREA, _SEARCH_RADIUS)


def instances(labels: Any, scale: float) -> list[dict[str, Any]]:
    """Return centroids and outlines in pixels of the picture, ``scale`` of its pixels a pixel of the labels."""
    found = []
    for number in np.unique(labels[labels > 0]).tolist():
        mask = (labels == number).astype(np.uint8)
        rows, columns = np.nonzero(mask)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outline = max(outlines, key=len)[:, 0, :].astype(float)
        middle = np.array([columns.mean(), rows.mean()])
        # The outline runs through pixel centres: half a pixel more is where the pixels end.
        away = outline - middle
        outline = outline + 0.5 * away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
        placed = [((points + 0.5) * scale - 0.5).round(2).tolist() for points in (middle, outline)]
        found.append({"centroid": placed[0], "contour": placed[1]})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Nuclei as HistomicsTK finds them.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mpp", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    with given.out.open("w", encoding="utf-8") as out:
        for file in sorted((given.folder / "images").iterdir()):
            with Image.open(file) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            size = [max(1, round(side * given.mpp / _MPP)) for side in (pixels.shape[1], pixels.shape[0])]
            way = cv2.INTER_AREA if given.mpp < _MPP else cv2.INTER_CUBIC
            found = instances(segmented(cv2.resize(pixels, size, interpolation=way)), pixels.shape[1] / size[0])
            out.write(json.dumps({"image": str(file), "instances": found}) + "\n")
            print(f"{file.name}: {len(found)}")


if __name__ == "__main__":
    main()
