"""``dicomsvc infer``: a model over plain pictures; what it finds as JSON lines."""

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from dicomsvc.cli.context import DataOption, settings_for
from dicomsvc.cli.output import JsonFlag, Report, emit, progress_bar
from dicomsvc.errors import BadRequest, DicomsvcError

if TYPE_CHECKING:
    from dicomsvc.ai.catalogue.manifest import Manifest
    from dicomsvc.ai.images import PictureFindings
    from dicomsvc.ai.inference import Backend

_AT_A_TIME = 2


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    manifest: "Manifest"
    backend: "Backend"
    description: str
    mpp: float
    pictures: Path | None
    drawing: "Manifest | None" = None
    marker: str | None = None


def infer(
    model: Annotated[str, typer.Argument(metavar="MODEL[:VERSION]", help="Model, as `dicomsvc models list` has it")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG, JPEG, TIFF, …")],
    mpp: Annotated[float, typer.Option("--mpp", min=0.01, max=100, help="Micrometres a pixel of the images.")],
    out: Annotated[str, typer.Option("--out", help="JSON lines, one an image; - is standard output.")],
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Folder for class maps and made images, as PNG; one a channel.")
    ] = None,
    outlines: Annotated[
        str | None, typer.Option("--outlines", metavar="MODEL", help="Model of clicks that draws each thing's outline.")
    ] = None,
    marker: Annotated[
        str | None, typer.Option("--marker", help="What an IHC model scores: ki67, er, pr, her2, cd3, cd8, pdl1, …")
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Run the model in this process by ONNX Runtime, without Triton.")
    ] = False,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a model over plain images. Places are pixels of the image; whole numbers are pixel centres."""
    from dicomsvc.ai.analysis.marker_scores import check_marker
    from dicomsvc.ai.backends import backend_for
    from dicomsvc.ai.catalogue.repository import Catalogue, parse_reference

    if as_json and out == "-":
        raise typer.BadParameter("standard output holds either the lines or --json's document; give --out a file")
    settings = settings_for(data, triton={"in_process": in_process or None})
    catalogue = Catalogue(settings)
    manifest = catalogue.find(model)
    drawing = None if outlines is None else catalogue.find(outlines)
    _check(manifest, drawing)
    check_marker(manifest, marker)
    found = [catalogue.get(parse_reference(each)[0]) for each in (model, outlines) if each is not None]
    failed: list[dict[str, str]] = []
    with _output(out) as lines, progress_bar("looking") as report, backend_for(settings, *found) as backend:
        backend.load(manifest.name)
        task = _Task(manifest, backend, backend.description, mpp, pictures, drawing, marker)
        for image, answer in zip(images, _answers(task, images, report), strict=True):
            if isinstance(answer, DicomsvcError):
                failed.append({"image": str(image), "error": str(answer)})
                typer.echo(f"dicomsvc: {image}: {answer}", err=True)
            else:
                lines.write(json.dumps(answer, ensure_ascii=False) + "\n")
                lines.flush()
    summary = f"{len(images) - len(failed)} of {len(images)} images done by {manifest.name} {manifest.version}"
    if out != "-":
        emit({"images": len(images), "failed": failed, "out": out}, summary, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def _check(manifest: "Manifest", drawing: "Manifest | None") -> None:
    """Refuse a model that looks at no whole picture, and a pair that does not go together."""
    from dicomsvc.ai.catalogue.manifest import OutputKind
    from dicomsvc.ai.clicks.redrawing import check_pair

    if manifest.output.kind is OutputKind.CLICKS:
        raise BadRequest(
            f"{manifest.name} answers clicks: `dicomsvc click IMAGE --points X,Y`; "
            f"for all things of a picture name a model that finds them, with --outlines {manifest.name}"
        )
    if drawing is not None:
        check_pair(manifest, drawing)


def _answers(task: _Task, images: list[Path], report: Report) -> Iterator[dict[str, Any] | DicomsvcError]:
    """Yield the line of each image, or why there is none, in the order of the images."""
    done = _Count(report, len(images))

    def answer(image: Path) -> dict[str, Any] | DicomsvcError:
        try:
            return _answer(task, image)
        except DicomsvcError as error:
            return error
        finally:
            done.one_more()

    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="images") as pool:
        yield from pool.map(answer, images)


def _answer(task: _Task, image: Path) -> dict[str, Any]:
    from dicomsvc.ai.clicks.redrawing import redrawn_by
    from dicomsvc.ai.images import analyse_picture, channel_pictures, class_picture, describe
    from dicomsvc.ai.pictures import read_picture

    manifest = task.manifest
    wanted = task.pictures is not None
    more: dict[str, Any] = {"channels": wanted}
    if task.drawing is not None:
        more["around"] = redrawn_by(task.drawing, task.backend)
    picture = read_picture(image)
    found = analyse_picture(picture, task.mpp, manifest, task.backend, **more)
    found, score = _scored(task, picture, found)
    if task.pictures is not None:
        shown = class_picture(found)
        if shown is not None:
            _write_picture(task.pictures / f"{image.stem}.png", shown)
        for name, pixels in channel_pictures(found, manifest).items():
            _write_picture(task.pictures / f"{image.stem}-{name}.png", pixels)
    return {
        "image": str(image),
        "model": manifest.name,
        "version": manifest.version,
        "weights_sha256": manifest.weights_sha256,
        "backend": task.description,
        **({} if task.drawing is None else {"outlines": f"{task.drawing.name} {task.drawing.version}"}),
        **describe(found, manifest),
        **score,
    }


def _scored(task: _Task, picture: Any, found: "PictureFindings") -> "tuple[PictureFindings, dict[str, Any]]":
    """Return the findings with the marker's classes, and the score; nothing of models that give none."""
    from dicomsvc.ai.ihc.assessment import assess_picture, gives_scores, reclassed
    from dicomsvc.ai.ihc.presets import DEFAULT, preset_named

    if found.instances is None or not gives_scores(task.manifest):
        return found, {}
    preset = preset_named(task.marker or DEFAULT)
    assessment = assess_picture(picture, found.instances, preset, task.manifest)
    return replace(found, instances=reclassed(found.instances, preset)), {"score": assessment.document()}


def _write_picture(path: Path, pixels: Any) -> None:
    from PIL import Image

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    except OSError as error:
        raise BadRequest(f"{path} cannot be written: {error.strerror}") from error


class _Count:
    def __init__(self, report: Report, total: int) -> None:
        self._report, self._total, self._done = report, total, 0
        self._lock = threading.Lock()
        report(0, total)

    def one_more(self) -> None:
        with self._lock:
            self._done += 1
            self._report(self._done, self._total)


@contextmanager
def _output(out: str) -> Iterator[IO[str]]:
    if out == "-":
        yield sys.stdout
        return
    try:
        file = Path(out).open("w", encoding="utf-8")  # noqa: SIM115 - closed below; only opening may be refused
    except OSError as error:
        raise BadRequest(f"{out} cannot be written: {error.strerror}") from error
    with file:
        yield file
