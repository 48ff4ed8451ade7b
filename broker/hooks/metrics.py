"""Counters and gauges of one broker, by name: the broker's own and those of plugins."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(slots=True)
class Counter:
    """A number that only grows while the broker runs."""

    name: str
    text: str
    value: float = 0

    def add(self, amount: float = 1) -> None:
        """Count ``amount`` more. ValueError, the caller's fault, where it is negative."""
        if amount < 0:
            raise ValueError("a counter only grows")
        self.value += amount


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number that is read when somebody asks."""

    name: str
    text: str
    read: Callable[[], float]


class Metrics:
    """The registry. Names are of lower-case letters, digits and underscores, with their unit at the end
    (``logins_refused_total``, ``queue_bytes``)."""

    def __init__(self) -> None:
        self._by_name: dict[str, Counter | Gauge] = {}

    def __iter__(self) -> Iterator[Counter | Gauge]:
        return iter(self._by_name.values())

    def counter(self, name: str, text: str) -> Counter:
        """A new counter; ``text`` explains it in a line. ValueError where the name is taken or cannot be one."""
        counter = Counter(name, text)
        self._add(counter)
        return counter

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> Gauge:
        """A number that ``read()`` returns. ValueError where the name is taken or cannot be one."""
        gauge = Gauge(name, text, read)
        self._add(gauge)
        return gauge

    def _add(self, metric: Counter | Gauge) -> None:
        if not _NAME.fullmatch(metric.name):
            raise ValueError(f"{metric.name!r}: expected lower-case letters, digits and underscores")
        if self._by_name.setdefault(metric.name, metric) is not metric:
            raise ValueError(f"there is a metric {metric.name!r} already")
