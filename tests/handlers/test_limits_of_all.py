"""What one broker holds of all its clients together: sessions and retained messages."""

from typing import Any

import pytest
from handlers.direct_links import V3_1_1, V5, DirectBroker
from handlers.kept_links import KeptBroker
from noctule._speedups.codec import decode_ack
from noctule._speedups.message import Message
from noctule.protocol import Connect, ProtocolVersion, Will

both_versions = pytest.mark.parametrize("version", [V3_1_1, V5], ids=["3.1.1", "5"])

KEPT: dict[str, Any] = {"clean_start": False, "session_expiry_interval_s": 600}


def code_of(broker: DirectBroker, client_id: str, version: ProtocolVersion = V5, **fields: Any) -> int:
    connack = broker.open(version).connect(Connect(version, client_id, **fields))
    assert connack is not None
    return connack.reason_code


# --- sessions ---


@both_versions
def test_one_session_too_many_is_refused(version: ProtocolVersion) -> None:
    broker = DirectBroker(sessions_max=2)
    first = broker.connect("a", **KEPT)
    broker.connect("b")
    refused = 0x97 if version >= V5 else 0x88  # return code 3
    assert code_of(broker, "c", version) == refused
    first.disconnect()
    assert code_of(broker, "c", version) == refused, "the session of a is there still"
    assert code_of(broker, "a", **KEPT) == 0
    assert code_of(broker, "b") == 0, "who is there may begin anew"
    assert code_of(broker, "c", version) == refused
    broker.connect("a", session_expiry_interval_s=0).disconnect()
    assert code_of(broker, "c", version) == 0


def test_any_number_of_sessions() -> None:
    broker = DirectBroker(sessions_max=0)
    assert [code_of(broker, str(number)) for number in range(50)] == [0] * 50


# --- retained messages ---


def retained(broker: DirectBroker) -> list[bytes]:
    return sorted(one.topic for one in broker.state.router.retained.walk(b"#"))


@pytest.mark.parametrize("qos", [1, 2])
def test_one_retained_message_too_many_is_refused(qos: int) -> None:
    broker = DirectBroker(retained_max=2)
    reader = broker.connect("reader")
    reader.subscribe("#")
    writer = broker.connect("writer")
    codes = []
    for number, (topic, payload) in enumerate(
        (("a", b"1"), ("b", b"1"), ("c", b"1"), ("c", b""), ("a", b"2"), ("a", b""), ("c", b"2")), 1
    ):
        writer.publish(topic, payload, qos, number, retain=True)
        ((first, body),) = writer.received()
        codes.append(decode_ack(first, body, V5).reason_code)
        if qos == 2 and codes[-1] == 0:
            writer.ack(6, number)
            writer.received()
    assert codes == [0, 0, 0x97, 0, 0, 0, 0]
    assert retained(broker) == [b"b", b"c"]
    assert [(one.topic, one.payload) for one in reader.publishes()] == [
        (b"a", b"1"),
        (b"b", b"1"),
        (b"c", b""),
        (b"a", b"2"),
        (b"a", b""),
        (b"c", b"2"),
    ]


@pytest.mark.parametrize(("version", "qos"), [(V5, 0), (V3_1_1, 0), (V3_1_1, 1), (V3_1_1, 2)])
def test_where_it_cannot_be_refused_it_is_delivered_alone(
    version: ProtocolVersion, qos: int, caplog: pytest.LogCaptureFixture
) -> None:
    broker = DirectBroker(retained_max=1)
    reader = broker.connect("reader")
    reader.subscribe("#")
    writer = broker.connect("writer", version)
    for number, topic in enumerate(("a", "b", "c"), 1):
        writer.publish(topic, b"x", qos, number, retain=True)
        if qos == 2:
            writer.ack(6, number)
    assert retained(broker) == [b"a"]
    assert [one.topic for one in reader.publishes()] == [b"a", b"b", b"c"]
    assert caplog.messages == [
        "There are as many retained messages as there may be (limits.max_retained_messages): that of b is not "
        "retained. Others are not told of for a minute."
    ]
    broker.advance(60)
    writer.publish("d", b"x", 0, retain=True)
    assert len(caplog.messages) == 2


def test_wills_are_counted_too() -> None:
    broker = DirectBroker(retained_max=1)
    for name in "ab":
        broker.connect(name, will=Will(f"will/{name}", b"gone", retain=True)).lose()
    assert retained(broker) == [b"will/a"]


def test_what_the_broker_says_of_itself_is_not() -> None:
    broker = DirectBroker(retained_max=1)
    broker.state.router.publish_message(Message(b"a", b"1", 0, True))
    broker.state.router.publish_message(Message(b"$SYS/uptime", b"1", 0, True))
    assert [one.topic for one in broker.state.router.retained.walk(b"$SYS/#")] == [b"$SYS/uptime"]


def test_what_the_broker_says_of_itself_takes_nobody_s_room() -> None:
    broker = DirectBroker(retained_max=1)
    router = broker.state.router
    for topic in (b"$SYS/uptime", b"$SYS/clients", b"$SYS/uptime"):
        router.publish_message(Message(topic, b"1", 0, True))
    for payload in (b"1", b"", b"1"):
        router.publish_message(Message(b"$SYS/gone", payload, 0, True))
        for topic in (b"a", b"b"):
            router.publish_message(Message(topic, b"1", 0, True))
        assert retained(broker) == [b"a"]
    assert (router.retained.count, router.retained.own_count) == (4, 3)


@pytest.mark.parametrize("name", ["$x", "$SYSTEM", "$SYS/broker/connection"])
@pytest.mark.parametrize("qos", [0, 1])
def test_what_a_client_retains_below_other_names_with_a_dollar_is_counted(name: str, qos: int) -> None:
    broker = DirectBroker(retained_max=2)
    writer = broker.connect("writer")
    for number in range(1, 5):
        writer.publish(f"{name}/{number}/state", b"1", qos, number, retain=True)
    codes = [decode_ack(first, body, V5).reason_code for first, body in writer.received()]
    assert codes == [0x10, 0x10, 0x97, 0x97][: 4 * qos]  # no matching subscribers; quota exceeded
    assert (broker.state.router.retained.count, broker.state.router.retained.own_count) == (2, 0)
    writer.publish(f"{name}/1/state", b"", retain=True).publish("a", b"1", retain=True)
    assert retained(broker) == [b"a"]


def test_what_was_kept_is_put_back() -> None:
    """Also where there may be less now: nothing that was acknowledged is lost."""
    broker = KeptBroker(retained_max=2)
    writer = broker.connect("writer")
    for topic in ("a", "b", "c"):
        writer.publish(topic, b"1", retain=True)
    broker.commit_all()
    after = KeptBroker(broker.disk.rows.values(), retained_max=1)
    assert retained(after) == [b"a", b"b"]


def test_what_is_retained_below_a_name_with_a_dollar_is_kept_but_for_sys() -> None:
    broker = KeptBroker()
    writer = broker.connect("writer")
    bridge = "$SYS/broker/connection/east/state"
    for topic in ("$x/1", "$x/2", "$SYSTEM", bridge):
        writer.publish(topic, b"1", retain=True)
    writer.publish("$x/2", b"", retain=True)
    broker.state.router.publish_message(Message(b"$SYS/uptime", b"1", 0, True))
    broker.commit_all()
    after = KeptBroker(broker.disk.rows.values()).state.router.retained
    assert [one.topic for one in (*after.walk(b"$x/#"), *after.walk(b"$SYSTEM/#"))] == [b"$x/1", b"$SYSTEM"]
    assert after.count == 2
