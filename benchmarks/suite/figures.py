"""Statistics of a few repetitions: median and spread, ratios, and the exponent with which a cost grows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the greatest value."""

    median: float
    least: float
    greatest: float

    def __str__(self) -> str:
        if self.least == self.greatest:
            return short(self.median)
        return f"{short(self.median)} ({short(self.least)} to {short(self.greatest)})"


def spread(values: Sequence[float]) -> Spread | None:
    """Median, least and greatest; None of nothing."""
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread | None:
    """The ratio of the medians; its spread is that of the ratios of runs that followed each other.

    None if there is nothing to divide.
    """
    if not above or not below or statistics.median(below) <= 0:
        return None
    middle = statistics.median(above) / statistics.median(below)
    pairs = [one / other for one, other in zip(above, below, strict=False) if other > 0]
    return Spread(middle, min([*pairs, middle]), max([*pairs, middle]))


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """The slope of the line through the logarithms: 1 where the cost doubles with x, 0 where it stays.

    None for fewer than three points, or for values that have no logarithm.
    """
    if len(points) < 3 or any(x <= 0 or y <= 0 for x, y in points):
        return None
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    if len(set(xs)) < 2:
        return None
    return statistics.linear_regression(xs, ys).slope


def short(value: float) -> str:
    """Write a figure with about three digits."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.1:
        return f"{value:.3f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
