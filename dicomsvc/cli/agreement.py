"""``dicomsvc agreement``: how far annotators agree, and what most of them say."""

from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsvc.cli.output import JsonFlag, emit, progress_bar

if TYPE_CHECKING:
    from dicomsvc.ai.agreement.comparing import RatingsReport, ThingsReport
    from dicomsvc.ai.agreement.files import FilesReport
    from dicomsvc.ai.agreement.kappa import Agreement


def agreement(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="One of each annotator: folders with labels/, .geojson, or .csv."),
    ],
    consensus: Annotated[
        Path | None, typer.Option("--consensus", help="Where to write what most say, as the same kind of file.")
    ] = None,
    least_iou: Annotated[
        float, typer.Option("--iou", min=0.01, max=1, help="Overlap from which two drawings are of the same thing.")
    ] = 0.5,
    weights: Annotated[
        str, typer.Option("--weights", help="none, linear or quadratic: for classes that are in order.")
    ] = "none",
    as_json: JsonFlag = False,
) -> None:
    """Compare annotators: percent agreement, Cohen's and Fleiss' kappa, things drawn; write what most of them say."""
    from dicomsvc.ai.agreement.documents import plain
    from dicomsvc.ai.agreement.files import Comparison
    from dicomsvc.ai.agreement.kappa import Weights
    from dicomsvc.errors import BadRequest

    if weights not in list(Weights):
        raise BadRequest(f"--weights is one of {', '.join(Weights)}")
    with progress_bar("comparing") as report:
        found = Comparison(files, consensus, least_iou, Weights(weights), report).run()
    emit(plain(asdict(found)), "\n".join(_lines(found)), as_json=as_json)


def _lines(found: "FilesReport") -> Iterator[str]:
    yield f"annotators: {', '.join(found.annotators)}"
    if found.units is not None:
        yield from _ratings("units", found.units)
    if found.pixels is not None:
        yield from _ratings(f"pixels of {found.pictures} pictures", found.pixels)
    if found.things is not None:
        yield from _things(found.things)
    if found.kept is not None:
        yield f"consensus: {found.kept} things that more than half drew"


def _ratings(title: str, found: "RatingsReport") -> Iterator[str]:
    yield f"{title}: {found.units} with two ratings or more; same in {_figure(found.percent)} of pairs of ratings"
    yield f"  Fleiss' kappa {_figure(found.fleiss)}; mean of Cohen's kappas {_number(found.mean_kappa)}"
    for pair in found.pairs:
        yield f"  {pair.one} - {pair.other}: kappa {_figure(pair.kappa)}, same {_number(pair.same)}, of {pair.units}"


def _things(found: "ThingsReport") -> Iterator[str]:
    yield "things drawn: " + ", ".join(f"{name} {number}" for name, number in found.drawn.items())
    yield "  drawn by " + ", ".join(f"{number}: {often}" for number, often in found.drawn_by.items())
    for pair in found.pairs:
        yield (
            f"  {pair.one} - {pair.other}: {pair.paired} the same, F1 {_number(pair.f1)}, "
            f"IoU {_number(pair.mean_iou)}, Dice {_number(pair.dice)}"
        )
    if found.classes is not None:
        yield from _ratings("classes of things", found.classes)


def _figure(each: "Agreement") -> str:
    interval = f" ({each.low:.3f} to {each.high:.3f})" if isfinite(each.low) else ""
    return _number(each.value) + interval


def _number(value: float) -> str:
    return f"{value:.3f}" if isfinite(value) else "undefined"
