"""``dicomsvc training-data``: pictures with labels out of what people drew."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsvc.cli.context import DataOption, open_store
from dicomsvc.cli.output import JsonFlag, emit, progress_bar
from dicomsvc.errors import BadRequest

if TYPE_CHECKING:
    from dicomsvc.ai.training.data.choice import Choice
    from dicomsvc.ai.training.data.collecting import Summary
    from dicomsvc.ai.training.data.crops import Cutting

SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY[/SERIES]...|FILE.geojson",
        help="UIDs of studies, of series of slides or annotations in them; or one file of outlines from QuPath.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="New folder for pictures, labels, classes and tables.")]
MppOption = Annotated[float, typer.Option("--mpp", min=0.05, max=100, help="Micrometres a pixel of the pictures.")]
SlideOption = Annotated[Path | None, typer.Option("--slide", help="Slide file or picture that a GeoJSON is about.")]
SlideMppOption = Annotated[
    float | None, typer.Option("--slide-mpp", min=0.01, max=100, help="Its micrometres a pixel, if it does not say.")
]
ClassOption = Annotated[list[str] | None, typer.Option("--class", help="Only these classes, numbered in this order.")]
AnnotatorOption = Annotated[list[str] | None, typer.Option("--annotator", help="Only what these people drew.")]
OriginOption = Annotated[
    list[str] | None, typer.Option("--origin", help="people, accepted or models; the first two unless given.")
]
ThresholdOption = Annotated[
    float, typer.Option("--threshold", min=0.01, max=1, help="Share from which on a fractional pixel counts.")
]
PointOption = Annotated[
    float | None, typer.Option("--point-um", min=0.1, max=1000, help="Points become discs, so many um across.")
]
SideOption = Annotated[int, typer.Option("--side", min=64, max=1024, help="Pixels a side of a picture, about.")]
MostOption = Annotated[int, typer.Option("--most", min=1, help="So many pictures of one drawing at most.")]
CompleteFlag = Annotated[
    bool, typer.Option("--complete", help="All things in a picture were drawn: the rest of it is background.")
]
RimOption = Annotated[float, typer.Option("--rim-um", min=0, max=50, help="So far around a thing is background.")]


@dataclass(frozen=True, slots=True)
class _Wanted:
    out: Path
    mpp: float
    choice: "Choice"
    cutting: "Cutting"


def training_data(
    sources: SourcesArgument,
    out: OutOption,
    mpp: MppOption,
    slide: SlideOption = None,
    slide_mpp: SlideMppOption = None,
    classes: ClassOption = None,
    annotators: AnnotatorOption = None,
    origins: OriginOption = None,
    threshold: ThresholdOption = 0.5,
    point_um: PointOption = None,
    side: SideOption = 256,
    most: MostOption = 200,
    is_complete: CompleteFlag = False,
    rim_um: RimOption = 0.0,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make training data of annotations in the store, or of GeoJSON and a slide file."""
    from dicomsvc.ai.training.data.choice import Choice, Origin
    from dicomsvc.ai.training.data.crops import Cutting

    known = [origin.value for origin in Origin]
    if not set(origins or ()) <= set(known):
        raise typer.BadParameter(f"--origin is one of {', '.join(known)}")
    choice = Choice(
        series=frozenset(each.split("/")[1] for each in sources if "/" in each),
        classes=tuple(classes or ()),
        annotators=tuple(annotators or ()),
        origins=frozenset(map(Origin, origins)) if origins else Choice().origins,
        threshold=threshold,
        point_um=point_um,
    )
    wanted = _Wanted(out, mpp, choice, Cutting(side, most, is_complete, rim_um))
    if Path(sources[0]).is_file() or slide is not None:
        summary = _from_file(sources, slide, slide_mpp, wanted)
    else:
        summary = _from_store(sources, data, wanted)
    emit(asdict(summary), _text(summary), as_json=as_json)


def _from_file(sources: list[str], slide: Path | None, slide_mpp: float | None, wanted: _Wanted) -> "Summary":
    from dicomsvc.ai.training.data.collecting import collect_from_geojson
    from dicomsvc.ai.training.data.files import FilePixels

    if slide is None or len(sources) != 1:
        raise BadRequest("one GeoJSON file needs --slide, the one slide file or picture that it is about")
    pixels = FilePixels(slide, wanted.mpp, slide_mpp)
    with progress_bar("training data") as report:
        return collect_from_geojson(
            Path(sources[0]), pixels, wanted.out, wanted.choice, wanted.cutting, slide.stem, report
        )


def _from_store(sources: list[str], data: Path | None, wanted: _Wanted) -> "Summary":
    from dicomsvc.ai.training.data.collecting import collect_from_store

    studies = [each.split("/")[0] for each in sources]
    with open_store(data) as store, progress_bar("training data") as report:
        return collect_from_store(store, studies, wanted.out, wanted.mpp, wanted.choice, wanted.cutting, report)


def _text(summary: "Summary") -> str:
    lines = [
        f"{summary.pictures} pictures of {summary.slides} slides of {summary.groups} patients in {summary.folder}; "
        f"{100 * summary.known:.0f} % of the pixels are known"
    ]
    lines += [f"  {count:7} {label}" for label, count in summary.classes.items()]
    lines += [
        f"  drawn by {name or 'whoever made the file'}: {count} pictures" for name, count in summary.annotators.items()
    ]
    lines += [f"  left out: {count} x {reason}" for reason, count in summary.left_out.items()]
    if not summary.background:
        lines.append(
            "  nothing is known to be background: draw regions of interest (class Region*), "
            "or give --rim-um or --complete"
        )
    return "\n".join(lines)
