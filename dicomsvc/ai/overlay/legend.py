"""The strip under a picture that says what its colours mean, and the scale bar."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dicomsvc.ai.overlay.layers import Colour, Layer

_TEXT_PIXELS: Final = 15
_LINE_PIXELS: Final = 24
_MARGIN: Final = 10
_SWATCH: Final = (28, 14)
_SCALE_PIXELS: Final = 110
_LONGEST: Final = 60
_INK: Final = (20, 20, 20)


def with_legend(picture: Image.Image, layers: Sequence[Layer], note: str, um_per_pixel: float) -> Image.Image:
    """Return the picture with a scale bar on it and a strip below that names the layers."""
    font = ImageFont.load_default(_TEXT_PIXELS)
    _draw_scale_bar(picture, font, um_per_pixel)
    # Several objects may show one thing: a segmentation and its label map.
    entries = list(dict.fromkeys((layer.colours, readable(layer.label)) for layer in layers))
    widths = [_swatch_width(colours) + 6 + math.ceil(font.getlength(text)) + 22 for colours, text in entries]
    width = max(picture.width, 200)
    lines = _lines(widths, width - 2 * _MARGIN)
    strip = Image.new("RGB", (width, picture.height + 2 * _MARGIN + _LINE_PIXELS * (len(lines) + 1)), "white")
    strip.paste(picture, (0, 0))
    draw = ImageDraw.Draw(strip)
    y = picture.height + _MARGIN
    for line in lines:
        x = _MARGIN
        for number in line:
            colours, text = entries[number]
            _draw_swatch(strip, x, y + (_LINE_PIXELS - _SWATCH[1]) // 2, colours)
            draw.text((x + _swatch_width(colours) + 6, y + 3), text, _INK, font)
            x += widths[number]
        y += _LINE_PIXELS
    draw.text((_MARGIN, y + 3), readable(note), (110, 110, 110), font)
    return strip


def readable(text: str) -> str:
    """Return what the font can show of a text from an object, cut to a line's length."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text).strip()
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."


def bar_length_um(um_per_pixel: float, width: int) -> float:
    """Return the longest of 1, 2, 5, 10, … micrometres that takes up to a quarter of the picture."""
    room = um_per_pixel * width / 4
    power = 10.0 ** math.floor(math.log10(room))
    return max(step * power for step in (1, 2, 5) if step * power <= room)


def _lines(widths: Sequence[int], room: int) -> list[list[int]]:
    lines: list[list[int]] = []
    left = 0
    for number, width in enumerate(widths):
        if not lines or width > left:
            lines.append([])
            left = room
        lines[-1].append(number)
        left -= width
    return lines


def _swatch_width(colours: Sequence[Colour]) -> int:
    return _SWATCH[0] if len(colours) == 1 else _SCALE_PIXELS


def _draw_swatch(strip: Image.Image, x: int, y: int, colours: Sequence[Colour]) -> None:
    width = _swatch_width(colours)
    places = np.linspace(0, len(colours) - 1, width)
    parts = [np.interp(places, range(len(colours)), [colour[part] for colour in colours]) for part in range(3)]
    row = np.rint(np.stack(parts, axis=1)).astype(np.uint8)
    strip.paste(Image.fromarray(np.repeat(row[np.newaxis], _SWATCH[1], axis=0)), (x, y))


def _draw_scale_bar(picture: Image.Image, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", um: float) -> None:
    length_um = bar_length_um(um, picture.width)
    pixels = round(length_um / um)
    said = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} um"
    width = max(pixels, math.ceil(font.getlength(said))) + 12
    if picture.height < 60 or picture.width < width + 20:
        return
    left, bottom = 10, picture.height - 10
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left, bottom - 34, left + width, bottom), fill="white", outline=(160, 160, 160))
    draw.text((left + 6, bottom - 32), said, _INK, font)
    draw.rectangle((left + 6, bottom - 10, left + 5 + pixels, bottom - 6), fill="black")
