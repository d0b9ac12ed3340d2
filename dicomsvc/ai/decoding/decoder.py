"""The decoder of a model."""

from dicomsvc.ai.catalogue.manifest import Manifest, OutputKind
from dicomsvc.ai.decoding.instances import InstanceDecoder
from dicomsvc.ai.decoding.pixelwise import (
    ChannelDecoder,
    ClassificationDecoder,
    ImageDecoder,
    MapDecoder,
    SegmentationDecoder,
)
from dicomsvc.ai.decoding.points import PointDecoder
from dicomsvc.ai.decoding.settings import ROLES, check_settings
from dicomsvc.ai.decoding.tiles import Decoder
from dicomsvc.errors import InvalidModel


def decoder(
    manifest: Manifest, *, probability: bool = False, channels: bool = False, mpp: float | None = None
) -> Decoder:
    """Return the decoder of a model's output.

    Parameters
    ----------
    probability
        Whether SEGMENTATION and CLASSIFICATION keep the probabilities beside the class map.
    channels
        Whether INSTANCES keep the manifest's named channels beside the things.
    mpp
        What the plane's resolution really is, where it differs a little from the manifest's.

    Raises
    ------
    InvalidModel
        When the manifest's output cannot be decoded: a tensor or setting that its kind does not have.
    """
    kind, mpp = manifest.output.kind, mpp or manifest.input.mpp
    if kind is OutputKind.CLICKS:
        raise InvalidModel(f"{manifest.name} answers clicks; it does not look at tiles")
    _check(manifest)
    settings = check_settings(kind, manifest.output.settings)
    if kind is OutputKind.INSTANCES:
        things = InstanceDecoder(manifest, settings, mpp)
        return ChannelDecoder(manifest, things) if channels and manifest.output.channels else things
    if kind is OutputKind.POINTS:
        return PointDecoder(manifest, settings, mpp)
    if kind is OutputKind.SEGMENTATION:
        return SegmentationDecoder(manifest, settings, probability)
    if kind is OutputKind.CLASSIFICATION:
        return ClassificationDecoder(manifest, settings, probability)
    if kind is OutputKind.MAP:
        return MapDecoder(manifest)
    return ChannelDecoder(manifest) if manifest.output.channels else ImageDecoder(manifest)


def _check(manifest: Manifest) -> None:
    output, roles = manifest.output, ROLES[manifest.output.kind]
    for role in output.tensors:
        if role not in roles:
            raise InvalidModel(f"output.tensors.{role} is not known for {output.kind} (known: {', '.join(roles)})")
    for role, meaning in roles.items():
        if meaning.required and role not in output.tensors:
            raise InvalidModel(f"output.tensors.{role} is missing: {meaning.help}")
    stride, spec = output.stride, manifest.input
    if stride < 1 or spec.tile_size % stride or spec.overlap % stride:
        raise InvalidModel(f"output.stride {stride} must divide input.tile_size and input.overlap")
