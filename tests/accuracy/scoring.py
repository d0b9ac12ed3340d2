"""How well found nuclei fit known ones."""

import cv2
import numpy as np
from scipy.spatial import cKDTree


def pairs_within(found: np.ndarray, known: np.ndarray, radius: float) -> int:
    """Count one-to-one pairs of points within a radius, the nearest first."""
    if not len(found) or not len(known):
        return 0
    distances = cKDTree(found).sparse_distance_matrix(cKDTree(known), radius, output_type="coo_matrix")
    used_found, used_known = set(), set()
    for at in np.argsort(distances.data, kind="stable"):
        one, other = int(distances.row[at]), int(distances.col[at])
        if one not in used_found and other not in used_known:
            used_found.add(one)
            used_known.add(other)
    return len(used_found)


def f1(found: np.ndarray, known: np.ndarray, radius: float = 5.0) -> float:
    """Return the harmonic mean of precision and recall of points."""
    return 2 * pairs_within(found, known, radius) / max(len(found) + len(known), 1)


def dice(contours: list[np.ndarray], labels: np.ndarray) -> float:
    """Return how well the area of all outlines (whole numbers are pixel centres) fits the labels' foreground."""
    drawn = np.zeros(labels.shape, np.uint8)
    for contour in contours:
        cv2.fillPoly(drawn, [np.rint(contour).astype(np.int32)], [1])
    both = np.count_nonzero(drawn.astype(bool) & (labels > 0))
    return 2 * both / (np.count_nonzero(drawn) + np.count_nonzero(labels))
