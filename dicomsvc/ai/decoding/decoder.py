"""The decoder of a model."""

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.decoding.tiles import Decoder


def decoder(manifest: Manifest, *, probability: bool = False) -> Decoder:
    """Return the decoder of a model's output.

    ``probability`` asks SEGMENTATION and CLASSIFICATION to keep the probabilities beside the class map.

    Raises
    ------
    InvalidModel
        When the manifest's output cannot be decoded: a tensor or setting that its kind does not have.
    """
    raise NotImplementedError
