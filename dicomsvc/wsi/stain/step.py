"""What a preprocessing step is."""

from collections.abc import Mapping
from typing import Any, Protocol

from dicomsvc.wsi.stain.density import Pixels

Parameters = Mapping[str, Any]
"""What a step learnt of a slide: JSON. ``identity`` is there, with the reason, when it leaves pixels as they are."""

FEWEST_PIXELS = 200


class Step(Protocol):
    """Learns from pixels of the whole slide, then changes its tiles, each for itself."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that a manifest may give, with their defaults."""
        ...

    def fit(self, pixels: Pixels, settings: Mapping[str, Any]) -> Parameters:
        """Return the parameters for a slide of which ``(n, 3)`` pixels of tissue are given; ``settings`` are whole."""
        ...

    def apply(self, tile: Pixels, parameters: Parameters) -> Pixels:
        """Return a tile ``(rows, columns, 3)`` of the same shape."""
        ...


def identity(reason: str) -> Parameters:
    """Return the parameters that change nothing."""
    return {"identity": reason}
