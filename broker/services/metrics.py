"""The broker's metrics for Prometheus: each with its name, its unit and what it says, and those of plugins."""

import logging
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from noctule._version import __version__
from noctule.hooks.metrics import Counter, Metrics
from noctule.protocol.constants import PacketType
from noctule.services.prometheus import Family, Sample
from noctule.services.readings import Readings, dropped_by_reason

PREFIX: Final = "noctule_"

#: Before the names of plugins' metrics.
PLUGIN_PREFIX: Final = "noctule_plugin_"

COUNTER: Final = "counter"
GAUGE: Final = "gauge"

_logger = logging.getLogger("noctule.metrics")


@dataclass(frozen=True, slots=True)
class BrokerMetric:
    """One metric of the broker's own."""

    name: str
    kind: str
    text: str

    #: A number, or numbers by the value of ``label``; None: there is nothing to say.
    read: Callable[[Readings], "float | Mapping[str, float] | None"]

    label: str = ""


def _by_packet(counts: tuple[int, ...]) -> dict[str, float]:
    return {kind.name.lower(): counts[kind] for kind in PacketType}


#: Every metric of the broker's own, in the order in which they are shown.
BROKER_METRICS: Final[tuple[BrokerMetric, ...]] = (
    BrokerMetric(
        "noctule_uptime_seconds", GAUGE, "How long the broker has been running.", lambda one: round(one.uptime_s, 3)
    ),
    BrokerMetric(
        "noctule_connections",
        GAUGE,
        "Connections at this moment, with those that have not been let in yet.",
        lambda one: one.sockets,
    ),
    BrokerMetric(
        "noctule_connections_opened_total",
        COUNTER,
        "Connections that were accepted, whatever became of them.",
        lambda one: one.counts["sockets_opened"],
    ),
    BrokerMetric("noctule_clients_connected", GAUGE, "Clients that are connected.", lambda one: one.connected),
    BrokerMetric(
        "noctule_clients_connected_max",
        GAUGE,
        "The most clients that were connected whenever the numbers were read.",
        lambda one: one.connected_max,
    ),
    BrokerMetric(
        "noctule_sessions", GAUGE, "Sessions, of clients that are connected or away.", lambda one: one.sessions
    ),
    BrokerMetric(
        "noctule_sessions_expired_total",
        COUNTER,
        "Sessions that have ended because their client stayed away too long.",
        lambda one: one.expired,
    ),
    BrokerMetric(
        "noctule_subscriptions",
        GAUGE,
        "Subscriptions of all sessions, shared ones included.",
        lambda one: one.subscriptions,
    ),
    BrokerMetric(
        "noctule_shared_subscriptions",
        GAUGE,
        "Shared subscriptions ($share) among them.",
        lambda one: one.shared_subscriptions,
    ),
    BrokerMetric(
        "noctule_retained_messages", GAUGE, "Retained messages, those below $SYS included.", lambda one: one.retained
    ),
    BrokerMetric(
        "noctule_retained_bytes",
        GAUGE,
        "Topics, properties and payloads of the retained messages.",
        lambda one: one.retained_bytes,
    ),
    BrokerMetric(
        "noctule_queued_messages",
        GAUGE,
        "Messages that wait for clients; one that waits for several counts for each.",
        lambda one: one.queued,
    ),
    BrokerMetric("noctule_queued_bytes", GAUGE, "The same in bytes.", lambda one: one.queued_bytes),
    BrokerMetric(
        "noctule_inflight_messages",
        GAUGE,
        "Messages of QoS 1 and 2 that were sent and are not acknowledged.",
        lambda one: one.in_flight,
    ),
    BrokerMetric("noctule_inflight_bytes", GAUGE, "The same in bytes.", lambda one: one.in_flight_bytes),
    BrokerMetric(
        "noctule_unreleased_messages",
        GAUGE,
        "Messages of QoS 2 that were received and wait for their PUBREL.",
        lambda one: one.unreleased,
    ),
    BrokerMetric(
        "noctule_write_buffers_bytes",
        GAUGE,
        "Written to connections and not yet taken by the network.",
        lambda one: one.pending_bytes,
    ),
    BrokerMetric(
        "noctule_cached_routes", GAUGE, "Topics whose subscribers are remembered.", lambda one: one.cached_routes
    ),
    BrokerMetric("noctule_received_bytes_total", COUNTER, "Bytes received.", lambda one: one.counts["bytes_received"]),
    BrokerMetric("noctule_sent_bytes_total", COUNTER, "Bytes sent.", lambda one: one.counts["bytes_sent"]),
    BrokerMetric(
        "noctule_packets_received_total",
        COUNTER,
        "MQTT packets received, by type.",
        lambda one: _by_packet(one.counts["packets_received"]),
        "type",
    ),
    BrokerMetric(
        "noctule_packets_sent_total",
        COUNTER,
        "MQTT packets sent, by type.",
        lambda one: _by_packet(one.counts["packets_sent"]),
        "type",
    ),
    BrokerMetric(
        "noctule_publish_received_payload_bytes_total",
        COUNTER,
        "Payload bytes of the PUBLISH packets received.",
        lambda one: one.counts["publish_bytes_received"],
    ),
    BrokerMetric(
        "noctule_publish_sent_payload_bytes_total",
        COUNTER,
        "Payload bytes of the PUBLISH packets sent.",
        lambda one: one.counts["publish_bytes_sent"],
    ),
    BrokerMetric(
        "noctule_messages_dropped_total",
        COUNTER,
        "Messages that were not delivered, by reason: slow_reader (QoS 0 to who does not read), offline (QoS 0 to who "
        "is away), queue_full, expired, denied (by access rules), too_large (for the receiver).",
        lambda one: {reason: float(count) for reason, count in dropped_by_reason(one.counts).items()},
        "reason",
    ),
    BrokerMetric(
        "noctule_store_usable",
        GAUGE,
        "1 while the store takes what has to be kept, 0 while it does not; missing without a store.",
        lambda one: None if one.store_is_usable is None else float(one.store_is_usable),
    ),
    BrokerMetric("process_resident_memory_bytes", GAUGE, "Memory of the process.", lambda one: one.resident_bytes),
    BrokerMetric(
        "process_cpu_seconds_total", COUNTER, "CPU time of the process, user and system.", lambda one: one.cpu_s
    ),
)


def broker_families(readings: Readings, started_at: float) -> list[Family]:
    """The broker's own metrics, with what they say now."""
    version = Sample(1, {"version": __version__, "python": platform.python_version()})
    families = [
        Family("noctule_info", GAUGE, "The version of the broker and of Python; always 1.", (version,)),
        Family(
            "process_start_time_seconds",
            GAUGE,
            "When the broker was started, in seconds since 1970.",
            (Sample(started_at, {}),),
        ),
    ]
    for metric in BROKER_METRICS:
        value = metric.read(readings)
        samples: tuple[Sample, ...] = ()
        if isinstance(value, Mapping):
            samples = tuple(Sample(number, {metric.label: name}) for name, number in value.items())
        elif value is not None:
            samples = (Sample(value, {}),)
        families.append(Family(metric.name, metric.kind, metric.text, samples))
    return families


def plugin_families(metrics: Metrics) -> list[Family]:
    """Those of plugins; one that cannot be read is left out, and the log says so."""
    families = []
    for metric in metrics:
        try:
            value = float(metric.value if isinstance(metric, Counter) else metric.read())
        except Exception as error:
            _logger.warning("The metric %s of a plugin cannot be read: %r", metric.name, error)
            continue
        kind = COUNTER if isinstance(metric, Counter) else GAUGE
        families.append(Family(PLUGIN_PREFIX + metric.name, kind, metric.text, (Sample(value, {}),)))
    return families


def mosquitto_families(values: Iterable[tuple[str, str]]) -> list[Family]:
    """The $SYS topics under the names of sapcc/mosquitto-exporter, for dashboards that were made for it."""
    families = []
    for topic, text in values:
        number = text.removesuffix(" seconds")
        try:
            value = float(number)
        except ValueError:
            continue  # the version
        name = topic.removeprefix("$SYS/").replace("/", "_").replace(" ", "_")
        families.append(Family(name, "untyped", topic, (Sample(value, {}),)))
    return families
