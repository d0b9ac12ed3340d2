"""A model as JSON and as text for people: what it is for, what it wants, how well it was measured."""

from collections.abc import Mapping
from typing import Any

from pydicom.sr.coding import Code

from dicomsvc.ai.catalogue.manifest import Accuracy, InputSpec, Manifest, ModelClass, OutputSpec
from dicomsvc.ai.catalogue.repository import Model


def model_document(model: Model) -> dict[str, Any]:
    """Return a model with its versions as JSON."""
    usable = model.problem is None
    return {
        "name": model.name,
        "enabled": model.enabled,
        "added": model.added,
        "default_number": model.version().number if usable else None,
        "problem": model.problem,
        "versions": [manifest_document(manifest) for manifest in model.versions],
    }


def manifest_document(manifest: Manifest) -> dict[str, Any]:
    """Return one version as JSON."""
    return {
        "number": manifest.number,
        "version": manifest.version,
        "title": manifest.title,
        "summary": manifest.summary,
        "intended_use": manifest.intended_use,
        "limitations": manifest.limitations,
        "licence": manifest.licence,
        "training_data": manifest.training_data,
        "family": _code(manifest.family),
        "weights_sha256": manifest.weights_sha256,
        "objects": list(manifest.objects),
        "input": _input(manifest.input),
        "output": _output(manifest.output),
        "classes": [_class(one) for one in manifest.classes],
        "accuracy": [_accuracy(figure) for figure in manifest.accuracy],
    }


def describe_model(model: Model) -> str:
    """Return a line for people."""
    mark = "added" if model.added else "comes with dicomsvc"
    if model.problem is not None:
        return f"{model.name}  cannot be used  ({mark})\n  {model.problem}"
    default = model.version()
    state = "enabled" if model.enabled else "disabled"
    others = [str(manifest.number) for manifest in model.versions if manifest is not default]
    also = f", also {', '.join(others)}" if others else ""
    return f"{model.name}:{default.number}  {default.title} {default.version}  {state}  ({mark}{also})"


def describe_manifest(manifest: Manifest) -> str:
    """Return a version's card for people."""
    spec, channels = manifest.input, manifest.output.channels
    rows = {
        "model": f"{manifest.name}:{manifest.number}, {manifest.title} {manifest.version}",
        "what it does": manifest.summary,
        "intended use": manifest.intended_use,
        "limits": manifest.limitations,
        "wants": f"{spec.stain} at {spec.mpp:g} um a pixel, {spec.coarsest_mpp:g} at the coarsest",
        "gives": f"{manifest.output.kind} of {', '.join(one.label for one in manifest.classes)}",
        "channels": "; ".join(f"{each.label} ({each.name}) {each.stands_for}".strip() for each in channels),
        "objects": ", ".join(manifest.objects),
        "licence": manifest.licence,
        "training data": manifest.training_data,
        "weights": manifest.weights_sha256,
    }
    figures = [_figure(figure) for figure in manifest.accuracy] or ["no figures in the manifest"]
    lines = [f"{name:14} {text}" for name, text in rows.items() if text]
    return "\n".join([*lines, *(f"{'accuracy':14} {figure}" for figure in figures)])


def _figure(figure: Accuracy) -> str:
    interval = f" ({figure.interval[0]:g} to {figure.interval[1]:g})" if figure.interval else ""
    note = f"; {figure.note}" if figure.note else ""
    return f"{figure.measure} {figure.value:g}{interval} on {figure.dataset}, n = {figure.n}{note}"


def _input(spec: InputSpec) -> dict[str, Any]:
    return {
        "stain": str(spec.stain),
        "mpp": spec.mpp,
        "coarsest_mpp": spec.coarsest_mpp,
        "tile_size": spec.tile_size,
        "overlap": spec.overlap,
        "channels": list(spec.channels),
        "only_tissue": spec.only_tissue,
        "steps": [{"name": step.name, **step.settings} for step in spec.steps],
        "statistics": list(spec.statistics),
        "guides": list(spec.guides),
    }


def _output(spec: OutputSpec) -> dict[str, Any]:
    channels = [
        {"name": each.name, "label": each.label, "stands_for": each.stands_for, "colour": list(each.colour)}
        for each in spec.channels
    ]
    return {"kind": str(spec.kind), "settings": dict(spec.settings), "channels": channels}


def _class(one: ModelClass) -> dict[str, Any]:
    return {
        "label": one.label,
        "category": _code(one.category),
        "type": _code(one.type),
        "colour": list(one.colour),
    }


def _code(code: Code) -> Mapping[str, str]:
    return {"value": code.value, "scheme": code.scheme_designator, "meaning": code.meaning}


def _accuracy(figure: Accuracy) -> dict[str, Any]:
    return {
        "dataset": figure.dataset,
        "measure": figure.measure,
        "value": figure.value,
        "n": figure.n,
        "interval": list(figure.interval) if figure.interval else None,
        "note": figure.note,
    }
