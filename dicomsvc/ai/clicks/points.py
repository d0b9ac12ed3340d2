"""Points that somebody sends: finite numbers, not too many."""

from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from dicomsvc.errors import BadRequest

MOST_POINTS: Final = 1000
Point = tuple[FiniteFloat, FiniteFloat]
Points = Annotated[list[Point], Field(min_length=1, max_length=MOST_POINTS)]
_POINTS: Final = TypeAdapter(Points)
_MOST_BYTES: Final = 1 << 20


def check_points(values: Any) -> list[Point]:
    """Return points that may be answered.

    Raises
    ------
    BadRequest
        When they are no pairs of finite numbers, none, or too many.
    """
    try:
        return _POINTS.validate_python(values)
    except ValidationError as error:
        raise _refused(error) from None


def read_points(file: Path) -> npt.NDArray[np.float64]:
    """Return the points of a JSON file, ``[[x, y], …]``, as ``(n, 2)``.

    Raises
    ------
    BadRequest
        When the file cannot be read, or as for `check_points`.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise BadRequest(f"points: {file.name} cannot be read: {error.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise BadRequest(f"points take more than {_MOST_BYTES >> 20} MiB")
    try:
        return np.array(_POINTS.validate_json(content), np.float64)
    except ValidationError as error:
        raise _refused(error) from None


def _refused(error: ValidationError) -> BadRequest:
    problem = error.errors(include_input=False, include_url=False)[0]
    return BadRequest(": ".join(["points", *(str(part) for part in problem["loc"][:2]), problem["msg"]]))
