"""The report in Markdown and its charts, made of results."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from suite import charts
from suite.figures import Spread, exponent, ratio, short, spread
from suite.results import OWN, REFERENCE, Results
from suite.scenarios import UNITS
from suite.targets import TARGETS

GROUP_TITLES: Final = {
    "core": "Messages",
    "relay": "Beside a relay that only receives and sends",
    "latency": "Latency at a fixed rate",
    "crowd": "Many clients",
    "work": "Other work",
    "transports": "TLS and WebSocket",
    "scale": "A million",
    "growth": "How costs grow",
    "cores": "A second core for one process",
    "matrix-1-1": "1 → 1",
    "matrix-100-1": "100 → 1",
    "matrix-1-100": "1 → 100",
    "matrix-1-1000": "1 → 1,000",
    "matrix-200-pairs": "200 pairs",
}

_CURVE_AXES: Final = {
    "clients": "publishers",
    "topics": "topics",
    "filters": "filters of others",
    "fan-out": "subscribers",
    "payload": "bytes",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a Markdown table, and an empty line."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(row) + " |" for row in lines] + [""]


def _cell(found: Spread | None) -> str:
    return "" if found is None else str(found)


def targets_table(results: Results) -> list[str]:
    """What is meant to be reached, and whether it is."""
    rows = []
    for target in TARGETS:
        value = target.value(results)
        verdict = "not measured" if value is None else "met" if target.is_met(value) else "**missed**"
        rows.append([target.title, target.wanted, _cell(value), verdict])
    return table(["target", "wanted", "measured", ""], rows)


def cost_table(results: Results, rows: Sequence[str]) -> list[str]:
    """What the work costs each broker; the ratios say how many times cheaper Noctule is."""
    brokers = results.brokers(rows)
    others = [name for name in brokers if name != OWN] if OWN in brokers else []
    lines = []
    for name in rows:
        row = results.rows[name]
        costs = {broker: results.costs(name, broker) for broker in brokers}
        cells = [row["title"], UNITS[row["unit"]], *(_cell(spread(costs[broker])) for broker in brokers)]
        for other in others:
            found = ratio(costs[other], costs[OWN])
            cells.append("" if found is None else f"{short(found.median)}x")
        lines.append(cells)
    return table(["work", "unit", *brokers, *(f"{name} ÷ {OWN}" for name in others)], lines)


def detail_table(results: Results, rows: Sequence[str]) -> list[str]:
    """How much was carried, what was lost, and how long it took."""
    head = ["work", "broker", "per second", "counted", "lost", "repeated", "broker busy", "generator µs"]
    head += ["p50 µs", "p99 µs", "p99.9 µs", "runs"]
    lines = []
    for name in rows:
        row = results.rows[name]
        for broker in results.brokers([name]):
            every = [m for m in results.measurements if m.row == name and m.broker == broker]
            good = [m for m in every if not m.error]
            cells = [row["title"], broker, _cell(spread([m.rate for m in good])), f"{sum(m.units for m in good):,}"]
            cells += [f"{sum(m.lost for m in good):,}", f"{sum(m.duplicates for m in good):,}"]
            cells += [f"{statistics.median(m.busy for m in good):.0%}" if good else ""]
            cells += [_cell(spread([m.generator_cost for m in good]))]
            for percentile in ("p50", "p99", "p999"):
                values = results.latencies_us(name, broker, percentile) if row["latency"] else []
                cells.append(_cell(spread(values)))
            lines.append([*cells, f"{len(good)} of {len(every)}"])
    return table(head, lines)


def matrix_table(results: Results, rows: Sequence[str]) -> list[str]:
    """The cost of each combination of version, QoS and payload, and the ratio of the reference to Noctule."""
    brokers = results.brokers(rows)
    lines = []
    for name in rows:
        costs = {broker: results.costs(name, broker) for broker in brokers}
        lost = sum(m.lost for broker in brokers for m in results.of(name, broker))
        title = results.rows[name]["title"].partition(", ")[2]
        cells = [title, *(_cell(spread(costs[broker])) for broker in brokers)]
        found = ratio(costs.get(REFERENCE, []), costs.get(OWN, []))
        lines.append([*cells, "" if found is None else f"{short(found.median)}x", f"{lost:,}"])
    head = ["version, QoS, payload", *(f"{name}, CPU µs / message" for name in brokers), f"{REFERENCE} ÷ {OWN}", "lost"]
    return table(head, lines)


def curve_names(results: Results) -> list[str]:
    """The curves that were measured."""
    found = (results.rows[name].get("curve") for name in results.rows_of("growth"))
    return list(dict.fromkeys(curve for curve in found if curve))


def curve_points(results: Results, curve: str, broker: str) -> list[tuple[float, Spread]]:
    """The points of a curve, by rising x."""
    points = []
    for name in results.rows_of("growth"):
        row = results.rows[name]
        found = spread(results.costs(name, broker)) if row.get("curve") == curve else None
        if found is not None:
            points.append((float(row["x"]), found))
    return sorted(points, key=lambda point: point[0])


def growth_table(results: Results) -> list[str]:
    """Every curve: the cost at its points, and the exponent over all of them and over its upper half."""
    lines = []
    for curve in curve_names(results):
        for broker in results.brokers(results.rows_of("growth")):
            points = curve_points(results, curve, broker)
            if not points:
                continue
            numbers = [(x, s.median) for x, s in points]
            upper = numbers[len(numbers) // 2 :] if len(numbers) >= 5 else []
            texts = [f"{value:.2f}" if value is not None else "" for value in (exponent(numbers), exponent(upper))]
            written = ", ".join(f"{x:,.0f}: {short(cost)}" for x, cost in numbers)
            lines.append([_CURVE_AXES.get(curve, curve), broker, written, *texts])
    return table(["grows with", "broker", "CPU µs / message at", "exponent", "of the upper half"], lines)


def facts_lines(results: Results) -> list[str]:
    """Machine, programs and commands of every run that the figures come from."""
    lines = []
    for fact in results.facts:
        lines += [f"- {name}: {value}" for name, value in fact.items() if name != "command"]
        lines += ["", "      " + fact["command"], ""]
    waits = [m.waited for m in results.measurements if not m.error]
    if waits and statistics.median(waits) > 0.05:
        lines += [
            f"The machine had other work: brokers waited for their core for {statistics.median(waits):.0%} of the time "
            f"(median of all runs; {max(waits):.0%} at most). Read the ratios.",
            "",
        ]
    return lines


def failure_lines(results: Results) -> list[str]:
    """What is not in the tables, and why."""
    lines = []
    failed = [m for m in results.measurements if m.error]
    if failed:
        lines += ["Runs that failed and are left out above:", ""]
        counted: dict[tuple[str, str, str], int] = {}
        for m in failed:
            counted[m.broker, m.row, m.error] = counted.get((m.broker, m.row, m.error), 0) + 1
        lines += [f"- {broker}, {row}, {count} times: {error}" for (broker, row, error), count in counted.items()] + [
            ""
        ]
    if results.left_out:
        lines += ["Left out:", "", *(f"- {text}" for text in results.left_out), ""]
    return lines


def group_lines(results: Results, group: str) -> list[str]:
    """The tables of one group."""
    rows = results.rows_of(group)
    if group == "growth":
        return growth_table(results)
    if group.startswith("matrix"):
        return matrix_table(results, rows)
    return [*cost_table(results, rows), *detail_table(results, rows)]


def report(results: Results, chart_names: Sequence[str] = ()) -> str:
    """The whole report as Markdown."""
    lines = ["# Benchmark results", "", *facts_lines(results)]
    lines += [
        "Median (least to greatest) of the repetitions. CPU time is the broker's own, as the operating system counts "
        "it. Messages are those that went in and those that came out, added.",
        "",
        "## Targets",
        "",
        *targets_table(results),
        *failure_lines(results),
    ]
    lines += [f"![{name.removesuffix('.svg')}]({name})\n" for name in chart_names]
    matrix = False
    for group, title in GROUP_TITLES.items():
        if not results.rows_of(group):
            continue
        if group.startswith("matrix") and not matrix:
            lines += ["## Every version, QoS and payload", ""]
            matrix = True
        lines += [f"{'###' if matrix else '##'} {title}", "", *group_lines(results, group)]
    return "\n".join(lines).rstrip() + "\n"


# ---- charts ---------------------------------------------------------------------------------------------------------


def make_charts(results: Results) -> dict[str, str]:
    """Every chart that the figures allow, by the name of its file."""
    made: dict[str, str] = {}
    compared = [*results.rows_of("core"), *results.rows_of("crowd"), *results.rows_of("work")]
    compared = [name for name in compared if results.rows[name]["unit"] in ("message", "visit")]
    ratios: dict[str, dict[str, Spread]] = {}
    costs: dict[str, dict[str, Spread]] = {}
    for name in compared:
        title = results.rows[name]["title"]
        found = ratio(results.costs(name, REFERENCE), results.costs(name, OWN))
        if found is not None:
            ratios[title] = {f"{REFERENCE} ÷ {OWN}": found}
        by_broker = {broker: spread(results.costs(name, broker)) for broker in results.brokers([name])}
        costs[title] = {broker: cost for broker, cost in by_broker.items() if cost is not None}
    wanted = {
        results.rows[t.below.row]["title"]: t.limit
        for t in TARGETS
        if t.is_least and t.below is not None and t.above.figure == "cost" and t.below.row in compared
    }
    if ratios:
        marks = {title: limit for title, limit in wanted.items() if title in ratios}
        made["ratios.svg"] = charts.dots("CPU time: how many times cheaper than mosquitto", "times", ratios, marks)
    if costs:
        made["costs.svg"] = charts.dots("CPU time of the broker", "µs per message or visit", costs, {})
    for percentile, text in (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9")):
        latencies: dict[str, dict[str, Spread]] = {}
        for name in [n for n, row in results.rows.items() if row["latency"]]:
            by_name = {b: spread(results.latencies_us(name, b, percentile)) for b in results.brokers([name])}
            if any(by_name.values()):
                latencies[results.rows[name]["title"]] = {b: s for b, s in by_name.items() if s is not None}
        if latencies:
            made[f"latency-{percentile}.svg"] = charts.dots(f"Latency, {text}", "µs", latencies, {})
    for curve in curve_names(results):
        series = {b: curve_points(results, curve, b) for b in results.brokers(results.rows_of("growth"))}
        title = f"Cost of a message by {_CURVE_AXES.get(curve, curve)}"
        found_series = {b: points for b, points in series.items() if points}
        made[f"growth-{curve}.svg"] = charts.lines(
            title, _CURVE_AXES.get(curve, curve), "CPU µs / message", found_series
        )
    return made


def write_report(results: Results, folder: Path) -> Path:
    """Write the report, the charts and the results themselves into a folder; where the report is."""
    folder.mkdir(parents=True, exist_ok=True)
    made = make_charts(results)
    for name, text in made.items():
        (folder / name).write_text(text)
    path = folder / "report.md"
    path.write_text(report(results, list(made)))
    results.write(folder / "results.json")
    return path
