"""Mount points: the clients of a listener live below a prefix that they do not see."""

from dataclasses import replace
from typing import Any

import pytest
from handlers.direct_links import V3_1_1, V5, DirectBroker, DirectClient
from handlers.kept_links import KeptBroker
from noctule._speedups.codec import encode_publish
from noctule._speedups.message import Message
from noctule.config.settings import ListenerSettings, Settings
from noctule.core.origin import Origin
from noctule.protocol import Connect, ProtocolVersion, Will

both_versions = pytest.mark.parametrize("version", [V3_1_1, V5], ids=["3.1.1", "5"])

OPEN = ListenerSettings(port=1)
MOUNTED = ListenerSettings(port=2, mount_point="plant/a/")
OTHER = ListenerSettings(port=3, mount_point="plant/b/")


def broker_with(kind: type[DirectBroker] = DirectBroker, **limits: Any) -> DirectBroker:
    return kind(settings=Settings((OPEN, MOUNTED, OTHER)), **limits)


def connect(
    broker: DirectBroker,
    client_id: str,
    listener: ListenerSettings = MOUNTED,
    version: ProtocolVersion = V5,
    **fields: Any,
) -> DirectClient:
    client = broker.open(version)
    client.link.origin = Origin(listener)
    connack = client.connect(Connect(version, client_id, **fields))
    assert connack is not None
    assert connack.reason_code == 0
    return client


def seen(client: DirectClient) -> list[tuple[str, bytes]]:
    return [(one.topic.decode(), one.payload) for one in client.publishes()]


@both_versions
@pytest.mark.parametrize("qos", [0, 1])
def test_messages_come_and_go_below_the_prefix(version: ProtocolVersion, qos: int) -> None:
    broker = broker_with()
    inside = connect(broker, "inside", version=version)
    elsewhere = connect(broker, "elsewhere", OTHER, version)
    outside = connect(broker, "outside", OPEN, version)
    for client in (inside, elsewhere, outside):
        assert client.subscribe("#") == (2,)
    for client, topic in ((inside, "t/1"), (elsewhere, "t/2"), (outside, "plant/a/t/3"), (outside, "t/4")):
        client.publish(topic, b"x", qos)
        client.link.feed(b"\xc0\x00")
    messages = [
        [(first, body) for first, body in client.received() if first >> 4 == 3] for client in (inside, elsewhere)
    ]
    topics = [[body[2 : 2 + body[1]].decode() for _, body in found] for found in messages]
    assert topics == [["t/1", "t/3"], ["t/2"]]
    assert [body[2 : 2 + int.from_bytes(body[:2], "big")] for first, body in outside.received() if first >> 4 == 3] == [
        b"plant/a/t/1",
        b"plant/b/t/2",
        b"plant/a/t/3",
        b"t/4",
    ]


def test_a_run_of_packets() -> None:
    """Many of QoS 0 in one piece, which are otherwise copied as they are."""
    broker = broker_with()
    inside, outside = connect(broker, "inside"), connect(broker, "outside", OPEN)
    inside.subscribe("t")
    outside.subscribe("plant/a/t")
    outside.send(*(encode_publish(b"plant/a/t", b"%d" % number, 5, 0, False, packet_id=0) for number in range(20)))
    inside.send(*(encode_publish(b"t", b"%d" % number, 5, 0, False, packet_id=0) for number in range(20)))
    numbers = [b"%d" % number for number in range(20)] * 2
    assert seen(inside) == [("t", number) for number in numbers]
    assert seen(outside) == [("plant/a/t", number) for number in numbers]


def test_topic_aliases_both_ways() -> None:
    broker = broker_with()
    inside = connect(broker, "inside", topic_alias_maximum=5)
    inside.subscribe("#")
    for topic in (b"temperature", b"", b"", b"short"):
        alias = b"" if topic == b"short" else b"\x23\x00\x01"
        inside.send(encode_publish(topic, b"x", 5, 0, False, False, 0, alias))
    assert [one.topic for one in inside.publishes()] == [b"temperature", b"", b"", b"short"]


@both_versions
def test_retained_messages_and_unsubscribing(version: ProtocolVersion) -> None:
    broker = broker_with()
    inside = connect(broker, "inside", version=version)
    inside.publish("t", b"kept", retain=True)
    assert [one.topic for one in broker.state.router.retained.walk(b"#")] == [b"plant/a/t"]
    assert inside.subscribe("+") == (2,)
    ((first, body),) = inside.behind_suback
    assert (first, body[:3]) == (0x31, b"\x00\x01t")
    inside.unsubscribe("+")
    inside.publish("t", b"x")
    assert inside.received() == []
    elsewhere = connect(broker, "elsewhere", OTHER, version)
    elsewhere.subscribe("#", "../a/#", "/plant/a/#", "$SYS/#")
    assert elsewhere.behind_suback == []


def test_shared_subscriptions() -> None:
    broker = broker_with()
    members = [connect(broker, name) for name in ("one", "two")]
    for member in members:
        assert member.subscribe("$share/g/t/#") == (2,)
    stranger = connect(broker, "stranger", OTHER)
    assert stranger.subscribe("$share/g/t/#") == (2,)
    writer = connect(broker, "writer")
    for number in range(4):
        writer.publish(f"t/{number}", b"x")
    assert sorted(seen(members[0]) + seen(members[1])) == [(f"t/{number}", b"x") for number in range(4)]
    assert seen(stranger) == []
    assert members[0].unsubscribe("$share/g/t/#") == (0,)


def test_wills() -> None:
    broker = broker_with()
    outside = connect(broker, "outside", OPEN)
    outside.subscribe("#")
    connect(broker, "inside", will=Will("w", b"gone")).lose()
    assert seen(outside) == [("plant/a/w", b"gone")]


def test_the_brokers_own_topics_are_out_of_reach() -> None:
    broker = broker_with()
    inside = connect(broker, "inside")
    inside.subscribe("$SYS/#", "#", "$share/g/$SYS/#")
    broker.state.router.publish_message(Message(b"$SYS/uptime", b"1", 0, True))
    assert inside.received() == []


def test_a_topic_that_gets_too_long_or_deep() -> None:
    broker = broker_with(topic_levels_max=4)
    inside = connect(broker, "inside")
    inside.publish("a/b", b"")
    assert inside.received() == []
    assert inside.subscribe("a/b/c") == (0x8F,)
    inside.publish("a/b/c", b"")
    assert inside.told_why() == 0x90
    long = connect(broker_with(), "long")
    long.publish("x" * 65_530, b"")
    assert long.told_why() == 0x90


def test_a_session_that_comes_in_elsewhere_gets_nothing_that_has_no_name_there() -> None:
    broker = broker_with()
    kept: dict[str, Any] = {"clean_start": False, "session_expiry_interval_s": 600}
    client = connect(broker, "c", **kept)
    client.subscribe("t")
    client.lose()
    connect(broker, "writer").publish("t", b"x", 1)
    client = connect(broker, "c", OTHER, **kept)
    assert client.behind_connack == []
    client.subscribe("t")
    connect(broker, "other writer", OTHER).publish("t", b"y", 1, 2)
    assert seen(client) == [("t", b"y")]


def test_qos_2_and_a_restart() -> None:
    broker = broker_with(KeptBroker)
    assert isinstance(broker, KeptBroker)
    client = broker.open(V5)
    client.link.origin = Origin(MOUNTED)
    packet = Connect(V5, "c", clean_start=False, session_expiry_interval_s=600)
    client.connect(packet)
    broker.commit_all()
    client.received()
    client.send(b"\x82\x07\x00\x01\x00\x00\x01t\x02")
    client.publish("t", b"x", 2, 7)
    broker.commit_all()
    client.ack(6, 7)
    broker.commit_all()
    first = [one for one in client.received() if one[0] >> 4 == 3]
    assert [body[:3] for _, body in first] == [b"\x00\x01t"]
    after = broker.crash()
    again = after.open(V5)
    again.link.origin = Origin(MOUNTED)
    again.connect(packet)
    after.commit_all()
    (redelivered,) = [one for one in (*getattr(again, "behind_connack", ()), *again.received()) if one[0] >> 4 == 3]
    assert redelivered[1][:3] == b"\x00\x01t"


@pytest.mark.parametrize("prefix", ["a", "a/#/", "+/", "$SYS/", "a\0/", "x" * 2_000 + "/"])
def test_what_is_no_mount_point(prefix: str) -> None:
    with pytest.raises(ValueError, match="mount_point"):
        replace(MOUNTED, mount_point=prefix)
