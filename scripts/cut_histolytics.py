"""Cut the labelled picture of the package ``histolytics`` into ninths, as a folder that recipes and ``evaluate`` read.

``python scripts/cut_histolytics.py hgsc_nest.jpg hgsc_nest_label.png FOLDER`` writes ``FOLDER/seen`` with the upper
three, which the shipped network was trained on or its thresholds were set by, and ``FOLDER/unseen`` with the others.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

PARTS = 3


def main() -> None:
    picture, labels, out = (Path(argument) for argument in sys.argv[1:])
    with Image.open(picture) as image, Image.open(labels) as numbers:
        pixels, known = np.asarray(image.convert("RGB")), np.asarray(numbers)
    side = pixels.shape[0] // PARTS
    for row in range(PARTS):
        for column in range(PARTS):
            folder = out / ("seen" if row == 0 else "unseen")
            part = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
            for kind, plane in (("images", pixels[part]), ("labels", known[part].astype(np.uint16))):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(plane).save(folder / kind / f"h{row}{column}.png")


if __name__ == "__main__":
    main()
