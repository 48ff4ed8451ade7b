"""SUBSCRIBE and UNSUBSCRIBE: their answers, the retained messages that follow, and what is received from then on."""

import pytest
from handlers.direct_links import PINGREQ, PINGRESP, V3_1, V3_1_1, V5, DirectBroker
from noctule._speedups.codec import decode_publish
from noctule._speedups.link import CLOSED, OPEN
from noctule.protocol import ProtocolVersion, Subscribe, SubscriptionRequest, encode_subscribe
from protocol.wire_tables.subscribe import FAULTY as FAULTY_SUBSCRIBE
from protocol.wire_tables.unsubscribe import FAULTY as FAULTY_UNSUBSCRIBE

every_version = pytest.mark.parametrize("version", ProtocolVersion, ids=["3.1", "3.1.1", "5"])

WRONG_FILTERS = [
    "a#",
    "a/#/b",
    "#/a",
    "##",
    "a+",
    "+a/b",
    "a/+b",
    "/".join(["a"] * 201),
    "",
    "$share/",
    "$share//t",
    "$share/g",
]


@every_version
def test_each_filter_has_its_code_in_its_place(version: ProtocolVersion) -> None:
    """[MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.9.3-1]"""
    client = DirectBroker().connect("c", version)
    codes = client.subscribe(
        SubscriptionRequest("a", 0), SubscriptionRequest("b/#", 1), SubscriptionRequest("+", 2), packet_id=65_535
    )
    assert codes == (0, 1, 2)
    assert client.behind_suback == []


@pytest.mark.parametrize("topic_filter", WRONG_FILTERS, ids=lambda text: text[:10] or "empty")
def test_a_wrong_filter_is_refused_and_the_others_are_not(topic_filter: str) -> None:
    """[MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.8.2-1]"""
    broker = DirectBroker()
    client = broker.connect("c", V5)
    codes = client.subscribe(
        SubscriptionRequest("a", 1), SubscriptionRequest(topic_filter, 1), SubscriptionRequest("b", 1)
    )
    assert codes == (1, 0x8F, 1)
    assert client.link.state == OPEN
    assert broker.state.router.filters.subscription_count == 2


@pytest.mark.parametrize("topic_filter", WRONG_FILTERS, ids=lambda text: text[:10] or "empty")
@pytest.mark.parametrize("version", [V3_1, V3_1_1], ids=["3.1", "3.1.1"])
def test_below_version_5_a_wrong_filter_ends_the_connection(version: ProtocolVersion, topic_filter: str) -> None:
    """[MQTT-4.7.1-2] [MQTT-4.7.1-3] of 3.1.1; what is ours alone is refused, and 3.1 has no code for it."""
    broker = DirectBroker()
    client = broker.connect("c", version)
    entries = (SubscriptionRequest("a", 1), SubscriptionRequest(topic_filter, 1), SubscriptionRequest("b", 1))
    if topic_filter.count("/") > 100 or topic_filter.startswith("$share/"):  # well formed, and refused
        assert client.subscribe(*entries) == (1, {V3_1: 0, V3_1_1: 0x80}[version], 1)
        return
    client.send(encode_subscribe(Subscribe(1, entries), version))
    assert client.received() == []
    assert client.link.state == CLOSED
    assert broker.state.router.filters.subscription_count == 0


@every_version
def test_retained_messages_come_behind_the_suback_and_before_what_is_newer(version: ProtocolVersion) -> None:
    """[MQTT-3.3.1-9]"""
    broker = DirectBroker()
    publisher = broker.connect("p")
    publisher.publish("a/1", b"old", 2, 7, retain=True).ack(6, 7)
    publisher.publish("a/2", b"old", 1, retain=True).publish("a/3", b"old", 0, retain=True).publish(
        "b", b"x", retain=True
    )
    client = broker.connect("c", version)
    assert client.subscribe(SubscriptionRequest("a/+", 1)) == (1,)
    found = sorted(decode_publish(first, body, version, True) for first, body in client.behind_suback)
    assert [(one.topic, one.payload, one.qos, one.retain) for one in found] == [
        (b"a/1", b"old", 1, True),
        (b"a/2", b"old", 1, True),
        (b"a/3", b"old", 0, True),
    ]
    publisher.publish("a/1", b"new", retain=True)
    assert [(one.payload, one.retain) for one in client.publishes()] == [(b"new", False)]


def retained_for(retain_handling: int, *, again: bool) -> int:
    """How many retained messages a SUBSCRIBE brings."""
    broker = DirectBroker()
    broker.connect("p").publish("t", b"x", retain=True)
    client = broker.connect("c")
    if again:
        client.subscribe(SubscriptionRequest("t", 1, retain_handling=2))
        assert client.behind_suback == []
    client.subscribe(SubscriptionRequest("t", 1, retain_handling=retain_handling))
    return len(client.behind_suback)


@pytest.mark.parametrize(
    ("retain_handling", "again", "expected"),
    [(0, False, 1), (0, True, 1), (1, False, 1), (1, True, 0), (2, False, 0), (2, True, 0)],
)
def test_retain_handling(retain_handling: int, again: bool, expected: int) -> None:
    """[MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]"""
    assert retained_for(retain_handling, again=again) == expected


@every_version
def test_the_same_filter_again_replaces_the_subscription_and_brings_the_retained_messages_again(
    version: ProtocolVersion,
) -> None:
    """[MQTT-3.8.4-3] [MQTT-3.8.4-4]"""
    broker = DirectBroker()
    publisher = broker.connect("p")
    publisher.publish("t", b"old", 1, retain=True)
    client = broker.connect("c", version)
    for qos in (0, 1):
        assert client.subscribe(SubscriptionRequest("t", qos)) == (qos,)
        assert len(client.behind_suback) == 1
    publisher.publish("t", b"new", 1)
    assert [(one.payload, one.qos) for one in client.publishes()] == [(b"new", 1)]
    assert broker.state.router.filters.subscription_count == 1


def test_a_filter_twice_in_one_packet() -> None:
    broker = DirectBroker()
    client = broker.connect("c", V3_1_1)
    assert client.subscribe(SubscriptionRequest("t", 2), SubscriptionRequest("t", 0)) == (2, 0)
    broker.connect("p").publish("t", b"x", 1)
    assert [one.qos for one in client.publishes()] == [0]


def test_the_options_of_version_5() -> None:
    """[MQTT-3.8.3-3] [MQTT-3.3.1-12] [MQTT-3.3.1-13] [MQTT-3.3.4-3]"""
    broker = DirectBroker()
    client = broker.connect("c")
    client.subscribe(SubscriptionRequest("t", 1, no_local=True, retain_as_published=True), identifier=300)
    client.publish("t", b"own")
    broker.connect("p").publish("t", b"theirs", retain=True)
    ((found),) = client.publishes()
    assert (found.payload, found.retain, found.properties) == (b"theirs", True, b"\x0b\xac\x02")


def test_the_topics_of_the_broker_are_not_for_everybody() -> None:
    """[MQTT-4.7.2-1]"""
    broker = DirectBroker()
    client = broker.connect("c")
    client.subscribe("#", "+/x", packet_id=1)
    named = broker.connect("named")
    named.subscribe("$other/#")
    broker.connect("p").publish("$other/x", b"1").publish("other/x", b"2")
    assert set(client.payloads()) == {b"2"}
    assert named.payloads() == [b"1"]


@every_version
def test_unsubscribe(version: ProtocolVersion) -> None:
    """[MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.11.3-1]"""
    broker = DirectBroker()
    client = broker.connect("c", version)
    client.subscribe("a/+", "a/b", "b")
    codes = client.unsubscribe("a/b", "a/#", "a/b", "b", packet_id=9)
    assert codes == ((0x00, 0x11, 0x11, 0x00) if version == 5 else ())
    broker.connect("p").publish("a/b", b"1").publish("b", b"2")
    assert client.payloads() == [b"1"]
    assert client.unsubscribe("a/+") == ((0,) if version == 5 else ())
    assert broker.state.router.filters.node_count == 0


@every_version
def test_what_is_in_flight_is_finished_after_unsubscribe(version: ProtocolVersion) -> None:
    """[MQTT-3.10.4-3]"""
    broker = DirectBroker()
    client = broker.connect("c", version)
    client.subscribe("t")
    broker.connect("p").publish("t", b"x", 2, 5).ack(6, 5)
    (found,) = client.publishes()
    client.unsubscribe("t")
    assert client.ack(5, found.packet_id).received() == [(0x62, found.packet_id.to_bytes(2, "big"))]
    assert client.ack(7, found.packet_id).send(PINGREQ).received() == [PINGRESP]


def wrong_rows() -> list[object]:
    return [
        pytest.param(row, version, id=f"{row.name} ({row.wire[0]:02x}, {version})")
        for row in (*FAULTY_SUBSCRIBE, *FAULTY_UNSUBSCRIBE)
        for version in row.versions
    ]


@pytest.mark.parametrize(("row", "version"), wrong_rows())
def test_a_wrong_packet_ends_its_own_connection_and_subscribes_to_nothing(row: object, version: int) -> None:
    """[MQTT-4.13.1-1], and whoever else is connected does not notice."""
    broker = DirectBroker()
    other = broker.connect("other")
    other.subscribe("t")
    client = broker.connect("c", ProtocolVersion(version))
    client.send(row.wire, encode_subscribe(Subscribe(5, (SubscriptionRequest("late"),)), version), PINGREQ)  # type: ignore[attr-defined]
    assert client.told_why() == (row.reason_code if version == 5 else None)  # type: ignore[attr-defined]
    assert broker.state.router.filters.subscription_count == 1
    other.publish("t", b"still here")
    assert other.payloads() == [b"still here"]


def test_a_suback_is_no_larger_than_the_client_takes() -> None:
    """[MQTT-3.1.2-24]"""
    client = DirectBroker().connect("c", maximum_packet_size=20)
    client.send(encode_subscribe(Subscribe(1, tuple(SubscriptionRequest(str(i)) for i in range(30))), V5))
    assert all(2 + len(body) <= 20 for _, body in client.received())
