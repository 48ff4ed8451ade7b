"""The broker's main job through paho-mqtt, in every version of MQTT and with both of its callback APIs."""

import uuid

import pytest
from e2e.paho_client import V5, V31, V311, VERSIONS, PahoClient, publish_properties
from e2e.process import BrokerProcess
from e2e.wire import DISCONNECT, MQTT5, MQTT31, MQTT311, Wire
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

API = CallbackAPIVersion
every_version = pytest.mark.parametrize("version", VERSIONS, ids=["3.1", "3.1.1", "5"])
every_qos = pytest.mark.parametrize("qos", [0, 1, 2])
WIRE_VERSION = {V31: MQTT31, V311: MQTT311, V5: MQTT5}


def name() -> str:
    """Return a client id that no other test uses, short enough for MQTT 3.1's limit of 23."""
    return uuid.uuid4().hex[:20]


@pytest.mark.parametrize("callbacks", [API.VERSION1, API.VERSION2], ids=["api1", "api2"])
@every_version
@every_qos
def test_publish_and_receive(
    broker: BrokerProcess, topic: str, qos: int, version: MQTTProtocolVersion, callbacks: CallbackAPIVersion
) -> None:
    with PahoClient(broker, version, callbacks=callbacks) as client:
        assert client.subscribe((topic, qos)) == [qos]
        client.publish(topic, b"\x00payload\xff", qos)
        message = client.receive()
    assert (message.topic, message.payload, message.qos, message.retain) == (topic, b"\x00payload\xff", qos, False)


@pytest.mark.parametrize("subscribed", [0, 1, 2])
@every_qos
def test_delivered_at_the_lower_qos(broker: BrokerProcess, topic: str, qos: int, subscribed: int) -> None:
    with PahoClient(broker) as client:
        client.subscribe((topic, subscribed))
        client.publish(topic, "x", qos)
        assert client.receive().qos == min(qos, subscribed)


@every_version
def test_one_version_talks_to_all(broker: BrokerProcess, topic: str, version: MQTTProtocolVersion) -> None:
    with PahoClient(broker, V31) as v31, PahoClient(broker, V311) as v311, PahoClient(broker, V5) as v5:
        for client in (v31, v311, v5):
            client.subscribe((topic, 2))
        with PahoClient(broker, version) as publisher:
            publisher.publish(topic, "x", 1)
        assert [client.receive().qos for client in (v31, v311, v5)] == [1, 1, 1]


@every_version
def test_retained_message(broker: BrokerProcess, topic: str, version: MQTTProtocolVersion) -> None:
    def at_subscribe() -> list[tuple[bytes, int, bool]]:
        """Return what a new subscriber is sent ahead of a message that comes live."""
        with PahoClient(broker, version) as client:
            client.subscribe((topic, 1))
            client.publish(topic, "live", 1)
            got: list[tuple[bytes, int, bool]] = []
            while (message := client.receive()).payload != b"live":
                got.append((message.payload, message.qos, message.retain))
            assert not message.retain
            return got

    with PahoClient(broker, version) as publisher:
        publisher.publish(topic, "first", 1, retain=True)
        assert at_subscribe() == [(b"first", 1, True)]
        publisher.publish(topic, "second", 0, retain=True)
        assert at_subscribe() == [(b"second", 0, True)]
        publisher.publish(topic, "", 1, retain=True)
        assert at_subscribe() == []


@every_version
def test_retained_message_reaches_live_subscribers_without_the_flag(
    broker: BrokerProcess, topic: str, version: MQTTProtocolVersion
) -> None:
    with PahoClient(broker, version) as client:
        client.subscribe((topic, 1))
        client.publish(topic, "x", 1, retain=True)
        assert not client.receive().retain
        # The empty payload that clears it is delivered like any message.
        client.publish(topic, "", 1, retain=True)
        assert client.receive().payload == b""


@every_version
def test_retained_messages_by_wildcard(broker: BrokerProcess, topic: str, version: MQTTProtocolVersion) -> None:
    with PahoClient(broker, version) as client:
        for room in ("kitchen", "hall", "attic/east"):
            client.publish(f"{topic}/{room}", room, 1, retain=True)
        client.subscribe((f"{topic}/+", 1))
        assert sorted(client.receive_payloads(2)) == [b"hall", b"kitchen"]
        client.subscribe((f"{topic}/#", 1))
        assert sorted(client.receive_payloads(3)) == [b"attic/east", b"hall", b"kitchen"]


@pytest.mark.parametrize(
    ("filter_", "matching"),
    [
        ("{}/a/b", ["a/b"]),
        ("{}/+/b", ["a/b", "/b"]),
        ("{}/a/+", ["a/b", "a/"]),
        ("{}/+", ["a"]),
        ("{}/#", ["", "a", "a/b", "a/b/c", "/b", "a/"]),
        ("{}/a/#", ["a", "a/b", "a/b/c", "a/"]),
        ("{}/+/+/c", ["a/b/c"]),
        ("+/{}/a", []),
    ],
)
@every_version
def test_wildcards(
    broker: BrokerProcess, topic: str, version: MQTTProtocolVersion, filter_: str, matching: list[str]
) -> None:
    with PahoClient(broker, version) as client:
        client.subscribe((filter_.format(topic), 0), (topic + "-end", 0))
        for below in ("", "a", "a/b", "a/b/c", "/b", "a/"):
            client.publish(f"{topic}/{below}" if below else topic, below)
        client.publish(topic + "-end", "end")
        received: list[str] = []
        while (payload := client.receive().payload.decode()) != "end":
            received.append(payload)
    assert received == [below for below in ("", "a", "a/b", "a/b/c", "/b", "a/") if below in matching]


@pytest.mark.parametrize("filter_", ["#", "+/{}"])
def test_topics_with_a_dollar_are_not_matched_by_a_leading_wildcard(
    broker: BrokerProcess, topic: str, filter_: str
) -> None:
    level = topic.replace("/", "-")
    with PahoClient(broker) as wild, PahoClient(broker) as exact:
        exact.subscribe((f"$noctule-test/{level}", 1))
        wild.subscribe((filter_.format(level), 1))
        exact.publish(f"$noctule-test/{level}", "hidden", 1)
        exact.publish(f"plain/{level}", "end", 1)
        assert exact.receive().payload == b"hidden"
        received: list[bytes] = []
        while (message := wild.receive()).topic != f"plain/{level}":
            received.append(message.payload)
    assert b"hidden" not in received


@pytest.mark.parametrize("retain", [False, True], ids=["", "retained"])
@every_version
def test_will_when_the_connection_is_lost(
    broker: BrokerProcess, topic: str, version: MQTTProtocolVersion, retain: bool
) -> None:
    with PahoClient(broker, version) as watcher:
        watcher.subscribe((topic, 1))
        with PahoClient(broker, version, will=(topic, "gone", 1, retain)) as client:
            client.drop()
            message = watcher.receive()
        assert (message.payload, message.qos, message.retain) == (b"gone", 1, False)
        if retain:
            with PahoClient(broker, version) as late:
                late.subscribe((topic, 1))
                assert late.receive().retain
                late.publish(topic, "", 1, retain=True)


@every_version
def test_no_will_after_disconnect(broker: BrokerProcess, topic: str, version: MQTTProtocolVersion) -> None:
    with PahoClient(broker, version) as watcher:
        watcher.subscribe((topic, 1))
        with Wire(broker) as client:
            client.connect(name(), WIRE_VERSION[version], will=(topic, b"gone"))
            client.send(DISCONNECT)
            assert client.until_closed() == []
        watcher.publish(topic, "end", 1)
        assert watcher.receive().payload == b"end"


@every_version
def test_offline_messages_wait_for_a_persistent_session(
    broker: BrokerProcess, topic: str, version: MQTTProtocolVersion
) -> None:
    client_id = name()
    with PahoClient(broker, version, client_id, clean=False) as client:
        assert not client.session_present
        client.subscribe((topic + "/1", 1), (topic + "/2", 2))
    with PahoClient(broker, version) as publisher:
        for number in range(10):
            publisher.publish(f"{topic}/{number % 2 + 1}", str(number), 2)
    with PahoClient(broker, version, client_id, clean=False) as client:
        # MQTT 3.1 has no session-present flag.
        assert client.session_present == (version != V31)
        messages = [client.receive() for _ in range(10)]
        # The order is promised among messages of one QoS.
        for qos in (1, 2):
            received = [int(message.payload) for message in messages if message.qos == qos]
            assert received == [number for number in range(10) if number % 2 + 1 == qos]
    with PahoClient(broker, version, client_id, clean=True) as client:
        assert not client.session_present
        client.publish(topic + "/1", "nobody's", 1)
    with PahoClient(broker, version, client_id, clean=False) as client:
        assert not client.session_present
        client.subscribe((topic + "/end", 1))
        client.publish(topic + "/end", "end", 1)
        assert client.receive().payload == b"end"
    with PahoClient(broker, version, client_id):
        pass


@every_version
def test_takeover(broker: BrokerProcess, topic: str, version: MQTTProtocolVersion) -> None:
    client_id = name()
    with PahoClient(broker, version, client_id) as first:
        first.subscribe((topic, 1))
        with PahoClient(broker, version, client_id) as second:
            first.wait_for_disconnect()
            second.subscribe((topic, 1))
            second.publish(topic, "x", 1)
            assert second.receive().payload == b"x"


@every_version
def test_takeover_keeps_a_persistent_session(broker: BrokerProcess, topic: str, version: MQTTProtocolVersion) -> None:
    client_id = name()
    with PahoClient(broker, version, client_id, clean=False) as first:
        first.subscribe((topic, 1))
        with PahoClient(broker, version, client_id, clean=False) as second:
            first.wait_for_disconnect()
            second.publish(topic, "x", 1)
            assert second.receive().payload == b"x"
    with PahoClient(broker, version, client_id):
        pass


@every_version
def test_many_filters_in_one_packet(broker: BrokerProcess, topic: str, version: MQTTProtocolVersion) -> None:
    with PahoClient(broker, version) as client:
        assert client.subscribe(*((f"{topic}/{number}", number % 3) for number in range(50))) == [0, 1, 2] * 16 + [0, 1]
        client.unsubscribe(*(f"{topic}/{number}" for number in range(0, 50, 2)))
        for number in range(50):
            client.publish(f"{topic}/{number}", str(number), 2)
        assert [int(payload) for payload in client.receive_payloads(25)] == list(range(1, 50, 2))


@every_version
def test_unsubscribe_what_was_never_subscribed(broker: BrokerProcess, topic: str, version: MQTTProtocolVersion) -> None:
    with PahoClient(broker, version) as client:
        client.unsubscribe(topic, topic + "/#")
        client.subscribe((topic, 0))
        client.publish(topic, "x")
        assert client.receive().payload == b"x"


def test_subscribing_again_replaces_the_qos(broker: BrokerProcess, topic: str) -> None:
    with PahoClient(broker) as client:
        client.subscribe((topic, 2))
        client.subscribe((topic, 0))
        client.publish(topic, "once", 2)
        client.publish(topic, "end", 2)
        assert [(message.payload, message.qos) for message in (client.receive(), client.receive())] == [
            (b"once", 0),
            (b"end", 0),
        ]


@every_version
@every_qos
def test_a_thousand_messages_come_in_order(
    broker: BrokerProcess, topic: str, qos: int, version: MQTTProtocolVersion
) -> None:
    with PahoClient(broker, version) as subscriber, PahoClient(broker, version) as publisher:
        subscriber.subscribe((topic, qos))
        sent = [publisher.send(topic, str(number), qos) for number in range(1000)]
        assert [int(payload) for payload in subscriber.receive_payloads(1000)] == list(range(1000))
        for info in sent:
            info.wait_for_publish(10)
            assert info.is_published()


@every_version
@every_qos
def test_a_payload_of_a_megabyte(broker: BrokerProcess, topic: str, qos: int, version: MQTTProtocolVersion) -> None:
    payload = bytes(range(256)) * 4096
    with PahoClient(broker, version) as client:
        client.subscribe((topic, qos))
        client.publish(topic, payload, qos)
        assert client.receive().payload == payload


def test_an_empty_client_id_is_replaced(broker: BrokerProcess, topic: str) -> None:
    with PahoClient(broker, V5) as first, PahoClient(broker, V5) as second:
        assert first.connack_properties is not None
        assert second.connack_properties is not None
        # paho keeps properties as attributes that are not declared.
        assigned = [getattr(client.connack_properties, "AssignedClientIdentifier", "") for client in (first, second)]
        assert all(assigned)
        assert assigned[0] != assigned[1]
    with PahoClient(broker, V311) as first, PahoClient(broker, V311) as second:
        for client in (first, second):
            client.subscribe((topic, 0))
        first.publish(topic, "x")
        assert first.receive().payload == second.receive().payload == b"x"


def test_properties_are_forwarded(broker: BrokerProcess, topic: str) -> None:
    properties = publish_properties(
        UserProperty=[("b", "1"), ("a", "2"), ("b", "1"), ("ключ", "значение"), ("", "")],
        ContentType="text/plain",
        ResponseTopic="answers/here",
        CorrelationData=b"\x00\xff",
        PayloadFormatIndicator=1,
    )
    with PahoClient(broker, V5) as subscriber, PahoClient(broker, V5) as publisher:
        subscriber.subscribe((topic, 1))
        publisher.publish(topic, "x", 1, properties=properties)
        received = subscriber.receive().properties
    assert received is not None
    for key in ("UserProperty", "ContentType", "ResponseTopic", "CorrelationData", "PayloadFormatIndicator"):
        assert getattr(received, key) == getattr(properties, key)


def test_properties_are_dropped_for_older_versions(broker: BrokerProcess, topic: str) -> None:
    with PahoClient(broker, V311) as subscriber, PahoClient(broker, V5) as publisher:
        subscriber.subscribe((topic, 1))
        publisher.publish(topic, "x", 1, properties=publish_properties(UserProperty=[("a", "b")], ContentType="t"))
        assert subscriber.receive().payload == b"x"
        subscriber.publish(topic, "back", 1)
        assert subscriber.receive().payload == b"back"


@pytest.mark.parametrize("text", ["Übergröße", "蝙蝠/夜", "🦇", " spaces stay ", "a" * 1000])
@every_version
def test_topics_in_any_script(broker: BrokerProcess, topic: str, version: MQTTProtocolVersion, text: str) -> None:
    with PahoClient(broker, version) as client:
        client.subscribe((f"{topic}/{text}", 1))
        client.publish(f"{topic}/{text}", text, 1)
        message = client.receive()
    assert (message.topic, message.payload) == (f"{topic}/{text}", text.encode())


@every_version
def test_long_client_ids_are_taken(broker: BrokerProcess, version: MQTTProtocolVersion) -> None:
    # MQTT 3.1 allows 23 characters; clients in use send more, so the broker takes them.
    with PahoClient(broker, version, "long-" * 20 + name()):
        pass
