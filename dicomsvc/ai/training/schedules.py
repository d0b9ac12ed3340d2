"""How the learning rate goes over a run, as a share of the recipe's."""

import math
from typing import Final, Literal

ScheduleName = Literal["cosine", "plateau", "step"]
_WARM_UP: Final = 0.05
_STEPS: Final = (0.6, 0.85)
_STEP: Final = 0.1
_DROP: Final = 0.3
_LEAST: Final = 1e-2
LOOKS_TO_DROP: Final = 2
"""Looks at the validation pictures without gain after which ``plateau`` drops."""


def share(name: ScheduleName, done: float, drops: int) -> float:
    """Return the share of the rate after ``done`` (0 to 1) of a run: a straight warm-up, then as the name says.

    ``cosine`` falls along half a cosine to a hundredth; ``step`` to a tenth after 60 % and again after 85 %;
    ``plateau`` to three tenths each of the ``drops`` times that looks brought no gain.
    """
    warm = min(1.0, (done + 1e-3) / _WARM_UP)
    if name == "cosine":
        return warm * (_LEAST + (1 - _LEAST) * 0.5 * (1 + math.cos(math.pi * done)))
    if name == "step":
        return warm * float(_STEP ** sum(done >= at for at in _STEPS))
    return warm * max(_LEAST, float(_DROP**drops))
