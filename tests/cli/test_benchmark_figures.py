"""What noctule bench makes of its measurements: the histogram, the report, the comparison, the chart."""

import random
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from noctule.cli.benchmark import measurements as measuring
from noctule.cli.benchmark.chart import _round_up, chart
from noctule.cli.benchmark.histogram import Histogram
from noctule.cli.benchmark.measurements import Measurements
from noctule.cli.benchmark.repetitions import Repetitions
from noctule.cli.benchmark.report import compare_lines, report_lines


def test_small_values_are_exact() -> None:
    histogram = Histogram()
    for value in range(128):
        histogram.add(value)
    assert [histogram.percentile(percent) for percent in (0, 50, 100)] == [0, 64, 127]
    assert (histogram.count, histogram.mean, histogram.maximum) == (128, 63.5, 127)


@pytest.mark.parametrize("seed", range(5))
def test_every_percentile_is_within_two_percent(seed: int) -> None:
    draw = random.Random(seed)
    values = sorted(int(draw.lognormvariate(13, 2)) for _ in range(5_000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for percent in (1, 10, 50, 90, 99, 99.9):
        exact = values[min(int(len(values) * percent / 100), len(values) - 1)]
        assert histogram.percentile(percent) == pytest.approx(exact, rel=0.017, abs=1)
    assert histogram.percentile(100) == values[-1]


def test_an_empty_one_and_the_last_bucket() -> None:
    histogram = Histogram()
    assert (histogram.percentile(50), histogram.mean) == (0, 0.0)
    histogram.add(2**60)
    assert histogram.maximum == 2**60
    assert histogram.percentile(50) <= 2**60


def test_two_together() -> None:
    both, one, other = Histogram(), Histogram(), Histogram()
    for value in (1, 1_000, 5_000_000):
        one.add(value)
        both.add(value)
    for value in (3, 70):
        other.add(value)
        both.add(value)
    one.merge(other)
    assert (one.count, one.total, one.maximum) == (both.count, both.total, both.maximum)
    assert one.percentiles((10, 50, 90)) == both.percentiles((10, 50, 90))


def test_intervals_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now[0])
    measurements = Measurements()
    measurements.sent = 5  # of the warm-up
    measurements.begin()
    for received in (10, 30):
        measurements.sent += received
        measurements.expected += received + 1
        for _ in range(received):
            measurements.received += 1
            measurements.took(2_000_000)
        now[0] += 2.0
        measurements.close_interval()
    measurements.finish()
    assert [(one.at_s, one.sent, one.received) for one in measurements.intervals] == [(2.0, 10, 10), (4.0, 30, 30)]
    result = measurements.as_json()
    assert (result["sent"], result["received"], result["lost"], result["seconds"]) == (40, 40, 2, 4.0)
    assert result["received_per_s"] == 10
    assert result["latency_ms"]["p50"] == pytest.approx(2, rel=0.02)


def test_repetitions_of_each_subscriber() -> None:
    repetitions = Repetitions(is_shared=False)
    assert [repetitions.is_first(1, 1, sequence) for sequence in (0, 1, 5, 5, 2, 6)] == [True] * 3 + [False] * 2 + [
        True
    ]
    assert repetitions.is_first(2, 1, 5)
    assert repetitions.is_first(1, 2, 5)


def test_repetitions_within_a_group() -> None:
    repetitions = Repetitions(is_shared=True)
    assert [repetitions.is_first(n, 1, n) for n in (0, 3, 1, 2)] == [True] * 4
    assert not repetitions.is_first(9, 1, 3)
    assert repetitions.is_first(9, 2, 3)


def test_a_group_remembers_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noctule.cli.benchmark.repetitions._REMEMBERED", 10)
    repetitions = Repetitions(is_shared=True)
    for sequence in (*range(20), 40):
        assert repetitions.is_first(1, 1, sequence)
    assert repetitions._seen == {1: {40}}
    assert repetitions.is_first(1, 1, 35)
    assert not repetitions.is_first(2, 1, 35)


def result_of(**figures: Any) -> dict[str, Any]:
    latency = dict.fromkeys(("mean", "p50", "p90", "p99", "p99.9", "maximum"), 1.0) | {"count": 10}
    intervals = [
        {"at_s": at, "sent_per_s": 10.0 * at, "received_per_s": 9.0, "p50_ms": 1.0, "p99_ms": 2.0, "maximum_ms": 3.0}
        for at in (0.5, 1.0, 1.5)
    ]
    load = {
        "scenario": "fan-in",
        "summary": "many publishers",
        "version": "5.0",
        "publishers": 2,
        "subscribers": 1,
        "connections": 0,
        "messages": 0,
        "qos": 1,
        "payload_bytes": 64,
        "rate": 100.0,
    }
    result = {
        "seconds": 1.5,
        "sent": 100,
        "received": 100,
        "lost": 0,
        "repeated": 0,
        "connected": 3,
        "errors": 0,
        "first_error": "",
        "sent_per_s": 66.7,
        "received_per_s": 66.7,
        "generator_busy": 0.1,
        "latency_ms": latency,
        "intervals": intervals,
    }
    return {"load": load, "result": result | figures}


def test_the_report_says_what_matters() -> None:
    text = "\n".join(report_lines(result_of()))
    assert "2 publishers, 1 subscribers, QoS 1, 64 bytes, 100 messages/s, MQTT 5.0" in text
    assert "p99.9 1.000" in text
    assert "Near 100 %" not in text
    assert "errors" not in text
    text = "\n".join(report_lines(result_of(generator_busy=0.95, errors=2, first_error="the server closed")))
    assert "Near 100 %" in text
    assert "errors      2, the first: the server closed" in text


def test_the_comparison_marks_what_is_worse() -> None:
    now, before = result_of(received_per_s=50.0, lost=3), result_of(received_per_s=100.0)
    lines = compare_lines(now, before, "before")
    assert any(line.startswith("received /s") and "-50.0%  WORSE" in line for line in lines)
    assert any(line.startswith("lost") and line.endswith("WORSE") for line in lines)
    assert any(line.startswith("sent /s") and line.rstrip().endswith("+0.0%") for line in lines)
    assert not any("different loads" in line for line in lines)
    before["load"]["qos"] = 2
    assert "different loads" in compare_lines(now, before, "before")[0]


def test_a_comparison_with_less() -> None:
    lines = compare_lines(result_of(), {"result": {"sent_per_s": 66.7}}, "x")
    assert [line for line in lines if line.startswith("sent")]
    assert not [line for line in lines if line.startswith("latency")]


@pytest.mark.parametrize("intervals", [0, 1, 3])
def test_the_chart_is_svg(intervals: int) -> None:
    result = result_of()
    result["result"]["intervals"] = result["result"]["intervals"][:intervals]
    root = ElementTree.fromstring(chart(result))
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    lines = root.findall(f"{space}polyline")
    assert len(lines) == (0 if intervals == 1 else 5)
    for line in lines:
        points = [point.split(",") for point in line.attrib["points"].split()]
        assert len(points) == intervals
        assert all(0 <= float(x) <= 860 and 0 <= float(y) <= 520 for x, y in points)


@pytest.mark.parametrize(("value", "top"), [(0, 1), (0.03, 0.05), (1, 1), (1.2, 2), (2.2, 2.5), (7, 10), (101, 200)])
def test_the_top_of_an_axis_is_round(value: float, top: float) -> None:
    assert _round_up(value) == pytest.approx(top)
