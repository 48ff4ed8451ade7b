"""The report, the targets, the charts and the page with figures, of results that are made up."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from suite import charts
from suite.command import describe
from suite.document import fill_document, filled_text, put
from suite.figures import Spread
from suite.measuring import Measurement
from suite.places import BenchmarkError
from suite.report import cost_table, detail_table, growth_table, make_charts, report, targets_table, write_report
from suite.results import Results, read_results
from suite.scenarios import ALL, SCENARIOS, filled
from suite.targets import TARGETS


def results_with(*costs: tuple[str, str, list[float]], **more: float) -> Results:
    """Results of so many rows: (row, broker, cost in each repetition)."""
    scenarios = [filled(scenario, 100, 1000) for scenario in ALL]
    wanted = {row for row, _, _ in costs}
    rows = {name: row for name, row in describe(scenarios).items() if name in wanted}
    results = Results([{"date": "today", "command": "python benchmarks/run.py"}], rows)
    for row, broker, values in costs:
        for repetition, cost in enumerate(values):
            latency = {"p50": 10.0 * cost, "p99": 20.0 * cost, "p999": 30.0 * cost}
            one = Measurement(row, broker, repetition, cost=cost, units=1000, rate=50.0, latency_us=latency)
            results.measurements.append(one)
    return results


def line_of(lines: list[str], start: str) -> str:
    (found,) = [line for line in lines if line.startswith(f"| {start}")]
    return found


def test_costs_and_ratios() -> None:
    results = results_with(("1-1", "mosquitto", [3.0, 5.0, 4.0]), ("1-1", "noctule", [0.5, 1.0, 0.4]))
    line = line_of(cost_table(results, ["1-1"]), "1 → 1, QoS 0")
    assert line == "| 1 → 1, QoS 0 | CPU µs / message | 0.50 (0.40 to 1.00) | 4.00 (3.00 to 5.00) | 8.00x |"


def test_losses_and_failures_are_shown() -> None:
    results = results_with(("1-1", "noctule", [1.0, 2.0]))
    results.measurements[0].lost = 7
    results.measurements.append(Measurement("1-1", "noctule", 2, error="the broker has ended"))
    line = line_of(detail_table(results, ["1-1"]), "1 → 1, QoS 0 | noctule")
    assert "| 2,000 | 7 | 0 |" in line
    assert line.endswith("| 2 of 3 |")
    assert "noctule, 1-1, 1 times: the broker has ended" in report(results)


def test_latency_stands_only_where_it_means_something() -> None:
    results = results_with(("1-1", "noctule", [1.0]), ("1-1-paced", "noctule", [1.0]))
    assert " 10.0 | 20.0 | 30.0 |" in line_of(detail_table(results, ["1-1-paced"]), "1 → 1, 5,000")
    assert "|  |  |  |" in line_of(detail_table(results, ["1-1"]), "1 → 1, QoS 0")


@pytest.mark.parametrize(("cost", "verdict"), [(0.4, "met"), (0.6, "**missed**")])
def test_a_target(cost: float, verdict: str) -> None:
    results = results_with(("1-1", "mosquitto", [4.0]), ("1-1", "noctule", [cost]))
    line = line_of(targets_table(results), "1 → 1, QoS 0, 64 bytes: mosquitto")
    assert line.endswith(f"| {verdict} |")
    assert line_of(targets_table(results), "idle connection").endswith("|  | not measured |")


@pytest.mark.parametrize(("kilobytes", "verdict"), [(1.4, "met"), (1.6, "**missed**")])
def test_a_target_that_is_a_most(kilobytes: float, verdict: str) -> None:
    results = results_with(("idle", "noctule", [kilobytes]))
    assert line_of(targets_table(results), "idle connection").endswith(f"| {verdict} |")


def test_targets_name_rows_that_there_are() -> None:
    rows = {row.name for scenario in ALL for row in scenario.rows}
    sides = [side for target in TARGETS for side in (target.above, target.below) if side is not None]
    assert {side.row for side in sides} <= rows
    latencies = {side.row for side in sides if side.figure != "cost"}
    assert all(SCENARIOS[row].latency for row in latencies)


def test_growth() -> None:
    costs = [(f"grow-payload-{x}", "noctule", [0.01 * x**0.5]) for x in (16, 64, 256, 1024, 4096)]
    results = results_with(*costs)
    assert growth_table(results)[2].endswith("| 0.50 | 0.50 |")


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = results_with(("1-1", "noctule", [1.0, 2.0]), ("idle", "mosquitto", [0.7]))
    write_report(results, tmp_path)
    again = read_results(tmp_path / "results.json")
    assert again == results
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(BenchmarkError, match="cannot be read"):
        read_results(tmp_path / "results.json")


def test_what_is_measured_anew_replaces_what_was_there() -> None:
    old = results_with(("1-1", "noctule", [9.0]), ("idle", "noctule", [0.7]))
    old.replace_with(results_with(("1-1", "noctule", [1.0, 2.0])))
    assert old.costs("1-1", "noctule") == [1.0, 2.0]
    assert old.costs("idle", "noctule") == [0.7]
    assert len(old.facts) == 2


def test_charts_are_svg() -> None:
    results = results_with(
        ("1-1", "noctule", [0.1, 0.2]),
        ("1-1", "mosquitto", [3.0, 4.0]),
        ("ping-pong", "noctule", [10.0]),
        ("grow-fan-out-1", "noctule", [1.0]),
        ("grow-fan-out-10", "noctule", [2.0]),
    )
    made = make_charts(results)
    assert {"ratios.svg", "costs.svg", "latency-p50.svg", "growth-fan-out.svg"} <= set(made)
    for text in made.values():
        assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "0.15 (0.10 to 0.20)" in made["costs.svg"]
    assert "<title>target</title>" in made["ratios.svg"]


def test_a_scale_puts_powers_of_ten_at_even_distances() -> None:
    scale = charts.scale_for([0.5, 30.0], 100, 400)
    assert (scale.least, scale.greatest) == (0.1, 100.0)
    assert [round(scale.at(value)) for value in (0.1, 1, 10, 100)] == [100, 200, 300, 400]
    assert scale.ticks() == [0.1, 1.0, 10.0, 100.0]
    assert scale.at(0) == 100
    everything = charts.scale_for([], 0, 10)
    assert everything.least < everything.greatest


def test_a_title_is_no_markup() -> None:
    text = charts.dots("a < b", "µs", {"1 & 2": {"x": Spread(1.0, 1.0, 1.0)}}, {})
    assert ElementTree.fromstring(text) is not None


def test_the_page_is_filled(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(
        "Before.\n\n<!-- results: costs core -->\nold\n<!-- end -->\n\n![x](performance/costs.svg)\nAfter.\n"
    )
    results = results_with(("1-1", "noctule", [0.5]))
    write_report(results, tmp_path / "results")
    fill_document(page, results, tmp_path / "results")
    text = page.read_text()
    assert "old" not in text
    assert "| 1 → 1, QoS 0 | CPU µs / message | 0.50 |" in text
    assert text.startswith("Before.\n\n<!-- results: costs core -->\n")
    assert text.endswith("<!-- end -->\n\n![x](performance/costs.svg)\nAfter.\n")
    assert (tmp_path / "performance" / "costs.svg").exists()
    fill_document(page, results, tmp_path / "results")
    assert page.read_text() == text, "filling twice changes nothing"


def test_one_place_is_filled() -> None:
    text = "a\n<!-- threads -->\nold\n<!-- end -->\n<!-- results: targets -->\nkept\n<!-- end -->\n"
    filled = put(text, "threads", ["| new |", ""])
    assert filled == "a\n<!-- threads -->\n\n| new |\n\n<!-- end -->\n<!-- results: targets -->\nkept\n<!-- end -->\n"
    with pytest.raises(BenchmarkError, match="no place 'weather'"):
        put(text, "weather", [])


def test_a_place_without_a_table() -> None:
    with pytest.raises(BenchmarkError, match="there is no table 'weather'"):
        filled_text("<!-- results: weather -->\n<!-- end -->\n", Results())


def test_every_place_of_our_page_has_a_table() -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "performance.md"
    assert "<!-- results: " in page.read_text(encoding="utf-8")
    filled_text(page.read_text(encoding="utf-8"), Results())
