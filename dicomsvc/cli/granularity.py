"""``dicomsvc granularity``: what coarser annotations cost, on a labelled folder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dicomsvc.cli.output import JsonFlag, emit, progress_bar
from dicomsvc.errors import BadRequest, ConfigurationError


def granularity(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="images/ID.png and labels/ID.png.")],
    out: Annotated[Path, typer.Option("--out", help="Results and report; a study there goes on.")],
    patch: Annotated[str, typer.Option("--patch", help="Sides of patches for classifiers, in pixels.")] = "32,64,128",
    networks: Annotated[
        str | None,
        typer.Option(
            "--networks", help="Some of resnet18, vgg16, mobilenet_v2, efficientnet_lite0, unet, fpn, linknet."
        ),
    ] = None,
    marks: Annotated[
        str, typer.Option("--marks", help="Some of pixel, fitted-ellipse, ellipse, box.")
    ] = "pixel,ellipse,box",
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.01, help="Time for all of it; sets the steps of training.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of training, at most.")] = 2000,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="How often each cell is tried.")] = 1,
    diameter: Annotated[
        float | None, typer.Option("--diameter", min=4, max=128, help="Scale pictures to nuclei of so many pixels.")
    ] = None,
    groups: Annotated[list[str] | None, typer.Option("--group", help="Stain group, as its index.csv has it.")] = None,
    side: Annotated[int, typer.Option("--side", help="What patches are brought to for classifiers.")] = 64,
    encoder: Annotated[str, typer.Option("--encoder", help="Of segmenters.")] = "efficientnet_lite0",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Cores for the network.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Compare networks trained on pixel masks, ellipses and boxes: what coarser marks cost (extra `train`)."""
    try:
        import torch
    except ImportError as error:
        raise ConfigurationError("PyTorch is not installed: `pip install 'dicomsvc[train]'`") from error
    from dicomsvc.ai.training.granularity.marks import Granularity
    from dicomsvc.ai.training.granularity.plan import NETWORKS, Plan
    from dicomsvc.ai.training.granularity.report import make_report, write_report
    from dicomsvc.ai.training.granularity.study import Study

    try:
        kinds = tuple(Granularity(each) for each in marks.split(","))
        patches = tuple(int(each) for each in patch.split(","))
    except ValueError as error:
        raise BadRequest(f"--marks or --patch is not understood: {error}") from error
    plan = Plan(
        groups=tuple(groups or ()),
        networks=NETWORKS if networks is None else tuple(networks.split(",")),
        granularities=tuple(kind for kind in Granularity if kind in kinds),
        patches=patches,
        seeds=seeds,
        diameter=diameter,
        side=side,
        encoder=encoder,
        most_steps=steps,
    )
    torch.set_num_threads(threads)
    with progress_bar("seconds of work") as report:
        Study(folder, out, plan, minutes, report).run()
    made = make_report(out)
    files = write_report(made, out)
    document: dict[str, Any] = {
        "out": str(out),
        "files": [file.name for file in files],
        "orderings": [
            {"network": each.network, "patch": each.patch, "measure": each.measure, "verdict": each.verdict}
            for each in made.orderings
        ],
    }
    emit(document, f"{len(made.rows)} rows; the report is {out / 'report.html'}", as_json=as_json)
