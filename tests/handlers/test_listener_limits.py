"""What one listener limits: the size of packets, and the quality of service."""

import pytest
from handlers.direct_links import V3_1_1, V5, DirectBroker
from noctule.config.settings import ListenerLimits, ListenerSettings, Settings
from noctule.protocol import Connect, ProtocolVersion, Will

both_versions = pytest.mark.parametrize("version", [V3_1_1, V5], ids=["3.1.1", "5"])


def broker_with(**limits: int) -> DirectBroker:
    """Links of a DirectBroker count as connections to its first listener."""
    return DirectBroker(Settings((ListenerSettings(limits=ListenerLimits(**limits)),)))


def why_closed(version: ProtocolVersion, reason_code: int) -> int | None:
    """Below version 5 a client is told by closing alone."""
    return reason_code if version >= V5 else None


# --- max_packet_size ---


def test_the_size_is_told() -> None:
    broker = broker_with(packet_max_bytes=100)
    connack = broker.connect().connack
    assert connack is not None
    assert connack.maximum_packet_size == 100


@both_versions
def test_a_packet_that_is_too_large_ends_the_connection(version: ProtocolVersion) -> None:
    broker = broker_with(packet_max_bytes=100)
    properties = version >= V5
    reader = broker.connect("reader", version)
    reader.subscribe("t")
    writer = broker.connect("writer", version)
    writer.publish("t", bytes(95 - properties))
    assert reader.payloads() == [bytes(95 - properties)]
    writer.publish("t", bytes(96 - properties))
    assert writer.told_why() == why_closed(version, 0x95)
    assert reader.payloads() == []


@both_versions
def test_a_connect_that_is_too_large_is_refused(version: ProtocolVersion) -> None:
    broker = broker_with(packet_max_bytes=50)
    size = 50 - len(b"\x10\x00\x00\x04MQTT\x04\x02\x00\x3c\x00\x00") - (version >= V5)
    assert broker.connect("c" * size, version).connack is not None
    connack = broker.open(version).connect(Connect(version, "c" * (size + 1)))
    assert (None if connack is None else connack.reason_code) == why_closed(version, 0x95)


def test_what_a_client_was_told_holds() -> None:
    """Settings that are loaded again count for connections to come."""
    broker = broker_with(packet_max_bytes=100)
    client = broker.connect("c")
    broker.state.settings = broker_with(packet_max_bytes=50).state.settings
    client.publish("t", bytes(90))
    assert client.received() == []
    other = broker.connect("d")
    assert other.connack is not None
    assert other.connack.maximum_packet_size == 50


def test_the_size_for_all_holds_where_the_listener_says_nothing() -> None:
    broker = DirectBroker(packet_max_bytes=200)
    connack = broker.connect().connack
    assert connack is not None
    assert connack.maximum_packet_size == 200


# --- max_qos ---


@pytest.mark.parametrize(("most", "told"), [(0, 0), (1, 1), (2, 2)])
def test_the_quality_of_service_is_told(most: int, told: int) -> None:
    """[MQTT-3.2.2-9]"""
    connack = broker_with(max_qos=most).connect().connack
    assert connack is not None
    assert connack.maximum_qos == told


@both_versions
@pytest.mark.parametrize(("most", "qos"), [(0, 1), (0, 2), (1, 2)])
def test_a_message_above_it_ends_the_connection(version: ProtocolVersion, most: int, qos: int) -> None:
    """[MQTT-3.2.2-11]"""
    broker = broker_with(max_qos=most)
    reader = broker.connect("reader", version)
    reader.subscribe("t")
    writer = broker.connect("writer", version)
    writer.publish("t", b"fits", most)
    assert reader.payloads() == [b"fits"]
    writer.received()
    writer.publish("t", b"does not", qos, packet_id=2)
    assert writer.told_why() == why_closed(version, 0x9B)
    assert reader.payloads() == []


@both_versions
def test_a_subscription_is_granted_as_much(version: ProtocolVersion) -> None:
    """[MQTT-3.2.2-10]"""
    client = broker_with(max_qos=1).connect("c", version)
    assert client.subscribe("t") == (1,)


@both_versions
def test_a_will_above_it_is_refused(version: ProtocolVersion) -> None:
    """[MQTT-3.2.2-12]"""
    broker = broker_with(max_qos=1)
    assert broker.open(version).connect(Connect(version, "c", will=Will("t", b"", qos=1))) is not None
    connack = broker.open(version).connect(Connect(version, "d", will=Will("t", b"", qos=2)))
    assert (None if connack is None else connack.reason_code) == why_closed(version, 0x9B)
