"""Draws how the loss of a run went."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont

_WIDTH: Final = 900
_HEIGHT: Final = 480
_LEFT, _TOP, _RIGHT, _BOTTOM = 80, 40, 20, 60
_COLOURS: Final = {"loss": (31, 119, 180), "validation": (214, 39, 40)}
_GRID: Final = (224, 224, 224)
_INK: Final = (40, 40, 40)
_LINES: Final = 5


def draw_curve(lines: Path, picture: Path) -> None:
    """Draw ``curve.jsonl`` as a PNG: loss of training and of the validation pictures over steps."""
    looks = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines() if line]
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(16)
    lowest, highest = _range(looks)
    last = max((look["step"] for look in looks), default=1)
    for number in range(_LINES + 1):
        value = lowest + (highest - lowest) * number / _LINES
        y = _row(value, lowest, highest)
        draw.line([(_LEFT, y), (_WIDTH - _RIGHT, y)], fill=_GRID)
        draw.text((_LEFT - 8, y), f"{value:.3g}", fill=_INK, font=font, anchor="rm")
        step = last * number / _LINES
        draw.text((_column(step, last), _HEIGHT - _BOTTOM + 8), f"{step:.0f}", fill=_INK, font=font, anchor="mt")
    draw.text(((_WIDTH + _LEFT) / 2, _HEIGHT - 8), "steps", fill=_INK, font=font, anchor="ms")
    for number, (name, colour) in enumerate(_COLOURS.items()):
        draw.text((_LEFT + 160 * number, 12), name, fill=colour, font=font)
        points = [(_column(look["step"], last), _row(look[name], lowest, highest)) for look in looks if _is(look, name)]
        draw.line(points, fill=colour, width=2)
        for x, y in points:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
    image.save(picture)


def _range(looks: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    values = [look[name] for look in looks for name in _COLOURS if _is(look, name)]
    if not values:
        return 0.0, 1.0
    spare = 0.05 * (max(values) - min(values)) or 0.5
    return min(values) - spare, max(values) + spare


def _is(look: Mapping[str, Any], name: str) -> bool:
    value = look.get(name)
    return isinstance(value, int | float) and math.isfinite(value)


def _column(step: float, last: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / max(last, 1)


def _row(value: float, lowest: float, highest: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (highest - value) / (highest - lowest)
