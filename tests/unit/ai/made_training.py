"""Made fluorescence: bright spotted ellipses on black, with their labels."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dicomsvc.ai.training.labelled import Labelled

CMU = Path(__file__).parents[2] / "data" / "CMU-1-Small-Region.svs"


def fluorescence(seed: int, side: int = 160) -> Labelled:
    chance = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.int32)
    number = 0
    for row in range(20, side - 10, 34):
        for column in range(20, side - 10, 34):
            number += 1
            axes = tuple(int(value) for value in chance.integers(8, 13, 2))
            cv2.ellipse(labels, (column, row), axes, float(chance.uniform(0, 180)), 0, 360, number, -1)
    grain = cv2.GaussianBlur(chance.uniform(0.5, 1.5, labels.shape), (0, 0), 1.5)
    grey = np.clip((labels > 0) * 140 * grain + 8, 0, 255).astype(np.uint8)
    return Labelled(f"made{seed}", np.repeat(grey[..., None], 3, 2), labels)


def write(folder: Path, samples: list[Labelled]) -> None:
    """Write pictures and labels as a recipe reads them."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for sample in samples:
        Image.fromarray(sample.pixels).save(folder / "images" / f"{sample.name}.png")
        Image.fromarray(sample.labels.astype(np.uint16)).save(folder / "labels" / f"{sample.name}.png")
