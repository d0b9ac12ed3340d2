"""Bars with intervals, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor
from typing import Final

from dicomsvc.ai.training.granularity.measures import Estimate

_COLOURS: Final = ("#0072b2", "#e69f00", "#d55e00", "#009e73")
"""Told apart by the colour blind (Okabe and Ito)."""
_BAR, _GAP, _HEIGHT, _LEFT, _TOP, _BELOW = 16, 14, 220, 44, 34, 46


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that stand together: one a series, None where there is none."""

    label: str
    bars: tuple[Estimate | None, ...]


def bar_chart(title: str, series: Sequence[str], groups: Sequence[Group]) -> str:
    """Return an SVG document; values are from 0 to 1, and the axis begins below the lowest."""
    lowest = min((bar.low for group in groups for bar in group.bars if bar is not None), default=0.0)
    base = max(0.0, floor(lowest * 10 - 0.5) / 10)
    wide = len(series) * _BAR + _GAP
    width, height = max(_LEFT + len(groups) * wide + _GAP, 520), _TOP + _HEIGHT + _BELOW

    def across(value: float) -> float:
        return _TOP + _HEIGHT * (1 - (value - base) / (1 - base))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="14" font-size="12">{escape(title)}{_begins(base)}</text>',
    ]
    steps = round((1 - base) * 10)
    for step in range(steps + 1):
        value = base + step / 10
        parts.append(
            f'<line x1="{_LEFT}" x2="{width - 6}" y1="{across(value):.1f}" y2="{across(value):.1f}" stroke="#dddddd"/>'
            f'<text x="{_LEFT - 6}" y="{across(value) + 3:.1f}" text-anchor="end">{value:.1f}</text>'
        )
    for number, group in enumerate(groups):
        left = _LEFT + _GAP / 2 + number * wide
        for at, bar in enumerate(group.bars):
            if bar is not None:
                parts += _bar(left + at * _BAR, across(bar.value), across(bar.low), across(bar.high), across(base), at)
        middle = left + len(series) * _BAR / 2
        for line, text in enumerate(group.label.split("\n")):
            parts.append(
                f'<text x="{middle:.1f}" y="{_TOP + _HEIGHT + 14 + 11 * line}" text-anchor="middle">'
                f"{escape(text)}</text>"
            )
    for at, name in enumerate(series):
        left = _LEFT + at * 110
        parts.append(
            f'<rect x="{left}" y="20" width="9" height="9" fill="{_COLOURS[at % len(_COLOURS)]}"/>'
            f'<text x="{left + 13}" y="28">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _begins(base: float) -> str:
    return f"; the axis begins at {base:.1f}" if base else ""


def _bar(left: float, top: float, low: float, high: float, bottom: float, at: int) -> list[str]:
    middle = left + _BAR / 2
    return [
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{_BAR - 2}" height="{max(0.0, bottom - top):.1f}" '
        f'fill="{_COLOURS[at % len(_COLOURS)]}"/>',
        f'<path d="M{middle:.1f} {low:.1f}V{high:.1f}M{middle - 3:.1f} {high:.1f}h6M{middle - 3:.1f} {low:.1f}h6" '
        'stroke="black" fill="none"/>',
    ]
