"""The broker through MQTT.js, the client of browsers, Node-RED and Zigbee2MQTT; alone, and with other clients.

What its clients do is in mqttjs/scenarios.cjs: a node process runs one scenario and prints what it saw as JSON. What
should have been seen is here.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e.paho_client import V5, V311, PahoClient, publish_properties
from e2e.process import BrokerProcess
from e2e.test_mosquitto_clients import messages as messages_of
from e2e.test_mosquitto_clients import run as run_mosquitto
from e2e.test_mosquitto_clients import subscribed as mosquitto_subscribed
from paho.mqtt.enums import MQTTProtocolVersion

SCENARIOS = Path(__file__).parent / "mqttjs" / "scenarios.cjs"
MODULES = Path(__file__).parents[2] / "build" / "mqttjs" / "node_modules"
SECONDS = 20.0
"""More than the scenarios give themselves, so that it is they who say what is missing."""

if shutil.which("node") is None:
    lacking = "node is not installed (Debian: nodejs, npm)"
elif not (MODULES / "mqtt").is_dir():
    lacking = f"MQTT.js is not installed in {MODULES} (`make test` does it where there is npm)"
else:
    lacking = ""
pytestmark = pytest.mark.skipif(bool(lacking), reason=lacking)

MQTT31, MQTT311, MQTT5 = 3, 4, 5
every_version = pytest.mark.parametrize("version", [MQTT311, MQTT5], ids=["3.1.1", "5"])
every_qos_acknowledged = pytest.mark.parametrize("qos", [1, 2])
with_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto_pub") is None or shutil.which("stdbuf") is None,
    reason="not installed: mosquitto-clients, coreutils",
)


@contextmanager
def started(
    scenario: str, broker: BrokerProcess, topic: str, version: int, **options: Any
) -> Iterator[Callable[[], Any]]:
    """Start a scenario; what is yielded waits for its end and returns what it saw."""
    given = {
        "host": broker.host,
        "port": broker.port,
        "topic": topic,
        "version": version,
        "client": uuid.uuid4().hex[:8],
        **options,
    }
    process = subprocess.Popen(
        ["node", str(SCENARIOS), scenario, json.dumps(given)],
        env={**os.environ, "NODE_PATH": str(MODULES)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )

    def finish() -> Any:
        output, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, f"{scenario}: {errors}"
        lines = output.splitlines()
        assert len(lines) == 1, f"{scenario} printed {output!r}"
        return json.loads(lines[0])

    try:
        if scenario in ("listen", "stay"):
            assert process.stdout is not None
            assert process.stderr is not None
            # readline(), as iterating would read ahead of communicate().
            assert process.stdout.readline() == "ready\n", process.stderr.read()
        yield finish
    finally:
        process.kill()
        process.communicate()


def run(scenario: str, broker: BrokerProcess, topic: str, version: int = MQTT5, **options: Any) -> Any:
    """Run a scenario to its end and return what it saw."""
    with started(scenario, broker, topic, version, **options) as finish:
        return finish()


# What all versions have.


@pytest.mark.parametrize("version", [MQTT31, MQTT311, MQTT5], ids=["3.1", "3.1.1", "5"])
def test_every_qos_in_both_directions(broker: BrokerProcess, topic: str, version: int) -> None:
    seen = run("exchange", broker, topic, version)
    assert seen["granted"] == [[0, 1, 2]] * 2
    assert seen["received"] == [
        [to, True, subscribed, published, min(subscribed, published)]
        for to in ("other", "one")
        for subscribed in range(3)
        for published in range(3)
    ]


@every_version
def test_retained(broker: BrokerProcess, topic: str, version: int) -> None:
    seen = run("retained", broker, topic, version)
    assert seen["live"] == [[payload, qos, False] for qos in range(3) for payload in ("first", "second", "")]
    assert seen["later"] == [[payload, qos, True] for qos in range(3) for payload in ("first", "second")]
    assert seen["cleared"] == [[]] * 3


@every_version
def test_will(broker: BrokerProcess, topic: str, version: int) -> None:
    seen = run("will", broker, topic, version)
    properties = (
        {"contentType": "text/plain", "userProperties": {"wing": "left", "colour": "grey"}} if version == MQTT5 else {}
    )
    assert seen["dropped"] == [[f"/{qos}", "gone", qos, properties] for qos in range(3)]
    assert seen["retained"] == [[f"{topic}/1", True]]
    assert seen["ended"] == []
    assert seen["asked"] == (f"{topic}/asked" if version == MQTT5 else None)


@every_version
def test_session_is_kept(broker: BrokerProcess, topic: str, version: int) -> None:
    seen = run("session", broker, topic, version)
    assert seen["present"] == [False, True, True, False]
    assert seen["received"] == [
        [[f"{leave} {qos} {number}", qos] for qos in (1, 2) for number in range(5)] for leave in ("drop", "end")
    ]
    assert seen["afterClean"] == []


@every_version
@every_qos_acknowledged
def test_connections_lost_midway(broker: BrokerProcess, topic: str, version: int, qos: int) -> None:
    seen = run("reconnect", broker, topic, version, qos=qos)
    sent = [str(number) for number in range(60)]
    assert seen["present"] == [True, True]
    # MQTT.js takes for an error what is none during recovery (MQTT 5, 3.7.2.1): PUBCOMP with 0x92, Packet Identifier
    # not found, for a PUBREL sent again since the first PUBCOMP was lost.
    assert set(seen["refusals"]) <= ({0x92} if (version, qos) == (MQTT5, 2) else set())
    if qos == 2:
        assert seen["payloads"] == sent
    else:
        # At least once; the first of each come in order [MQTT-4.6.0-6].
        assert list(dict.fromkeys(seen["payloads"])) == sent


@every_version
def test_unsubscribe(broker: BrokerProcess, topic: str, version: int) -> None:
    seen = run("unsubscribe", broker, topic, version)
    assert seen == {"before": ["a", "b", "c"], "codes": [0, 0] if version == MQTT5 else [], "after": ["b"]}


@every_version
def test_wildcards(broker: BrokerProcess, topic: str, version: int) -> None:
    names = ["a", "a/b", "a/b/c", "b", "b/b", "/", "a/", "/b"]
    expected = {
        "a": ["a"],
        "+": ["a", "b"],
        "a/+": ["a/b", "a/"],
        "+/b": ["a/b", "b/b", "/b"],
        "+/+": ["a/b", "b/b", "/", "a/", "/b"],
        "a/#": ["a", "a/b", "a/b/c", "a/"],
        "+/b/#": ["a/b", "a/b/c", "b/b", "/b"],
        "/+": ["/", "/b"],
        "a/+/c": ["a/b/c"],
    }
    assert run("wildcards", broker, topic, version, names=names, filters=list(expected)) == expected


@every_version
def test_large_payload(broker: BrokerProcess, topic: str, version: int) -> None:
    seen = run("large", broker, topic, version)
    assert seen["received"] == [[qos, 1_000_000, seen["sent"]] for qos in range(3)]


@every_version
def test_topics_in_many_scripts(broker: BrokerProcess, topic: str, version: int) -> None:
    names = ["летучая мышь", "蝙蝠", "خفاش", "🦇", "e\u0301", "\u00e9", "\ufeffx", "\U0010fffd", "ﷺ"]
    seen = run("unicode", broker, topic, version, names=names)
    assert seen == [[f"{name}/{name}", name] for name in names]


@every_version
def test_500_messages_in_order(broker: BrokerProcess, topic: str, version: int) -> None:
    """MQTT.js heeds no Receive Maximum: that all come shows that over-running it slightly does no harm either."""
    assert run("order", broker, topic, version) == [[str(number) for number in range(500)]] * 3


@every_version
def test_many_clients(broker: BrokerProcess, topic: str, version: int) -> None:
    seen = run("many", broker, topic, version)
    numbers = [str(number) for number in range(50)]
    assert len(seen) == len(numbers)
    for number, payloads in enumerate(seen):
        assert sorted(payloads) == sorted([f"from {(number - 1) % 50}", *numbers])


@every_version
def test_takeover(broker: BrokerProcess, topic: str, version: int) -> None:
    seen = run("takeover", broker, topic, version)
    assert seen == {"told": [0x8E] if version == MQTT5 else [], "received": ["still here"]}


@every_version
def test_ping(broker: BrokerProcess, topic: str, version: int) -> None:
    assert run("ping", broker, topic, version) == "pingresp"


@every_version
def test_refused_filters(broker: BrokerProcess, topic: str, version: int) -> None:
    too_deep = "/".join("a" * 250)
    filters = [too_deep, topic, "$share/no-filter" if version == MQTT5 else too_deep + "/b"]
    failure = 0x8F if version == MQTT5 else 0x80
    seen = run("refused", broker, topic, version, filters=filters)
    assert seen == {"granted": [failure, 1, failure], "received": ["x"]}


def test_an_empty_filter_ends_the_connection(broker: BrokerProcess, topic: str) -> None:
    """In version 3.1.1; version 5 has a code for it."""
    assert run("noFilter", broker, topic, MQTT311) == {"subacks": 0}


@every_version
def test_told_when_the_broker_stops(start_broker: Callable[..., BrokerProcess], topic: str, version: int) -> None:
    broker = start_broker()
    with started("stay", broker, topic, version) as finish:
        broker.stop()
        assert finish() == ([0x8B] if version == MQTT5 else [])


# What version 5 adds.


def test_what_connack_tells(broker: BrokerProcess, topic: str) -> None:
    seen = run("connack", broker, topic)
    assert seen["assignedClientIdentifier"]
    assert seen["topicAliasMaximum"] > 0
    assert seen["receiveMaximum"] >= 256
    # These are left out where they are available, as they are here.
    for name in (
        "wildcardSubscriptionAvailable",
        "subscriptionIdentifiersAvailable",
        "sharedSubscriptionAvailable",
        "retainAvailable",
    ):
        assert seen.get(name, True)
    assert seen.get("maximumQoS", 2) == 2


def test_properties_are_forwarded(broker: BrokerProcess, topic: str) -> None:
    properties: dict[str, Any] = {
        "payloadFormatIndicator": True,
        "contentType": "application/json",
        "responseTopic": topic + "/back",
        "userProperties": {"wing": ["left", "right", "left"], "colour": "grey", "": "", "ключ": "значение", "a": "z"},
    }
    for received in run("properties", broker, topic, properties=properties):
        assert received == {**properties, "correlationData": "0001feff"}
        # As dicts they were equal in any order.
        assert list(received["userProperties"]) == list(properties["userProperties"])


def test_request_and_response(broker: BrokerProcess, topic: str) -> None:
    assert run("request", broker, topic) == [["so, first", "first"], ["so, second", "second"]]


def test_message_expiry(broker: BrokerProcess, topic: str) -> None:
    seen = run("expiry", broker, topic)
    assert set(seen["intervals"]) <= {0, 1}
    assert 0.9 < seen["seconds"] < 5
    (kept,) = seen["kept"]
    (queued,) = seen["queued"]
    assert 3590 < kept < 3600
    assert 3590 < queued < 3600


def test_subscription_identifiers(broker: BrokerProcess, topic: str) -> None:
    seen = run("identifiers", broker, topic)
    by_topic = {name: sorted(number for message in messages for number in message) for name, messages in seen.items()}
    assert by_topic == {"a": [7, 268_435_455], "b": [7], "b/c": []}


def test_topic_aliases_to_the_broker(broker: BrokerProcess, topic: str) -> None:
    seen = run("aliasesToBroker", broker, topic)
    topics = [f"{topic}/{number}" for number in range(seen["maximum"] + 8)]
    # The order between different QoS is free.
    assert sorted(seen["received"]["assigning"], key=lambda message: message[2]) == [
        [name, f"to {name}", qos] for qos in range(3) for name in topics
    ]
    assert {alias for _, alias in seen["sent"]["assigning"]} == set(range(1, seen["maximum"] + 1))
    assert "" in {name for name, _ in seen["sent"]["assigning"]}
    # It is the second round that uses what the first has set.
    assert seen["sent"]["using"] == [["", 2]] * 3
    assert seen["received"]["using"] == [[f"{topic}/used", f"to {topic}/used", qos] for qos in range(3)]


def test_topic_aliases_from_the_broker(broker: BrokerProcess, topic: str) -> None:
    maximum = 3
    seen = run("aliasesFromBroker", broker, topic, maximum=maximum)
    expected = [[name, f"to {name}"] for name in seen["topics"]] * 8
    assert seen["willing"]["received"] == expected
    assert seen["plain"]["received"] == expected
    assert {alias for _, alias in seen["plain"]["wire"]} == {None}
    aliases = {alias for _, alias in seen["willing"]["wire"]} - {None}
    assert aliases
    assert aliases <= set(range(1, maximum + 1))
    assert "" in {name for name, _ in seen["willing"]["wire"]}


def test_no_local(broker: BrokerProcess, topic: str) -> None:
    assert run("noLocal", broker, topic) == {"one": ["other"], "other": ["one", "other"]}


def test_retain_handling(broker: BrokerProcess, topic: str) -> None:
    assert run("retainHandling", broker, topic) == [[["kept"], ["kept"]], [["kept"], []], [[], []]]


def test_retain_as_published(broker: BrokerProcess, topic: str) -> None:
    seen = run("retainAsPublished", broker, topic)
    assert seen == [[False, False, False], [False, True, False], [True, False, False], [True, True, True]]


def test_shared_subscription(broker: BrokerProcess, topic: str) -> None:
    seen = run("shared", broker, topic)
    sent = [str(number) for number in range(40)]
    one, two = seen["both"]
    assert sorted(one + two) == sorted(sent)
    assert one
    assert two
    assert seen["alone"] == [sent]
    assert seen["beside"] == sent * 2


def test_reason_codes(broker: BrokerProcess, topic: str) -> None:
    seen = run("reasonCodes", broker, topic)
    assert seen == {"puback": [0x10, 0], "pubrec": [0x10, 0], "unsuback": [0, 0x11, 0x8F]}


def test_disconnected_with_a_reason(broker: BrokerProcess, topic: str) -> None:
    seen = run("disconnected", broker, topic)
    assert seen["reasonCode"] == 0x90
    assert "wildcard" in seen["reasonString"]


@every_qos_acknowledged
def test_receive_maximum(broker: BrokerProcess, topic: str, qos: int) -> None:
    numbers = [str(number) for number in range(12)]
    once = {"payloads": numbers, "held": 3, "most": 3}
    assert run("receiveMaximum", broker, topic, qos=qos) == {"live": once, "resumed": once}


def test_maximum_packet_size(broker: BrokerProcess, topic: str) -> None:
    seen = run("maximumPacketSize", broker, topic)
    assert seen == {"small": ["before", "after"], "other": ["before", "x" * 600, "after"]}


def test_session_expiry_changed_at_disconnect(broker: BrokerProcess, topic: str) -> None:
    """Session Present at the next connection: after a plain DISCONNECT, and after one that sets the interval to 0."""
    assert run("expiryAtDisconnect", broker, topic) == [True, False]


# With other clients.


def outgoing(topic: str) -> list[dict[str, Any]]:
    """One message for each QoS, for the scenario `send`."""
    return [
        {"to": f"{topic}/{qos}", "payload": f"grüße {qos}", "options": {"qos": qos, "retain": False}}
        for qos in range(3)
    ]


@every_version
@pytest.mark.parametrize("other", [V311, V5], ids=["paho 3.1.1", "paho 5"])
def test_to_paho(broker: BrokerProcess, topic: str, version: int, other: MQTTProtocolVersion) -> None:
    with PahoClient(broker, other) as paho:
        paho.subscribe((topic + "/+", 2))
        run("send", broker, topic, version, messages=outgoing(topic))
        received = [paho.receive() for _ in range(3)]
    # The order between different QoS is free.
    assert sorted((message.topic, message.payload.decode(), message.qos) for message in received) == [
        (f"{topic}/{qos}", f"grüße {qos}", qos) for qos in range(3)
    ]


@every_version
@pytest.mark.parametrize("other", [V311, V5], ids=["paho 3.1.1", "paho 5"])
def test_from_paho(broker: BrokerProcess, topic: str, version: int, other: MQTTProtocolVersion) -> None:
    with (
        started("listen", broker, topic, version, filter=topic + "/+", count=3) as finish,
        PahoClient(broker, other) as paho,
    ):
        for qos in range(3):
            paho.publish(f"{topic}/{qos}", f"grüße {qos}", qos)
        received = finish()
    assert sorted((message["topic"], message["payload"], message["qos"]) for message in received) == [
        (f"{topic}/{qos}", f"grüße {qos}", qos) for qos in range(3)
    ]


def test_properties_from_paho(broker: BrokerProcess, topic: str) -> None:
    pairs = [("wing", "left"), ("wing", "right"), ("colour", "grey")]
    properties = publish_properties(
        UserProperty=pairs, ContentType="text/plain", ResponseTopic=topic + "/back", CorrelationData=b"\x00\xff"
    )
    with started("listen", broker, topic, MQTT5, filter=topic, count=1) as finish, PahoClient(broker, V5) as paho:
        paho.publish(topic, "x", 1, properties=properties)
        (message,) = finish()
    assert message["properties"] == {
        "userProperties": {"wing": ["left", "right"], "colour": "grey"},
        "contentType": "text/plain",
        "responseTopic": topic + "/back",
        "correlationData": "00ff",
    }


@with_mosquitto
@every_version
@pytest.mark.parametrize("other", ["311", "5"])
def test_to_mosquitto_sub(broker: BrokerProcess, topic: str, version: int, other: str) -> None:
    with mosquitto_subscribed(broker, "-V", other, "-q", 2, "-t", topic + "/+", "-C", 3) as sub:
        run("send", broker, topic, version, messages=outgoing(topic))
        assert sorted(messages_of(sub)) == [f"{topic}/{qos} {qos} 0 grüße {qos}" for qos in range(3)]


@with_mosquitto
@every_version
@pytest.mark.parametrize("other", ["311", "5"])
def test_from_mosquitto_pub(broker: BrokerProcess, topic: str, version: int, other: str) -> None:
    with started("listen", broker, topic, version, filter=topic + "/+", count=3) as finish:
        for qos in range(3):
            run_mosquitto("mosquitto_pub", broker, "-V", other, "-q", qos, "-t", f"{topic}/{qos}", "-m", f"grüße {qos}")
        received = finish()
    assert Counter((message["topic"], message["payload"], message["qos"]) for message in received) == Counter(
        (f"{topic}/{qos}", f"grüße {qos}", qos) for qos in range(3)
    )


@with_mosquitto
def test_properties_to_mosquitto_sub(broker: BrokerProcess, topic: str) -> None:
    """MQTT.js groups user properties of one name; what mosquitto_sub prints is the order on the wire."""
    properties = {
        "userProperties": {"wing": ["left", "right"], "colour": "grey", "a": "z"},
        "contentType": "text/plain",
        "responseTopic": "back",
    }
    message = {"to": topic, "payload": "x", "options": {"qos": 1, "retain": True, "properties": properties}}
    run("send", broker, topic, messages=[message])
    got = run_mosquitto("mosquitto_sub", broker, "-V", 5, "-t", topic, "-C", 1, "-F", "%C|%R|%P")
    assert got == "text/plain|back|wing:left wing:right colour:grey a:z\n"
    run_mosquitto("mosquitto_pub", broker, "-t", topic, "-r", "-n")
