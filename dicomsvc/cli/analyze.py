"""``dicomsvc analyze``: a slide through a model, from the command line."""

from pathlib import Path
from typing import Annotated

import typer

from dicomsvc.cli.context import DataOption, open_store
from dicomsvc.cli.output import JsonFlag, Report, emit, progress_bar
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.errors import ConversionError
from dicomsvc.jobs import WorkItem
from dicomsvc.store import Store

RegionOption = Annotated[
    list[str] | None,
    typer.Option("--region", metavar="X,Y,W,H", help="Only there, in pixels of the finest level; may be repeated."),
]


def analyze(
    slide: Annotated[str, typer.Argument(metavar="STUDY|SERIES|SLIDE", help="UID of what is stored, or a slide file.")],
    model: Annotated[str, typer.Option("--model", help="NAME or NAME:NUMBER; `dicomsvc models list` tells which.")],
    region: RegionOption = None,
    labelmap: Annotated[bool, typer.Option("--labelmap", help="Write a LABELMAP segmentation beside.")] = False,
    probability: Annotated[
        bool, typer.Option("--probability", help="Write the probability as a FRACTIONAL segmentation beside.")
    ] = False,
    marker: Annotated[
        str | None, typer.Option("--marker", help="For an IHC model: ki67, er, pr, her2, cd3, cd8, pdl1, …")
    ] = None,
    channels: Annotated[
        bool, typer.Option("--channels", help="Write the channels that a model has beside things as a derived image.")
    ] = False,
    mpp: Annotated[
        float | None, typer.Option("--mpp", min=0.001, help="For a slide file that does not tell its resolution.")
    ] = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a model over a slide and store what it finds: segmentation, annotations, report."""
    from dicomsvc.ai.analysis.request import Options, parse_regions
    from dicomsvc.ai.analysis.submission import Wish, submit
    from dicomsvc.ai.catalogue.repository import Catalogue
    from dicomsvc.cli.triton import server_for_command
    from dicomsvc.jobs.standin import work_off
    from dicomsvc.service.handlers import HANDLERS

    options = Options(labelmap=labelmap, probability=probability, channels=channels, marker=marker)
    wish = Wish(model, parse_regions(region or ()), options)
    with open_store(data) as store, progress_bar("analysing") as report, server_for_command(store.settings):
        catalogue = Catalogue(store.settings)
        catalogue.find(model)
        items = [
            submit(store, catalogue, study, series, wish, "command line")
            for study, series in _slides(store, slide, mpp, report)
        ]
        items = work_off(store, [item.uid for item in items], HANDLERS, report)
    emit([item.as_dict() for item in items], "\n".join(_describe(item) for item in items), as_json=as_json)
    if not all(item.succeeded for item in items):
        raise typer.Exit(1)


def _slides(store: Store, slide: str, mpp: float | None, report: Report) -> list[tuple[str, str]]:
    """Return study and series of what is named; a slide file is imported."""
    from dicomsvc.ai.analysis.submission import find_slides
    from dicomsvc.ingest.imports import import_and_wait

    path = Path(slide)
    if is_valid_uid(slide) and not path.exists():
        return find_slides(store, slide)
    items = import_and_wait(store, [path], {"mpp": mpp}, requested_by="command line", progress=report)
    series = []
    for item in items:
        if not item.succeeded:
            raise ConversionError(item.error or f"{path.name} was not imported")
        if "series_instance_uid" in item.outputs:
            series.append((item.outputs["study_instance_uid"], item.outputs["series_instance_uid"]))
    return series or [found for item in items for uid in _studies(item) for found in find_slides(store, uid)]


def _studies(item: WorkItem) -> list[str]:
    return list(item.outputs.get("study_instance_uids", ()))


def _describe(item: WorkItem) -> str:
    if not item.succeeded:
        return item.describe()
    lines = [f"{item.outputs['model']} {item.outputs['version']}: {item.outputs['summary']}"]
    lines += [
        f"  series {series}"
        for series in dict.fromkeys(each["series_instance_uid"] for each in item.outputs["instances"])
    ]
    return "\n".join(lines)
