"""Charts as SVG: dots with their spread on a logarithmic scale, and lines of two logarithmic scales.

Written out by hand, since these two kinds are all that is needed, and a file of text shows in a diff what has changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from suite.figures import Spread

_COLOURS: Final = ("#1f6f5c", "#c1622d", "#4c6fb1", "#8a5a9e", "#777777", "#b0a030")
_FONT: Final = "font-family='sans-serif' font-size='12'"
_GRID: Final = "stroke='#dddddd'"
_LEGEND: Final = 28
_ROW: Final = 14


@dataclass(frozen=True, slots=True)
class LogScale:
    """Puts values between two pixels; both ends are powers of ten."""

    least: float
    greatest: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value is."""
        low, high = math.log10(self.least), math.log10(self.greatest)
        share = (math.log10(max(value, self.least)) - low) / (high - low)
        return self.start + (self.end - self.start) * min(share, 1.0)

    def ticks(self) -> list[float]:
        """The powers of ten from end to end."""
        first, last = round(math.log10(self.least)), round(math.log10(self.greatest))
        return [10.0**power for power in range(first, last + 1)]


def scale_for(values: Sequence[float], start: float, end: float) -> LogScale:
    """A scale that holds all of the values that are above 0."""
    good = [value for value in values if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(good))), math.ceil(math.log10(max(good)))
    return LogScale(10.0**low, 10.0 ** max(high, low + 1), start, end)


def _label(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _document(width: int, height: int, title: str, body: Sequence[str]) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}'>"
    background = f"<rect width='{width}' height='{height}' fill='white'/>"
    heading = f"<text x='10' y='18' {_FONT} font-weight='bold'>{escape(title)}</text>"
    return "\n".join([head, background, heading, *body, "</svg>", ""])


def _legend(names: Sequence[str], y: int) -> list[str]:
    parts, x = [], 10
    for name, colour in zip(names, _colours(names), strict=True):
        parts.append(f"<circle cx='{x + 5}' cy='{y - 4}' r='4' fill='{colour}'/>")
        parts.append(f"<text x='{x + 14}' y='{y}' {_FONT}>{escape(name)}</text>")
        x += 30 + 8 * len(name)
    return parts


def _colours(names: Sequence[str]) -> list[str]:
    return [_COLOURS[place % len(_COLOURS)] for place in range(len(names))]


def dots(title: str, unit: str, rows: Mapping[str, Mapping[str, Spread]], marks: Mapping[str, float]) -> str:
    """A row for each title, in it a dot for each series, and a line where a row has a mark (a target)."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    values = [v for row in rows.values() for s in row.values() for v in (s.least, s.greatest)] + list(marks.values())
    width, left, top = 900, 330, 18 + _LEGEND + 14
    row_height = _ROW * max(1, len(names)) // 2 + 12
    height = top + row_height * len(rows) + 40
    scale = scale_for(values, left, width - 30)
    body = _legend(names, 18 + _LEGEND - 6)
    bottom = top + row_height * len(rows)
    for tick in scale.ticks():
        x = scale.at(tick)
        body.append(f"<line x1='{x:.1f}' y1='{top}' x2='{x:.1f}' y2='{bottom}' {_GRID}/>")
        body.append(f"<text x='{x:.1f}' y='{bottom + 16}' text-anchor='middle' {_FONT}>{_label(tick)}</text>")
    body.append(
        f"<text x='{(left + width) / 2:.0f}' y='{bottom + 34}' text-anchor='middle' {_FONT}>{escape(unit)}</text>"
    )
    for place, (row, series) in enumerate(rows.items()):
        middle = top + row_height * place + row_height / 2
        body.append(f"<text x='{left - 10}' y='{middle + 4:.1f}' text-anchor='end' {_FONT}>{escape(row)}</text>")
        if row in marks:
            x = scale.at(marks[row])
            body.append(
                f"<line x1='{x:.1f}' y1='{middle - row_height / 2 + 2:.1f}' x2='{x:.1f}' "
                f"y2='{middle + row_height / 2 - 2:.1f}' stroke='#cc0000' stroke-width='2'><title>target</title></line>"
            )
        for number, name in enumerate(names):
            if name not in series or series[name].median <= 0:
                continue
            found, colour = series[name], _colours(names)[number]
            y = middle + (number - (len(names) - 1) / 2) * _ROW / 2
            body.append(
                f"<line x1='{scale.at(found.least):.1f}' y1='{y:.1f}' x2='{scale.at(found.greatest):.1f}' y2='{y:.1f}' "
                f"stroke='{colour}' stroke-width='2'/>"
            )
            body.append(
                f"<circle cx='{scale.at(found.median):.1f}' cy='{y:.1f}' r='4' fill='{colour}'>"
                f"<title>{escape(name)}: {escape(str(found))}</title></circle>"
            )
    return _document(width, height, title, body)


def lines(title: str, x_title: str, y_title: str, series: Mapping[str, Sequence[tuple[float, Spread]]]) -> str:
    """A line for each series, both axes logarithmic; a bar at each point is its spread."""
    width, height, left, top, bottom = 640, 400, 70, 60, 350
    points = [point for one in series.values() for point in one]
    across = scale_for([x for x, _ in points], left, width - 45)
    up = scale_for([v for _, s in points for v in (s.least, s.greatest)], bottom, top)
    body = _legend(list(series), 18 + _LEGEND - 6)
    for tick in across.ticks():
        x = across.at(tick)
        body.append(f"<line x1='{x:.1f}' y1='{top}' x2='{x:.1f}' y2='{bottom}' {_GRID}/>")
        body.append(f"<text x='{x:.1f}' y='{bottom + 16}' text-anchor='middle' {_FONT}>{_label(tick)}</text>")
    for tick in up.ticks():
        y = up.at(tick)
        body.append(f"<line x1='{left}' y1='{y:.1f}' x2='{width - 45}' y2='{y:.1f}' {_GRID}/>")
        body.append(f"<text x='{left - 6}' y='{y + 4:.1f}' text-anchor='end' {_FONT}>{_label(tick)}</text>")
    body.append(
        f"<text x='{(left + width) / 2:.0f}' y='{bottom + 36}' text-anchor='middle' {_FONT}>{escape(x_title)}</text>"
    )
    body.append(
        f"<text x='16' y='{(top + bottom) / 2:.0f}' text-anchor='middle' {_FONT} "
        f"transform='rotate(-90 16 {(top + bottom) / 2:.0f})'>{escape(y_title)}</text>"
    )
    for (name, found), colour in zip(series.items(), _colours(list(series)), strict=True):
        path = " ".join(f"{across.at(x):.1f},{up.at(s.median):.1f}" for x, s in found)
        body.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        for x, s in found:
            at = across.at(x)
            body.append(
                f"<line x1='{at:.1f}' y1='{up.at(s.least):.1f}' x2='{at:.1f}' y2='{up.at(s.greatest):.1f}' "
                f"stroke='{colour}'/>"
            )
            body.append(
                f"<circle cx='{at:.1f}' cy='{up.at(s.median):.1f}' r='3' fill='{colour}'>"
                f"<title>{escape(name)}, {x:,.0f}: {escape(str(s))}</title></circle>"
            )
    return _document(width, height, title, body)
