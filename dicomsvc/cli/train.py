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
        run = Run(task, out, minutes, workers, report)
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
    models: Annotated[list[str], typer.Argument(metavar="MODEL[:VERSION]...", help="Names, or model folders.")],
    folder: Annotated[Path, typer.Option("--folder", help="images/ID.png and labels/ID.png.")],
    mpp: Annotated[float, typer.Option("--mpp", min=0.01, max=100, help="Micrometres a pixel of the pictures.")],
    groups: Annotated[list[str] | None, typer.Option("--group", help="Stain group, as its index.csv has it.")] = None,
    fold: Annotated[list[int] | None, typer.Option("--fold", min=0, max=4, help="Only these of the 5 folds.")] = None,
    note_as: Annotated[
        str | None, typer.Option("--note-as", help="Write the figures into model.toml, under this data set's name.")
    ] = None,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure models on labelled pictures: detection at 5 px, Dice, AJI, PQ (in process, by ONNX Runtime)."""
    from dicomsvc.ai.training import evaluating

    test_set = evaluating.TestSet(folder, mpp, groups or (), fold or range(5))
    pictures = test_set.pictures()
    found = []
    with progress_bar("measuring") as report:
        for reference in models:
            place, number = _model_folder(reference, data)
            found.append(evaluating.evaluate(place, number, pictures, mpp, report))
            if note_as is not None:
                evaluating.note(place, note_as, found[-1])
    emit([asdict(each) for each in found], _table(found), as_json=as_json)


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
