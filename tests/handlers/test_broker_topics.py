"""$SYS belongs to the broker: no client publishes there, in whatever way, but bridges with their state."""

import pytest
from handlers.direct_links import V3_1, V3_1_1, V5, DirectBroker
from noctule._speedups.message import Message
from noctule._speedups.topics import is_of_broker
from noctule.protocol import Connect, ProtocolVersion
from noctule.protocol.connect import Will

THE_BROKERS = ["$SYS", "$SYS/broker/uptime", "$SYS/x", "$SYS/broker/connection/state"]
THE_BROKERS.append("$SYS/broker/connection/a/b/state")
OTHERS = ["$SYSTEM", "$sys/x", "sys", "SYS/broker", "$SYS/broker/connection/bridge/state", "$CONTROL/x", "a/$SYS/b"]


@pytest.mark.parametrize("topic", THE_BROKERS)
def test_what_is_the_brokers(topic: str) -> None:
    assert is_of_broker(topic.encode())


@pytest.mark.parametrize("topic", [*OTHERS, "", "$", "$SY"])
def test_what_is_not(topic: str) -> None:
    assert not is_of_broker(topic.encode())


@pytest.mark.parametrize("topic", THE_BROKERS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_clients_cannot_publish_there(topic: str, qos: int, caplog: pytest.LogCaptureFixture) -> None:
    broker = DirectBroker()
    reader = broker.connect("reader")
    reader.subscribe("$SYS/#")
    writer = broker.connect("writer")
    writer.publish(topic, b"mine", qos, retain=True)
    answers = writer.received()
    if qos:
        ((first, body),) = answers
        assert (first >> 4, body[2]) == (4 if qos == 1 else 5, 0x87)
    assert reader.payloads() == []
    assert broker.state.router.retained.count == 0
    assert "only the broker publishes below $SYS" in caplog.text
    (denial,) = broker.dispatcher.means.denial_log.recent
    assert (denial.client.client_id, denial.topic) == ("writer", topic)


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("topic", THE_BROKERS)
def test_below_version_5_it_is_acknowledged_and_goes_nowhere(topic: str, qos: int, version: ProtocolVersion) -> None:
    broker = DirectBroker()
    reader = broker.connect("reader")
    reader.subscribe("$SYS/#")
    writer = broker.connect("writer", version)
    writer.publish(topic, b"mine", qos, retain=True)
    assert writer.received() == [[], [(0x40, b"\x00\x01")], [(0x50, b"\x00\x01")]][qos]
    if qos == 2:
        writer.ack(6, 1)
        assert writer.received() == [(0x70, b"\x00\x01")]
    assert reader.payloads() == []
    assert broker.state.router.retained.count == 0
    assert broker.state.plane.counts["dropped_denied"] >= 1


@pytest.mark.parametrize("topic", OTHERS)
def test_other_topics_are_everybodys(topic: str) -> None:
    broker = DirectBroker()
    reader = broker.connect("reader")
    reader.subscribe(topic)
    broker.connect("writer").publish(topic, b"1")
    assert reader.payloads() == [b"1"]


def test_a_topic_allowed_before_does_not_open_it() -> None:
    """The rights of a link's last topic are remembered."""
    broker = DirectBroker()
    reader = broker.connect("reader")
    reader.subscribe("#")
    reader.subscribe("$SYS/#", packet_id=2)
    writer = broker.connect("writer")
    for _ in range(3):
        writer.publish("a", b"1").publish("$SYS/a", b"2")
    assert reader.payloads() == [b"1"] * 3
    assert broker.state.plane.counts["dropped_denied"] == 3


@pytest.mark.parametrize("version", [V3_1_1, V5])
def test_a_will_there_refuses_its_connect(version: ProtocolVersion) -> None:
    broker = DirectBroker()
    client = broker.open(version)
    connack = client.connect(Connect(version, "c", will=Will("$SYS/broker/uptime", b"gone")))
    assert connack is not None
    assert connack.reason_code == 0x87
    assert not len(broker.state.sessions)


def test_the_will_of_a_bridge_is_taken() -> None:
    broker = DirectBroker()
    topic = "$SYS/broker/connection/east/state"
    client = broker.open()
    connack = client.connect(Connect(V5, "bridge", will=Will(topic, b"0", 1, True)))
    assert connack is not None
    assert connack.reason_code == 0
    client.publish(topic, b"1", retain=True)
    kept = broker.state.router.retained.get(topic.encode())
    assert kept is not None
    assert kept.payload == b"1"


def test_a_will_that_was_changed_into_one_there_is_not_published() -> None:
    broker = DirectBroker()
    broker.connect("c")
    session = broker.state.sessions.find("c")
    assert session is not None
    assert broker.dispatcher.watching.will_due(session, Message(b"$SYS/x", b"1")) is None
    assert broker.dispatcher.watching.will_due(session, Message(b"x", b"1")) is not None
