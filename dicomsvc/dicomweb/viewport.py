"""The parameters of rendered resources (PS3.18 8.3.5)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dicomsvc.errors import BadRequest
from dicomsvc.wsi.display import FUNCTIONS, Window

MAX_VIEWPORT_PIXELS: Final = 1 << 24
PROFILES: Final = ("no", "yes", "srgb")
_DEFAULT_QUALITY: Final = 90


@dataclass(frozen=True, slots=True)
class Viewport:
    """Size of the picture, and the source rectangle in pixels of the image; ``None``: up to the image's far border.

    A negative ``source_width`` or ``source_height`` flips the picture.
    """

    width: int
    height: int
    x: float = 0.0
    y: float = 0.0
    source_width: float | None = None
    source_height: float | None = None


@dataclass(frozen=True, slots=True)
class Rendering:
    """How a picture is asked for; without a viewport it has the image's own size, as far as that is sensible."""

    viewport: Viewport | None = None
    quality: int = _DEFAULT_QUALITY
    window: Window | None = None
    profile: str = "no"


@dataclass(frozen=True, slots=True)
class Framing:
    """A source rectangle within an image of some size, and the size of the picture made of it."""

    x: int
    y: int
    width: int
    height: int
    picture_width: int
    picture_height: int
    flip_columns: bool = False
    flip_rows: bool = False


def read_rendering(query: Mapping[str, str]) -> Rendering:
    """Return what the query parameters ask for.

    Raises
    ------
    BadRequest
        When one of them is malformed; the message names it.
    """
    profile = query.get("iccprofile", "no").lower()
    if profile not in PROFILES:
        raise BadRequest(f"iccprofile must be one of {', '.join(PROFILES)}")
    quality = query.get("quality", str(_DEFAULT_QUALITY))
    if not (quality.isascii() and quality.isdigit() and len(quality) < 4 and 1 <= int(quality) <= 100):
        raise BadRequest("quality must be a number from 1 to 100")
    return Rendering(
        viewport=_viewport(query["viewport"]) if query.get("viewport") else None,
        quality=int(quality),
        window=_window(query["window"]) if query.get("window") else None,
        profile=profile,
    )


def _viewport(text: str) -> Viewport:
    parts = text.split(",")
    if len(parts) not in (2, 4, 6):
        raise BadRequest("viewport must be vw,vh or vw,vh,sx,sy,sw,sh")
    values = [_finite("viewport", part) if part.strip() else None for part in parts]
    values += [None] * (6 - len(values))
    width, height, x, y, source_width, source_height = values
    if width is None or height is None or not (width >= 1 and height >= 1):
        raise BadRequest("viewport needs a width and a height of at least 1")
    if width * height > MAX_VIEWPORT_PIXELS:
        raise BadRequest(f"viewport is larger than {MAX_VIEWPORT_PIXELS} pixels")
    if source_width == 0 or source_height == 0 or (x or 0) < 0 or (y or 0) < 0:
        raise BadRequest("viewport names an empty source rectangle, or one that begins outside of the image")
    return Viewport(int(width), int(height), x or 0.0, y or 0.0, source_width, source_height)


def _window(text: str) -> Window:
    parts = text.split(",")
    if len(parts) not in (2, 3):
        raise BadRequest("window must be center,width or center,width,function")
    function = parts[2].strip().lower() if len(parts) == 3 else "linear"
    width = _finite("window", parts[1])
    if function not in FUNCTIONS or width <= 0 or (function == "linear" and width < 1):
        raise BadRequest(f"window needs a positive width and a function of {', '.join(FUNCTIONS)}")
    return Window(_finite("window", parts[0]), width, function)


def _finite(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 1 << 40:
        raise BadRequest(f"{name} holds something that is no number")
    return value


def frame_picture(viewport: Viewport, columns: int, rows: int) -> Framing:
    """Fit the source rectangle of an image of ``columns`` x ``rows`` into the viewport, its proportions kept.

    Raises
    ------
    BadRequest
        When the rectangle lies outside of the image.
    """
    if viewport.x >= columns or viewport.y >= rows:
        raise BadRequest("viewport's source rectangle lies outside of the image")
    x, y = int(viewport.x), int(viewport.y)
    asked_width = columns - x if viewport.source_width is None else abs(viewport.source_width)
    asked_height = rows - y if viewport.source_height is None else abs(viewport.source_height)
    width = max(1, min(columns - x, math.ceil(asked_width)))
    height = max(1, min(rows - y, math.ceil(asked_height)))
    scale = min(viewport.width / width, viewport.height / height)
    return Framing(
        x=x,
        y=y,
        width=width,
        height=height,
        picture_width=max(1, min(viewport.width, round(width * scale))),
        picture_height=max(1, min(viewport.height, round(height * scale))),
        flip_columns=(viewport.source_width or 0) < 0,
        flip_rows=(viewport.source_height or 0) < 0,
    )
