"""A chart of a run as SVG: throughput and latency over time, written here, without a library."""

from collections.abc import Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

_WIDTH: Final = 860
_HEIGHT: Final = 520
_LEFT: Final = 78
_RIGHT: Final = 24
_PANEL: Final = 180
_TOPS: Final = (58, 302)
_TICKS: Final = 4

_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}.grid{stroke:#ddd}"
    ".line{fill:none;stroke-width:2}@media(prefers-color-scheme:dark){svg{background:#16181d}text{fill:#ddd}"
    ".grid{stroke:#3a3d45}}"
)

#: Lines that are told apart without colour vision too.
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73")


def chart(result: dict[str, Any]) -> str:
    """The chart of a run's JSON."""
    load, got = result["load"], result["result"]
    intervals = got["intervals"]
    times = [one["at_s"] for one in intervals]
    title = f"noctule bench {load['scenario']}: {load['publishers']} to {load['subscribers']}, QoS {load['qos']}"
    if load["connections"]:
        title = f"noctule bench {load['scenario']}: {load['connections']} connections"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">',
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="{_LEFT}" y="26">{escape(title)}</text>',
    ]
    throughput = [
        ("sent", [one["sent_per_s"] for one in intervals]),
        ("received", [one["received_per_s"] for one in intervals]),
    ]
    latency = [
        ("p50", [one["p50_ms"] for one in intervals]),
        ("p99", [one["p99_ms"] for one in intervals]),
        ("longest", [one["maximum_ms"] for one in intervals]),
    ]
    parts += _panel(_TOPS[0], "messages per second", times, throughput)
    parts += _panel(_TOPS[1], "latency, ms", times, latency)
    parts.append("</svg>\n")
    return "\n".join(parts)


def _panel(top: int, title: str, times: Sequence[float], lines: Sequence[tuple[str, Sequence[float]]]) -> list[str]:
    highest = _round_up(max((value for _, values in lines for value in values), default=0.0))
    end = max(times, default=1.0) or 1.0
    width = _WIDTH - _LEFT - _RIGHT
    bottom = top + _PANEL
    parts = [f'<text x="{_LEFT}" y="{top - 10}">{escape(title)}</text>']
    for tick in range(_TICKS + 1):
        y = bottom - _PANEL * tick / _TICKS
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{highest * tick / _TICKS:,.4g}</text>')
        x = _LEFT + width * tick / _TICKS
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{end * tick / _TICKS:.3g} s</text>')
    for index, (name, values) in enumerate(lines):
        colour = _COLOURS[index]
        points = " ".join(
            f"{_LEFT + width * at / end:.1f},{bottom - _PANEL * value / highest:.1f}"
            for at, value in zip(times, values, strict=True)
        )
        if len(times) == 1:
            left, _, height = points.partition(",")
            parts.append(f'<circle cx="{left}" cy="{height}" r="3" fill="{colour}"/>')
        else:
            parts.append(f'<polyline class="line" stroke="{colour}" points="{points}"/>')
        legend = _WIDTH - _RIGHT - 90 * (len(lines) - index)
        parts.append(f'<rect x="{legend}" y="{top - 19}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{legend + 20}" y="{top - 12}">{escape(name)}</text>')
    return parts


def _round_up(value: float) -> float:
    """A round number that is not below the value, for the top of an axis."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value)
