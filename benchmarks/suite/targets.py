"""What Noctule is meant to reach, and whether the figures show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from suite.figures import Spread, ratio, spread
from suite.results import OWN, REFERENCE, Results


@dataclass(frozen=True, slots=True)
class Side:
    """One of two things that are divided: a figure of one row with one broker."""

    row: str
    broker: str = OWN
    #: "cost", or a percentile of latency: "p50", "p99".
    figure: str = "cost"

    def values(self, results: Results) -> list[float]:
        """What was measured of it."""
        if self.figure == "cost":
            return results.costs(self.row, self.broker)
        return results.latencies_us(self.row, self.broker, self.figure)


@dataclass(frozen=True, slots=True)
class Target:
    """A quotient (or a value, where ``below`` is None) and the limit that it has to keep."""

    title: str
    above: Side
    below: Side | None
    limit: float
    #: Whether the limit is the least that is wanted; otherwise it is the most.
    is_least: bool
    unit: str = "x"

    def value(self, results: Results) -> Spread | None:
        """What the figures give; None where something was not measured."""
        if self.below is None:
            return spread(self.above.values(results))
        return ratio(self.above.values(results), self.below.values(results))

    def is_met(self, value: Spread) -> bool:
        """Whether the median keeps the limit."""
        return value.median >= self.limit if self.is_least else value.median <= self.limit

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"{'≥' if self.is_least else '≤'} {self.limit:g}{self.unit}"


def _cheaper(row: str, title: str, times: float) -> Target:
    return Target(f"{title}: mosquitto ÷ noctule, CPU", Side(row, REFERENCE), Side(row), times, is_least=True)


def _not_slower(row: str, title: str, percentile: str) -> Target:
    above, below = Side(row, OWN, percentile), Side(row, REFERENCE, percentile)
    return Target(f"{title}: noctule ÷ mosquitto, {percentile}", above, below, 1.0, is_least=False)


def _within(row: str, other: str, title: str, times: float) -> Target:
    return Target(title, Side(row), Side(other), times, is_least=False)


TARGETS: Final = (
    _cheaper("1-1", "1 → 1, QoS 0, 64 bytes", 8),
    _cheaper("100-1", "100 → 1, QoS 0, 64 bytes", 8),
    _cheaper("200-pairs", "200 pairs, QoS 0, 64 bytes", 8),
    _cheaper("1-100", "1 → 100, QoS 0, 64 bytes", 25),
    _cheaper("1-1000", "1 → 1,000, QoS 0, 64 bytes", 25),
    _cheaper("1-1-qos1", "1 → 1, QoS 1, 20 in flight", 5),
    _cheaper("1-1-qos2", "1 → 1, QoS 2, 20 in flight", 6),
    _cheaper("ping-pong", "one message at a time", 1),
    _not_slower("ping-pong", "one message at a time", "p50"),
    _cheaper("1000-slow-10", "1,000 publishers at 10 msg/s → 1", 1.5),
    _not_slower("1000-slow-10", "1,000 publishers at 10 msg/s → 1", "p99"),
    _cheaper("1-10-65536", "1 → 10, 65,536 bytes", 1.5),
    _within("1-1-v5-properties", "1-1-v311", "version 5 with properties ÷ 3.1.1", 1.3),
    _within("access-10000-topic", "access-none-topic", "10,000 access rules ÷ none, one topic", 1.2),
    _within("access-10000", "topics-1000", "10,000 access rules ÷ none, 1,000 topics in turn", 1.2),
    _within("filters-10000", "topics-1000", "10,000 filters of others ÷ none", 1.2),
    Target("idle connection, resident", Side("idle"), None, 1.5, is_least=False, unit=" KB"),
    _cheaper("storm", "connect, subscribe, disconnect", 2),
    Target(
        "retained messages delivered for #: mosquitto ÷ noctule, time",
        Side("retained-delivery", REFERENCE),
        Side("retained-delivery"),
        5,
        is_least=True,
    ),
    Target(
        "resident bytes of a retained message: noctule ÷ mosquitto",
        Side("retained-memory"),
        Side("retained-memory", REFERENCE),
        1.2,
        is_least=False,
    ),
    Target("1 → 1, QoS 0: noctule ÷ the bare relay, CPU", Side("1-1"), Side("1-1", "relay"), 2.5, is_least=False),
)
