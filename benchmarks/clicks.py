"""Outlines at clicks, and outlines of all things with a click model's: ``nuclick`` against what needs no network.

Run ``python -m benchmarks.clicks FOLDER --mpp 0.25 [--group NAME]... [--fold N]... [--finder nuclei]`` on pictures with
instance labels (``images/ID.png``, ``labels/ID.png``) that nobody trained on. Each nucleus gets one click: at its
centre, beside it, or at its border; Dice counts 0 where nothing is answered, hits are clicks whose outline has an IoU
above 0.5. Peer: hematoxylin above Otsu's threshold around the click, cut between the clicks by a watershed.
Then the finding model's outlines against those that the click model draws of the same things. Intervals are 95 %, by
drawing the pictures anew. All in one process and thread, by ONNX Runtime.
"""

import argparse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.catalogue.reading import read_manifest
from dicomsvc.ai.catalogue.repository import shipped_folder
from dicomsvc.ai.clicks.redrawing import check_pair, redrawn_by
from dicomsvc.ai.decoding import Decoder
from dicomsvc.ai.images import analyse_picture, describe
from dicomsvc.ai.inference import InProcessBackend
from dicomsvc.ai.training.labelled import Labelled, read_folder
from dicomsvc.ai.training.nuclick.clicking import Aim
from dicomsvc.ai.training.nuclick.measuring import (
    ClickFigures,
    Draw,
    Share,
    by_model,
    by_watershed,
    false_answers,
    measure,
)
from dicomsvc.ai.training.scoring import Measured, measured, score
from dicomsvc.wsi.plan import TilePlan

Around = Callable[[Decoder, float, TilePlan], Decoder]
AIMS = (Aim.CENTRE, Aim.JITTERED, Aim.EDGE)
MEASURES = ("f1", "dice", "aji", "pq")


def shown(value: Share | Measured) -> str:
    return f"{value.value:.3f} ({value.interval[0]:.3f}-{value.interval[1]:.3f})"


def clicks(draws: dict[str, Draw], pictures: list[Labelled], mpp: float) -> None:
    """Print a line for each place of the click, each way to draw, with and without the others' clicks."""
    print(f"{'drawn by':12}{'click':10}{'others':9}{'nuclei':>7}{'Dice':>22}{'IoU > 0.5':>22}{'no answer':>11}")
    for told in (True, False):
        for aim in AIMS:
            found: dict[str, ClickFigures] = {}
            for name, draw in draws.items():
                found[name] = each = measure(draw, pictures, mpp, aim, told=told)
                print(
                    f"{name:12}{aim:10}{'known' if told else 'unknown':9}{each.nuclei:7}{shown(each.dice):>22}"
                    f"{shown(each.hits):>22}{each.unanswered:11.3f}",
                    flush=True,
                )
            ours, peer = found.values()
            print(
                f"{'ratio':12}{'':26}{ours.dice.value / peer.dice.value:22.3f}{ours.hits.value / peer.hits.value:22.3f}"
            )


def automatic(
    finder: Manifest, drawer: Manifest, backend: InProcessBackend, pictures: list[Labelled], mpp: float
) -> None:
    """Print a line for the finding model alone, and one for it with the click model's outlines."""
    check_pair(finder, drawer)
    print(f"{'outlines by':22}" + "".join(f"{name:>22}" for name in MEASURES))
    as_found: Around = lambda inner, mpp, plan: inner  # noqa: E731 - one of two of a kind
    ways = {finder.name: as_found, f"{finder.name} + {drawer.name}": redrawn_by(drawer, backend)}
    for name, around in ways.items():
        counts = []
        for sample in pictures:
            found = analyse_picture(sample.pixels, mpp, finder, backend, around=around)
            counts.append(score(describe(found, finder)["instances"], sample.labels))
        figures = measured(counts)
        print(f"{name:22}" + "".join(f"{shown(figures[each]):>22}" for each in MEASURES), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mpp", type=float, required=True)
    parser.add_argument("--group", action="append", default=[])
    parser.add_argument("--fold", action="append", type=int, default=[])
    parser.add_argument("--model", default="nuclick")
    parser.add_argument("--finder", default="nuclei")
    wanted = parser.parse_args()
    models = shipped_folder()
    drawer, finder = (read_manifest(models / name)[-1] for name in (wanted.model, wanted.finder))
    pictures = list(read_folder(wanted.folder, wanted.group, wanted.fold or range(5)))
    with closing(InProcessBackend(models)) as backend:
        draws = {wanted.model: by_model(drawer, backend, wanted.mpp), "watershed": by_watershed(wanted.mpp)}
        clicks(draws, pictures, wanted.mpp)
        nothing = false_answers(drawer, backend, pictures, wanted.mpp)
        print(f"clicks 3 um or more off any labelled nucleus: {nothing['clicks']}, answered {nothing['answered']:.3f}")
        automatic(finder, drawer, backend, pictures, wanted.mpp)


if __name__ == "__main__":
    main()
