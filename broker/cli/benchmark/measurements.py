"""What a run counts: messages, losses, times, and how all of it went over the seconds."""

import time
from dataclasses import dataclass, field
from typing import Any, Final

from noctule.cli.benchmark.histogram import Histogram

_NS_PER_S: Final = 1_000_000_000
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Interval:
    """One stretch of the run."""

    #: When it ended, in seconds from the start.
    at_s: float
    seconds: float
    sent: int
    received: int
    p50_ns: int
    p99_ns: int
    maximum_ns: int


@dataclass(slots=True)
class Measurements:
    """The counters of a run. ``begin`` starts the time, ``finish`` ends it."""

    sent: int = 0
    received: int = 0
    #: Deliveries that the messages sent should have brought.
    expected: int = 0
    #: Deliveries that were there before, or out of order.
    repeated: int = 0
    connected: int = 0
    errors: int = 0
    first_error: str = ""
    latency: Histogram = field(default_factory=Histogram)
    intervals: list[Interval] = field(default_factory=list)
    seconds: float = 0.0
    generator_cpu_s: float = 0.0

    _current: Histogram = field(default_factory=Histogram)
    _began_at: float = 0.0
    _cpu_at_start: float = 0.0
    _last_at: float = 0.0
    _last_sent: int = 0
    _last_received: int = 0

    @property
    def has_begun(self) -> bool:
        """Whether the measured time runs."""
        return self._began_at > 0 and self.seconds == 0

    def begin(self) -> None:
        """The measured time starts; what was counted before is forgotten."""
        self.sent = self.received = self.expected = self.repeated = 0
        self.latency, self._current = Histogram(), Histogram()
        self._began_at = self._last_at = time.perf_counter()
        self._last_sent = self._last_received = 0
        self._cpu_at_start = time.process_time()

    def took(self, nanoseconds: int) -> None:
        """Something took so long."""
        self._current.add(max(nanoseconds, 0))

    def failed(self, text: str) -> None:
        """Something went wrong; the first of its kind is kept in words."""
        self.errors += 1
        self.first_error = self.first_error or text

    def close_interval(self) -> Interval:
        """End one stretch and begin the next."""
        now = time.perf_counter()
        current = self._current
        p50, p99 = current.percentiles((50, 99))
        interval = Interval(
            now - self._began_at,
            max(now - self._last_at, 1e-9),
            self.sent - self._last_sent,
            self.received - self._last_received,
            p50,
            p99,
            current.maximum,
        )
        self.latency.merge(current)
        self._current = Histogram()
        self._last_at, self._last_sent, self._last_received = now, self.sent, self.received
        self.intervals.append(interval)
        return interval

    def finish(self) -> None:
        """The measured time ends."""
        if self._current.count or time.perf_counter() - self._last_at > 0.01:
            self.close_interval()
        self.seconds = time.perf_counter() - self._began_at
        self.generator_cpu_s = time.process_time() - self._cpu_at_start

    @property
    def lost(self) -> int:
        """Deliveries that did not come."""
        return max(self.expected - self.received, 0)

    def as_json(self) -> dict[str, Any]:
        """Everything, with units in the names."""
        seconds = self.seconds or 1e-9
        return {
            "seconds": round(self.seconds, 3),
            "sent": self.sent,
            "received": self.received,
            "lost": self.lost,
            "repeated": self.repeated,
            "connected": self.connected,
            "errors": self.errors,
            "first_error": self.first_error,
            "sent_per_s": round(self.sent / seconds, 1),
            "received_per_s": round(self.received / seconds, 1),
            "generator_busy": round(self.generator_cpu_s / seconds, 3),
            "latency_ms": {
                "count": self.latency.count,
                "mean": self.latency.mean / 1e6,
                **{f"p{percent:g}": self.latency.percentile(percent) / 1e6 for percent in PERCENTILES},
                "maximum": self.latency.maximum / 1e6,
            },
            "intervals": [
                {
                    "at_s": round(one.at_s, 3),
                    "sent_per_s": round(one.sent / one.seconds, 1),
                    "received_per_s": round(one.received / one.seconds, 1),
                    "p50_ms": one.p50_ns / 1e6,
                    "p99_ms": one.p99_ns / 1e6,
                    "maximum_ms": one.maximum_ns / 1e6,
                }
                for one in self.intervals
            ],
        }
