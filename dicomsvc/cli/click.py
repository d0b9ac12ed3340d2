"""``dicomsvc click``: the outlines of what is clicked on a picture or a stored slide."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomsvc.cli.context import DataOption, open_store, settings_for
from dicomsvc.cli.output import JsonFlag
from dicomsvc.dicom.uids import is_valid_uid
from dicomsvc.errors import BadRequest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_WHO = "command line"


def click(
    target: Annotated[str, typer.Argument(metavar="IMAGE|SERIES", help="A picture, or the UID of a stored slide.")],
    points: Annotated[list[str] | None, typer.Option("--points", metavar="X,Y", help="May be repeated.")] = None,
    file: Annotated[Path | None, typer.Option("--points-file", help="[[x, y], …] as JSON.")] = None,
    model: Annotated[
        str, typer.Option("--model", help="NAME or NAME:NUMBER of a model of the kind clicks.")
    ] = "nuclick",
    mpp: Annotated[
        float | None, typer.Option("--mpp", min=0.01, max=100, help="Micrometres a pixel of a picture.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--store", help="Store a slide's outlines as annotations and a report.")
    ] = False,
    geojson: Annotated[bool, typer.Option("--geojson", help="Print GeoJSON.")] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Run the model in this process by ONNX Runtime, without Triton.")
    ] = False,
    data: DataOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Outline what is at some points. They are slide pixels; of a picture pixels, whole numbers being their centres."""
    from dicomsvc.ai.clicks.documents import geojson_document

    wanted = _points(points or [], file)
    if is_valid_uid(target) and not Path(target).exists():
        document, manifest = _on_slide(target, wanted, model, keep, in_process, data)
    elif mpp is None or keep:
        raise typer.BadParameter("a picture needs --mpp, and only a slide's outlines can be stored")
    else:
        document, manifest = _on_picture(Path(target), wanted, model, mpp, in_process, data)
    if geojson:
        document = geojson_document(document, manifest)
    typer.echo(json.dumps(document, ensure_ascii=False) if as_json or geojson else _describe(document))


def _points(texts: list[str], file: Path | None) -> "npt.NDArray[np.float64]":
    import numpy as np

    from dicomsvc.ai.clicks.points import check_points, read_points

    found = [] if file is None else read_points(file).tolist()
    for text in texts:
        try:
            x, y = (float(part) for part in text.split(","))
        except ValueError:
            raise BadRequest(f"a point is X,Y, not {text[:80]!r}") from None
        found.append([x, y])
    return np.array(check_points(found), np.float64)


def _on_slide(
    series: str, points: "npt.NDArray[np.float64]", model: str, keep: bool, in_process: bool, data: Path | None
) -> tuple[dict[str, Any], Any]:
    from dicomsvc.ai.backends import backend_for
    from dicomsvc.ai.catalogue.repository import Catalogue, parse_reference
    from dicomsvc.ai.clicks.service import Asked, ClickService

    settings = settings_for(data, triton={"in_process": in_process or None})
    found = Catalogue(settings).get(parse_reference(model)[0])
    with open_store(data) as store, backend_for(settings, found) as backend:
        service = ClickService(store, backend)
        manifest = service.model(model)
        return service.on_slide(series, Asked(points, model), keep_for=_WHO if keep else None), manifest


def _on_picture(
    image: Path, points: "npt.NDArray[np.float64]", model: str, mpp: float, in_process: bool, data: Path | None
) -> tuple[dict[str, Any], Any]:
    from dicomsvc.ai.backends import backend_for
    from dicomsvc.ai.catalogue.repository import Catalogue, parse_reference
    from dicomsvc.ai.clicks.ground import require_clicks
    from dicomsvc.ai.clicks.service import picture_document
    from dicomsvc.ai.pictures import read_picture

    settings = settings_for(data, triton={"in_process": in_process or None})
    catalogue = Catalogue(settings)
    manifest = catalogue.find(model)
    require_clicks(manifest)
    picture = read_picture(image)
    with backend_for(settings, catalogue.get(parse_reference(model)[0])) as backend:
        return {"image": str(image), **picture_document(picture, mpp, manifest, backend, points)}, manifest


def _describe(document: dict[str, Any]) -> str:
    lines = []
    for click in document["clicks"]:
        x, y = click["point"]
        if click["instance"] is None:
            lines.append(f"{x:g},{y:g}  nothing: {click['reason']}")
            continue
        thing = document["instances"][click["instance"]]
        area = thing["measurements"]["area_um2"]
        lines.append(
            f"{x:g},{y:g}  {thing['class']} {click['instance'] + 1}, {area:.1f} um2, "
            f"probability {thing['probability']:.2f}, {len(thing['contour'])} corners"
        )
    lines += [f"stored {each['sop_instance_uid']}" for each in document.get("stored", ())]
    return "\n".join(lines)
