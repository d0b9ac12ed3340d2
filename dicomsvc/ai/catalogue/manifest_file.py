"""``model.toml`` as a `Manifest`: every key is known, every value is of its type and range."""

import re
from typing import Any

from dicomsvc.ai.catalogue.channels import take_channels
from dicomsvc.ai.catalogue.coded import take_code
from dicomsvc.ai.catalogue.fields import Document, Fields
from dicomsvc.ai.catalogue.manifest import (
    Accuracy,
    InputSpec,
    Manifest,
    ModelClass,
    OutputKind,
    OutputSpec,
    Stain,
    Step,
)
from dicomsvc.ai.clicks.guides import GUIDES
from dicomsvc.ai.decoding.settings import ROLES, SETTINGS
from dicomsvc.ai.statistics import STATISTICS
from dicomsvc.errors import InvalidModel
from dicomsvc.wsi.stain import complete_settings

OBJECTS: dict[OutputKind, tuple[str, ...]] = {
    OutputKind.SEGMENTATION: ("SEG", "SR"),
    OutputKind.INSTANCES: ("ANN", "SEG", "SR", "SM"),
    OutputKind.POINTS: ("ANN", "SR"),
    OutputKind.CLASSIFICATION: ("SEG", "SR"),
    OutputKind.MAP: ("PM", "SR"),
    OutputKind.IMAGE: ("SM",),
    OutputKind.CLICKS: ("ANN", "SR"),
}
"""The kinds of result object that each kind of output can become."""

_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,31}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LARGEST_TILE = 8192
_COARSEST_UM = 1000.0
_MOST_CLASSES = 254


def take_manifest(document: Document, name: str, number: int, weights_sha256: str, max_batch: int) -> Manifest:
    """Make the manifest of version ``number``.

    Raises
    ------
    InvalidModel
        Naming file, line and key.
    """
    top = Fields.top(document)
    output = _output(top.table("output"))
    classes = tuple(_model_class(table) for table in top.tables("classes", required=True))
    _check_classes(top, classes)
    version = top.text("version", longest=32)
    if not _VERSION.fullmatch(version):
        top.fail("version", "must be letters, digits, dots, +, _ and - only")
    digest = top.text("weights_sha256", weights_sha256)
    if not _DIGEST.fullmatch(digest):
        top.fail("weights_sha256", "must be 64 hexadecimal digits in lower case")
    if digest != weights_sha256:
        top.fail("weights_sha256", f"is not that of {number}/model.onnx, which is {weights_sha256}")
    manifest = Manifest(
        name=name,
        number=number,
        title=top.text("title", longest=64),
        version=version,
        summary=top.text("summary"),
        intended_use=top.text("intended_use"),
        licence=top.text("licence", longest=200),
        training_data=top.text("training_data"),
        family=take_code(top, "family"),
        input=_input(top.table("input"), max_batch),
        output=output,
        classes=classes,
        weights_sha256=weights_sha256,
        limitations=top.text("limitations", ""),
        accuracy=tuple(_accuracy(table) for table in top.tables("accuracy", required=False)),
        objects=_objects(top, output),
    )
    top.done()
    _check_stride(top, manifest)
    _check_guides(top, manifest)
    return manifest


def _input(table: Fields, max_batch: int) -> InputSpec:
    stain = Stain(table.choice("stain", [str(stain) for stain in Stain]))
    mpp = table.number("mpp", above=0)
    if mpp > _COARSEST_UM:
        table.fail("mpp", f"must be micrometres a pixel, {_COARSEST_UM:g} at most")
    coarsest = table.number("coarsest_mpp", above=0)
    if coarsest < mpp:
        table.fail("coarsest_mpp", f"must not be finer than mpp, {mpp:g}")
    if stain is Stain.FLUORESCENCE and "channels" not in table:
        table.fail("channels", "is missing: name the optical paths")
    channels = table.texts("channels", ("R", "G", "B"))
    if not 1 <= len(channels) <= 64:
        table.fail("channels", "must name 1 to 64 channels")
    if stain is not Stain.FLUORESCENCE and channels != ("R", "G", "B"):
        table.fail("channels", f'must be ["R", "G", "B"] for {stain}')
    size = table.integer("tile_size", least=16, most=_LARGEST_TILE)
    spec = InputSpec(
        tensor=table.text("tensor", longest=128),
        mpp=mpp,
        coarsest_mpp=coarsest,
        tile_size=size,
        overlap=table.integer("overlap", least=0, most=(size - 1) // 2),
        stain=stain,
        channels=channels,
        datatype=table.choice("datatype", ["UINT8", "FP32"], "UINT8"),
        layout=table.choice("layout", ["NHWC", "NCHW"], "NHWC"),
        steps=tuple(_step(step) for step in table.tables("steps", required=False)),
        statistics=_statistics(table),
        statistics_tensor=table.text("statistics_tensor", "STATISTICS", longest=128),
        guides=_guides(table),
        guides_tensor=table.text("guides_tensor", "GUIDES", longest=128),
        guide_um=table.number("guide_um", 1.0, above=0),
        only_tissue=table.truth("only_tissue", True),
        max_batch=max_batch,
        **_scaling(table, len(channels)),
    )
    table.done()
    return spec


def _scaling(table: Fields, channels: int) -> dict[str, Any]:
    values: dict[str, Any] = {
        "scale": table.number("scale", 1.0, above=0),
        "mean": table.numbers("mean", ()),
        "std": table.numbers("std", ()),
    }
    for key in ("mean", "std"):
        if values[key] and len(values[key]) != channels:
            table.fail(key, f"must have one number for each of the {channels} channels")
    if any(number <= 0 for number in values["std"]):
        table.fail("std", "must be numbers above 0")
    if table.choice("datatype", ["UINT8", "FP32"], "UINT8") == "UINT8":
        for key in values:
            if key in table:
                table.fail(key, "is for datatype FP32; pixels go in as they are with UINT8")
    return values


def _step(table: Fields) -> Step:
    name = table.text("name", longest=64)
    settings = {key: table.plain(key) for key in table if key != "name"}
    try:
        complete_settings(name, settings)
    except InvalidModel as error:
        table.fail("name", f"is wrong: {error}")
    return Step(name, settings)


def _statistics(table: Fields) -> tuple[str, ...]:
    names = table.texts("statistics", ())
    for name in names:
        if name not in STATISTICS:
            table.fail("statistics", f"has {name[:64]!r}, which is not known; known are {', '.join(STATISTICS)}")
    return names


def _guides(table: Fields) -> tuple[str, ...]:
    names = table.texts("guides", ())
    for name in names:
        if name not in GUIDES:
            table.fail("guides", f"has {name[:64]!r}, which is not known; known are {', '.join(GUIDES)}")
    return names


def _check_guides(top: Fields, manifest: Manifest) -> None:
    for_clicks = manifest.output.kind is OutputKind.CLICKS
    if for_clicks and "inclusion" not in manifest.input.guides:
        top.table("input").fail("guides", 'must name "inclusion" for a model that answers clicks')
    if manifest.input.guides and not for_clicks:
        top.table("input").fail("guides", f"are for {OutputKind.CLICKS}, not for {manifest.output.kind}")
    if for_clicks and (manifest.input.steps or manifest.input.statistics):
        key = "steps" if manifest.input.steps else "statistics"
        top.table("input").fail(key, "are not for a model that answers clicks: it sees a small part of the slide alone")
    if for_clicks and len(manifest.classes) != 1:
        top.fail("classes", "must be one for a model that answers clicks")


def _output(table: Fields) -> OutputSpec:
    kind = OutputKind(table.choice("kind", [str(kind) for kind in OutputKind]))
    tensors = table.table("tensors", {})
    roles = ROLES[kind]
    named = {role: tensors.text(role, longest=128) for role in roles if role in tensors or roles[role].required}
    for role in tensors:
        if role not in roles:
            tensors.fail(role, f"is no tensor of {kind}; it may have {', '.join(roles)}")
    settings = table.table("settings", {})
    values: dict[str, float] = {}
    for key in settings:
        setting = SETTINGS[kind].get(key)
        if setting is None:
            settings.fail(key, f"is not known for {kind}; known are {', '.join(SETTINGS[kind]) or 'none'}")
        values[key] = settings.number(key)
        if not setting.least <= values[key] <= setting.most:
            settings.fail(key, f"must be a number from {setting.least:g} to {setting.most:g}")
    stride = table.integer("stride", 1, least=1, most=1024)
    spec = OutputSpec(kind, named, stride, values, take_channels(table, kind, named.get("image")))
    table.done()
    return spec


def _model_class(table: Fields) -> ModelClass:
    colour = table.numbers("colour")
    if len(colour) != 3 or any(not part.is_integer() or not 0 <= part <= 255 for part in colour):
        table.fail("colour", "must be red, green and blue from 0 to 255")
    red, green, blue = (int(part) for part in colour)
    found = ModelClass(
        label=table.text("label", longest=64),
        category=take_code(table, "category"),
        type=take_code(table, "type"),
        colour=(red, green, blue),
    )
    table.done()
    return found


def _check_classes(top: Fields, classes: tuple[ModelClass, ...]) -> None:
    if len(classes) > _MOST_CLASSES:
        top.fail("classes", f"are {len(classes)}; {_MOST_CLASSES} is the limit")
    if len({one.label for one in classes}) != len(classes):
        top.fail("classes", "must have different labels")


def _accuracy(table: Fields) -> Accuracy:
    interval = table.numbers("interval", ())
    value = table.number("value")
    if interval and (len(interval) != 2 or not interval[0] <= value <= interval[1]):
        table.fail("interval", "must be two numbers around the value")
    found = Accuracy(
        dataset=table.text("dataset", longest=200),
        measure=table.text("measure", longest=100),
        value=value,
        n=table.integer("n", least=1, most=10**9),
        interval=(interval[0], interval[1]) if interval else None,
        note=table.text("note", ""),
    )
    table.done()
    return found


def _objects(top: Fields, output: OutputSpec) -> tuple[str, ...]:
    kind = output.kind
    # Pictures beside things are large: written only where the manifest or the request says so.
    objects = top.texts("objects", tuple(each for each in OBJECTS[kind] if each != "SM" or kind is OutputKind.IMAGE))
    if "SM" in objects and kind is OutputKind.INSTANCES and not output.channels:
        top.fail("objects", "has SM, but the model has no output.channels")
    for each in objects:
        if each not in OBJECTS[kind]:
            top.fail("objects", f"of {kind} can be {', '.join(OBJECTS[kind])}, not {each[:16]!r}")
    if not objects:
        top.fail("objects", "must name at least one kind of result object")
    return objects


def _check_stride(top: Fields, manifest: Manifest) -> None:
    spec, stride = manifest.input, manifest.output.stride
    if manifest.output.kind is not OutputKind.CLASSIFICATION and (spec.tile_size % stride or spec.overlap % stride):
        top.table("output").fail("stride", f"must divide tile_size ({spec.tile_size}) and overlap ({spec.overlap})")
