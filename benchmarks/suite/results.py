"""The measurements of one or several runs of the suite: kept as JSON, looked up by row and broker."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from suite.measuring import Measurement
from suite.places import BenchmarkError

#: What others are compared with.
REFERENCE: Final = "mosquitto"
OWN: Final = "noctule"


@dataclass(slots=True)
class Results:
    """Every measurement, and what a reader has to know about each run of the suite that they come from."""

    facts: list[dict[str, str]] = field(default_factory=list)
    #: The titles and units of rows by their names, in the order of the report.
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def of(self, row: str, broker: str) -> list[Measurement]:
        """The runs of one row with one broker that did not fail, in their order."""
        return [m for m in self.measurements if m.row == row and m.broker == broker and not m.error]

    def costs(self, row: str, broker: str) -> list[float]:
        """What they cost."""
        return [m.cost for m in self.of(row, broker)]

    def latencies_us(self, row: str, broker: str, percentile: str) -> list[float]:
        """A percentile of their latency: p50, p99 or p999."""
        return [m.latency_us[percentile] for m in self.of(row, broker) if percentile in m.latency_us]

    def brokers(self, rows: Iterable[str] | None = None) -> list[str]:
        """Who was measured (in these rows), Noctule first and the reference next."""
        wanted = None if rows is None else set(rows)
        found = dict.fromkeys(m.broker for m in self.measurements if wanted is None or m.row in wanted)
        return sorted(found, key=lambda name: (name != OWN, name != REFERENCE))

    def rows_of(self, group: str) -> list[str]:
        """The rows of a group that were measured."""
        measured = {m.row for m in self.measurements}
        return [name for name, row in self.rows.items() if row["group"] == group and name in measured]

    def replace_with(self, other: Results) -> None:
        """Take what another run has measured in place of our own measurements of the same rows."""
        anew = {m.row for m in other.measurements}
        kept = {m.row for m in self.measurements} - anew
        self.facts = [fact for fact in self.facts if kept] + other.facts
        self.rows = {**{name: row for name, row in self.rows.items() if name in kept}, **other.rows}
        self.measurements = [m for m in self.measurements if m.row in kept] + other.measurements
        self.left_out = other.left_out

    def write(self, path: Path) -> None:
        """Keep them as JSON."""
        document = {
            "facts": self.facts,
            "rows": self.rows,
            "left_out": self.left_out,
            "measurements": [_compact(asdict(m)) for m in self.measurements],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = json.dumps(document, indent=1)
        path.write_text(lines + "\n")


def _compact(measurement: dict[str, Any]) -> dict[str, Any]:
    """Without what the load generator says twice, and with figures of a length that means something."""
    load = measurement.pop("load")
    kept = ("seconds", "sent", "expected", "received", "window", "stalls", "held_back", "slow_bytes", "slow_closed")
    measurement["load"] = {name: load[name] for name in kept if name in load}
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in measurement.items()}


def read_results(path: Path) -> Results:
    """Read what was kept. BenchmarkError if it was not written by us."""
    try:
        document = json.loads(path.read_text())
        return Results(
            document["facts"],
            document["rows"],
            [Measurement(**one) for one in document["measurements"]],
            document["left_out"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} cannot be read: {error}") from None


def in_order(rows: dict[str, dict[str, Any]], order: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rows in this order; those that are not named come last."""
    places = {name: place for place, name in enumerate(order)}
    return dict(sorted(rows.items(), key=lambda item: places.get(item[0], len(places))))
