"""Manifests of models that are nowhere, for tests of what comes after a model."""

from collections.abc import Mapping

from pydicom.sr.codedict import codes

from dicomsvc.ai.catalogue.manifest import InputSpec, Manifest, ModelClass, OutputKind, OutputSpec, Stain

_TENSORS = {
    OutputKind.INSTANCES: {"mask": "MASK"},
    OutputKind.POINTS: {"heat": "HEAT"},
    OutputKind.SEGMENTATION: {"probability": "PROBABILITY"},
    OutputKind.CLASSIFICATION: {"probability": "PROBABILITY"},
    OutputKind.MAP: {"value": "VALUE"},
    OutputKind.IMAGE: {"image": "IMAGE"},
}


def made_manifest(
    kind: OutputKind,
    *,
    classes: int = 1,
    mpp: float = 0.5,
    tile_size: int = 256,
    overlap: int = 64,
    stride: int = 1,
    tensors: Mapping[str, str] | None = None,
    stain: Stain = Stain.HE,
    **settings: float,
) -> Manifest:
    code = codes.SCT.Nucleus
    return Manifest(
        name="made",
        number=1,
        title="Made",
        version="1.0.0",
        summary="",
        intended_use="",
        licence="",
        training_data="",
        family=code,
        input=InputSpec("IMAGE", mpp, 2 * mpp, tile_size, overlap, stain),
        output=OutputSpec(kind, tensors or _TENSORS[kind], stride, settings),
        classes=tuple(ModelClass(f"class {k}", code, code, (0, 0, 0)) for k in range(classes)),
        weights_sha256="0" * 64,
    )
