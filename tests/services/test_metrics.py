"""/metrics, read strictly; what it says; the names of Mosquitto's exporter; and the page that documents it."""

import re
from pathlib import Path

import pytest
from noctule.api import Metrics, hookimpl
from noctule.hooks.table import Plugin
from noctule.services.metrics import BROKER_METRICS
from noctule.services.prometheus import CONTENT_TYPE, Family, Sample, exposition
from services.prometheus_reader import read_metrics
from services.running import mocked, served

DOCS = Path(__file__).parents[2] / "docs"


class WithMetrics:
    @hookimpl
    def add_metrics(self, metrics: Metrics) -> None:
        metrics.counter("seen_total", 'Things seen, "all" of them.').add(3)
        metrics.gauge("level_ratio", "A level\nin two lines.", lambda: 0.25)
        metrics.gauge("broken", "Cannot be read.", lambda: 1 / 0)


def test_what_it_says() -> None:
    async def main() -> None:
        async with served(Plugin("with", WithMetrics())) as broker:
            client = await broker.connect("c")
            await client.subscribe("a")
            await client.publish("a", b"12345")
            await client.receive_publish()
            await client.publish("r", b"123", retain=True)
            await client.ping()
            reply = await broker.ask("/metrics")
            assert (reply.status, reply.headers["content-type"]) == (200, CONTENT_TYPE)
            found = read_metrics(reply.body)
            assert found["noctule_clients_connected"].value == 1
            assert found["noctule_connections"].value == 1
            assert found["noctule_connections_opened_total"].value == 1
            assert found["noctule_subscriptions"].value == 1
            assert found["noctule_packets_received_total"].of("publish") == 2
            assert found["noctule_packets_sent_total"].of("publish") == 1
            assert found["noctule_publish_received_payload_bytes_total"].value == 8
            assert found["noctule_publish_sent_payload_bytes_total"].value == 5
            assert found["noctule_received_bytes_total"].value > 40
            assert {dict(labels)["reason"] for labels in found["noctule_messages_dropped_total"].samples} == {
                "slow_reader", "offline", "queue_full", "expired", "denied", "too_large",
            }  # fmt: skip
            assert "noctule_store_usable" not in found
            assert found["noctule_plugin_seen_total"].value == 3
            assert found["noctule_plugin_level_ratio"].value == 0.25
            assert "noctule_plugin_broken" not in found
            assert found["process_resident_memory_bytes"].value > 1_000_000

    mocked(main)


def test_the_names_of_mosquittos_exporter() -> None:
    async def main() -> None:
        async with served() as broker:
            async with await broker.connect("c"):
                reply = await broker.ask("/metrics?names=mosquitto")
            found = read_metrics(reply.body)
            assert found["broker_clients_connected"].value == 1
            for name in (
                "broker_clients_maximum", "broker_messages_received", "broker_publish_messages_dropped",
                "broker_publish_bytes_sent", "broker_retained_messages_count", "broker_uptime", "broker_heap_current",
                "broker_load_messages_received_15min", "broker_subscriptions_count", "broker_store_messages_bytes",
            ):  # fmt: skip
                assert found[name].kind == "untyped"
            assert "broker_version" not in found
            assert (await broker.ask("/metrics?names=other")).status == 400
            assert (await broker.ask("/metrics?name=mosquitto")).status == 400

    mocked(main)


def test_labels_and_helps_are_escaped() -> None:
    family = Family("n", "gauge", "a\\b\nc", (Sample(1.5, {"l": 'x"y\\z\nw'}), Sample(float("inf"), {"l": "i"})))
    assert exposition([family]) == '# HELP n a\\\\b\\nc\n# TYPE n gauge\nn{l="x\\"y\\\\z\\nw"} 1.5\nn{l="i"} +Inf\n'
    read_metrics(exposition([family]).encode())


@pytest.mark.parametrize("metric", BROKER_METRICS, ids=lambda metric: metric.name)
def test_names_have_their_units(metric: object) -> None:
    name = getattr(metric, "name")  # noqa: B009
    assert re.fullmatch(r"(noctule|process)_[a-z0-9_]+", name)
    assert name.endswith("_total") == (getattr(metric, "kind") == "counter")  # noqa: B009


def documented_metrics() -> str:
    """The table of docs/monitoring.md, as the code has it."""
    lines = ["| metric | kind | label | what it says |", "|---|---|---|---|"]
    lines += [f"| `{one.name}` | {one.kind} | {one.label} | {one.text} |" for one in BROKER_METRICS]
    return "\n".join(lines)


def test_the_page_has_every_metric() -> None:
    page = (DOCS / "monitoring.md").read_text(encoding="utf-8")
    assert documented_metrics() in page
