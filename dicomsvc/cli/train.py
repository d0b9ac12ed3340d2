"""``dicomsvc train`` and ``dicomsvc evaluate``: a network from a recipe; models over labelled pictures."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicomsvc.cli.context import DataOption, settings_for
from dicomsvc.cli.output import JsonFlag, emit, progress_bar
from dicomsvc.errors import BadRequest, ConfigurationError, InvalidModel

if TYPE_CHECKING:
    from dicomsvc.ai.training.evaluating import Evaluation

_COLUMNS = ("precision", "recall", "f1", "dice", "aji", "pq")


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="What to train on, and for how long.")],
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Checkpoints, the curve; a run there goes on.")],
    model: Annotated[
        Path | None, typer.Option("--model", help="New model folder to write at the end; its name is the model's.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.001, help="End the schedule by the clock where that is sooner.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Cores for the network.")] = 1,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that make crops.")] = 1,
    device: Annotated[
        str, typer.Option("--device", help="`auto` (all GPUs, else the processor) or PyTorch's name of one.")
    ] = "auto",
    mixed: Annotated[
        bool | None, typer.Option("--mixed/--full", help="Half precision where it does no harm; on GPUs unless told.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train what a recipe says (extra `train`)."""
    try:
        import torch
    except ImportError as error:
        raise ConfigurationError("PyTorch is not installed: `pip install 'dicomsvc[train]'`") from error
    from dicomsvc.ai.training.fitting import Run
    from dicomsvc.ai.training.tasks import read_task

    if model is not None and model.exists():
        raise InvalidModel(f"{model} exists; a model is never replaced")
    torch.set_num_threads(threads)
    with progress_bar("training") as report:
        task = read_task(recipe)
        run = Run(task, out, minutes, workers, report, device=device, mixed=mixed)
        best = run.fit()
    text = f"{run.progress.step} steps; the best weights are in {best}"
    document = {"steps": run.progress.step, "seconds": round(run.progress.seconds), "weights": str(best)}
    if model is not None:
        task.write_model(task.load(best), model)
        size = sum(file.stat().st_size for file in model.rglob("*.onnx"))
        text += f"; {model} has {size} bytes"
        document |= {"model": str(model), "bytes": size}
    emit(document, text, as_json=as_json)


def evaluate(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="MODEL[:VERSION]...", help="Names, or model folders.")
    ] = None,
    folder: Annotated[Path | None, typer.Option("--folder", help="images/ID.png and labels/ID.png.")] = None,
    mpp: Annotated[
        float | None, typer.Option("--mpp", min=0.01, max=100, help="Micrometres a pixel of the pictures.")
    ] = None,
    groups: Annotated[list[str] | None, typer.Option("--group", help="Stain group, as its index.csv has it.")] = None,
    fold: Annotated[list[int] | None, typer.Option("--fold", min=0, max=4, help="Only these of the 5 folds.")] = None,
    predictions: Annotated[
        list[str] | None, typer.Option("--predictions", metavar="NAME=FILE", help="What another program found.")
    ] = None,
    note_as: Annotated[
        str | None, typer.Option("--note-as", help="Write the figures into model.toml, under this data set's name.")
    ] = None,
    suite: Annotated[
        Path | None, typer.Option("--suite", metavar="FILE.toml", help="Models and sets to measure at once.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--table", metavar="PAGE.md", help="With --suite: write the table between its markers."),
    ] = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure models on labelled pictures: detection at 5 px, Dice, AJI, PQ (in process, by ONNX Runtime)."""
    from dicomsvc.ai.training import evaluating

    if suite is not None:
        if models or folder is not None or predictions or note_as is not None:
            raise BadRequest("--suite names models, folders and predictions itself")
        _evaluate_suite(suite, table, data, as_json=as_json)
        return
    if folder is None or mpp is None or not (models or predictions) or table is not None:
        raise BadRequest("give models or --predictions with --folder and --mpp; or --suite, with which --table goes")
    pictures = evaluating.TestSet(folder, mpp, groups or (), fold or range(5)).pictures()
    found = []
    with progress_bar("measuring") as report:
        for reference in models or ():
            place, number = _model_folder(reference, data)
            found.append(evaluating.evaluate(place, number, pictures, mpp, report))
            if note_as is not None:
                evaluating.note(place, note_as, found[-1])
    for each in predictions or ():
        name, equals, file = each.partition("=")
        if not (name and equals and file):
            raise BadRequest(f"--predictions {each} must be NAME=FILE")
        found.append(evaluating.evaluate_predictions(name, Path(file), pictures))
    emit([asdict(each) for each in found], _table(found), as_json=as_json)


def _evaluate_suite(file: Path, page: Path | None, data: Path | None, *, as_json: bool) -> None:
    from dicomsvc.ai.training import suite

    what = suite.read_suite(file)

    def locate(reference: str) -> tuple[Path, int | None]:
        return _model_folder(reference, data)

    with progress_bar("measuring") as report:
        rows = suite.measure_all(what, locate, report)
    prices = suite.costs(what, locate)
    text = suite.table(rows, prices)
    if page is not None:
        suite.put_into(page, text)
    document = {
        "rows": [asdict(row) for row in rows],
        "costs": {name: asdict(price) for name, price in prices.items()},
    }
    emit(document, text, as_json=as_json)


def propose(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a model that gives instances.")],
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Gets images/ID.png and labels/ID.png.")],
    recipe: Annotated[
        Path,
        typer.Option("--slides-of", metavar="RECIPE.toml", help="The `[[slide]]` tables of this file are labelled."),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Label slides that nobody labelled with what a model is sure of, to train the next one on (self-training)."""
    from dicomsvc.ai.training.proposing import propose_folder, read_slides

    if not (model / "model.toml").is_file():
        raise BadRequest(f"{model} has no model.toml")
    with progress_bar("labelling") as report:
        counts = propose_folder(model.resolve(), read_slides(recipe), out, tell=report)
    text = f"{len(counts)} pictures with {sum(counts.values())} nuclei are in {out}; the rest is background or unknown"
    emit({"pictures": counts}, text, as_json=as_json)


def _model_folder(reference: str, data: Path | None) -> tuple[Path, int | None]:
    """Return folder and version of a name, or of a path that has a ``model.toml``."""
    from dicomsvc.ai.catalogue.repository import Catalogue, parse_reference

    if (Path(reference) / "model.toml").is_file():
        return Path(reference).resolve(), None
    if "/" in reference:
        raise BadRequest(f"{reference} has no model.toml")
    name, number = parse_reference(reference)
    return Catalogue(settings_for(data)).get(name).folder, number


def _table(found: "Sequence[Evaluation]") -> str:
    rows = [f"{'model':24}{'pictures':>9}{'nuclei':>8}" + "".join(f"{name:>21}" for name in _COLUMNS)]
    for each in found:
        cells = [each.measures[name] for name in _COLUMNS]
        figures = "".join(f"{cell.value:7.3f} ({cell.interval[0]:.3f}-{cell.interval[1]:.3f})" for cell in cells)
        rows.append(f"{each.model + ' ' + each.version:24}{each.pictures:9}{each.things:8}{figures}")
    return "\n".join(rows)
