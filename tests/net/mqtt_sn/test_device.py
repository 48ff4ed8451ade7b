"""The states of one device: connection, Will, publishing, subscribing, sleep; the time is set by hand."""

from collections.abc import Callable
from typing import Any

import pytest
from net.mqtt_sn.device_bench import NORMAL, PREDEFINED, SHORT, Bench
from noctule.net.mqtt_sn.device import DeviceState, patience_s
from noctule.net.mqtt_sn.messages import (
    Connack,
    Connect,
    Disconnect,
    Message,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Regack,
    Register,
    Suback,
    Subscribe,
    TopicId,
    Unsuback,
    Unsubscribe,
    WillMessage,
    WillMessageRequest,
    WillMessageResponse,
    WillTopic,
    WillTopicRequest,
    WillTopicResponse,
)
from noctule.net.mqtt_sn.upstream import ConnectRequest
from noctule.protocol import Will

ACCEPTED, CONGESTION, INVALID_TOPIC_ID, NOT_SUPPORTED = range(4)
WILL = Will("w", b"gone", 1, True)


def t(number: int) -> TopicId:
    return TopicId(NORMAL, number)


# --- connecting ----------------------------------------------------------------------------


def test_connect() -> None:
    bench = Bench()
    assert bench.receive(Connect("dev", 60)) == []
    assert bench.upstream.taken() == [("connect", ConnectRequest("dev", True))]
    bench.device.connected(0, bench.now)
    assert bench.sent() == [Connack(ACCEPTED)]
    assert bench.state is DeviceState.ACTIVE


@pytest.mark.parametrize(
    ("reason_code", "return_code"),
    [
        (0x87, NOT_SUPPORTED),
        (0x85, NOT_SUPPORTED),
        (0x88, CONGESTION),
        (0x89, CONGESTION),
        (0x97, CONGESTION),
        (0x9F, CONGESTION),
    ],
)
def test_a_refusal_of_the_brokers(reason_code: int, return_code: int) -> None:
    bench = Bench()
    bench.receive(Connect("dev", 60))
    bench.device.connected(reason_code, bench.now)
    assert bench.sent() == [Connack(return_code)]
    assert bench.state is DeviceState.GONE


@pytest.mark.parametrize(
    "message", [Connect("dev", 60, protocol_id=2), Connect("", 60)], ids=["protocol id", "client identifier"]
)
def test_a_connect_that_cannot_be(message: Connect) -> None:
    bench = Bench()
    assert bench.receive(message) == [Connack(NOT_SUPPORTED)]
    assert bench.state is DeviceState.GONE
    assert bench.upstreams == []


@pytest.mark.parametrize(("duration_s", "allowed"), [(0, False), (1, True), (60, True), (61, False)])
def test_the_maximum_of_the_keep_alive(duration_s: int, allowed: bool) -> None:
    bench = Bench(keep_alive_max_s=60)
    assert bench.receive(Connect("dev", duration_s)) == ([] if allowed else [Connack(NOT_SUPPORTED)])


def test_a_connect_that_is_sent_again_is_one() -> None:
    bench = Bench()
    message = Connect("dev", 60)
    bench.receive(message, message)
    bench.device.connected(0, bench.now)
    assert bench.sent() == [Connack(ACCEPTED)]
    assert bench.receive(message) == [Connack(ACCEPTED)]
    assert len(bench.upstreams) == 1


def test_a_connect_after_anything_else_is_a_new_connection() -> None:
    bench = Bench().connect(verified=False)
    bench.receive(Register(0, 1, "a/b"), Connect("dev", 60))
    assert len(bench.upstreams) == 2
    assert bench.upstreams[0].taken() == [("lose",)]
    bench.device.connected(0, bench.now)
    assert bench.sent()[-1] == Connack(ACCEPTED)
    assert bench.receive(Publish(t(1), b"x", 1, 5)) == [Puback(1, 5, INVALID_TOPIC_ID)]


def test_nothing_else_is_answered_before_the_broker_has_decided() -> None:
    bench = Bench()
    assert bench.receive(Connect("dev", 60), Pingreq(), Register(0, 1, "a"), Publish(t(1), b""), Pubrec(1)) == []


def test_a_broker_that_does_not_answer_in_time() -> None:
    bench = Bench()
    bench.receive(Connect("dev", 60))
    assert bench.advance(11) == []
    assert bench.state is DeviceState.GONE
    assert bench.upstream.taken()[-1] == ("lose",)


def test_the_broker_ends_it() -> None:
    bench = Bench().connect()
    bench.device.ended()
    assert bench.sent() == [Disconnect()]
    assert bench.state is DeviceState.GONE
    assert bench.receive(Pingreq()) == []


# --- Wills ---------------------------------------------------------------------------------


def test_a_will_is_asked_for() -> None:
    bench = Bench()
    assert bench.receive(Connect("dev", 60, will=True)) == [WillTopicRequest()]
    assert bench.receive(WillTopic("w", 1, retain=True)) == [WillMessageRequest()]
    assert bench.receive(WillMessage(b"gone")) == []
    assert bench.upstream.taken() == [("connect", ConnectRequest("dev", True, WILL))]


def test_an_empty_will_topic_is_no_will() -> None:
    bench = Bench()
    assert bench.receive(Connect("dev", 60, will=True), WillTopic("")) == [WillTopicRequest()]
    assert bench.upstream.taken() == [("connect", ConnectRequest("dev", True))]


def test_what_is_lost_on_the_way_is_asked_for_again() -> None:
    bench = Bench()
    connect, topic = Connect("dev", 60, will=True), WillTopic("w", 1, retain=True)
    assert bench.receive(connect, connect) == [WillTopicRequest()] * 2
    assert bench.receive(topic, topic) == [WillMessageRequest()] * 2
    assert bench.receive(WillMessage(b"gone"), WillMessage(b"gone"), connect) == []
    assert bench.upstream.taken() == [("connect", ConnectRequest("dev", True, WILL))]


def test_a_will_topic_that_cannot_be() -> None:
    bench = Bench()
    assert bench.receive(Connect("dev", 60, will=True), WillTopic("w/#")) == [
        WillTopicRequest(),
        Connack(NOT_SUPPORTED),
    ]
    assert bench.state is DeviceState.GONE


@pytest.mark.parametrize("message", [WillTopic("w"), WillMessage(b"x")])
def test_a_will_that_nobody_asked_for(message: Message) -> None:
    bench = Bench().connect()
    assert bench.receive(message) == []
    assert bench.upstream.taken() == []


def test_a_device_that_does_not_say_its_will_is_forgotten() -> None:
    bench = Bench()
    bench.receive(Connect("dev", 60, will=True))
    bench.advance(11)
    assert bench.state is DeviceState.GONE
    assert bench.upstreams == []


@pytest.mark.parametrize(
    ("connect", "expected"),
    [
        # The table of 6.3: what becomes of the Will of the connection before.
        (Connect("dev", 60, clean_session=False), WILL),
        (Connect("dev", 60, clean_session=True), None),
    ],
)
def test_a_will_is_kept_with_its_session(connect: Connect, expected: Will | None) -> None:
    bench = Bench()
    bench.receive(
        Connect("dev", 60, clean_session=False, will=True), WillTopic("w", 1, retain=True), WillMessage(b"gone")
    )
    bench.device.connected(0, bench.now)
    bench.receive(Pingreq(), connect)
    assert bench.upstream.taken() == [("connect", ConnectRequest("dev", connect.clean_session, expected))]
    assert bench.wills == ({} if expected is None else {"dev": WILL})


def test_a_will_is_changed() -> None:
    bench = Bench().connect()
    assert bench.receive(WillMessage(b"early", is_update=True)) == [WillMessageResponse(NOT_SUPPORTED)]
    assert bench.receive(WillTopic("w", 1, True, is_update=True)) == [WillTopicResponse(ACCEPTED)]
    assert bench.receive(WillMessage(b"gone", is_update=True)) == [WillMessageResponse(ACCEPTED)]
    assert bench.receive(WillTopic("v", 0, is_update=True)) == [WillTopicResponse(ACCEPTED)]
    assert bench.receive(WillTopic("a/#", is_update=True)) == [WillTopicResponse(NOT_SUPPORTED)]
    assert bench.receive(WillTopic("", is_update=True)) == [WillTopicResponse(ACCEPTED)]
    wills = [call[1] for call in bench.upstream.taken()]
    assert wills == [Will("w", b"", 1, True), WILL, Will("v", b"gone"), None]


# --- publishing ----------------------------------------------------------------------------


def test_topic_ids_are_given_once_for_each_topic() -> None:
    bench = Bench().connect(verified=False)
    assert bench.receive(Register(0, 1, "a/b"), Register(0, 2, "a/c"), Register(0, 3, "a/b")) == [
        Regack(1, 1, ACCEPTED),
        Regack(2, 2, ACCEPTED),
        Regack(1, 3, ACCEPTED),
    ]


@pytest.mark.parametrize("topic", ["a/#", "+", "a/b/c/d"])
def test_a_topic_that_cannot_be_published_to(topic: str) -> None:
    bench = Bench(levels_max=3).connect()
    assert bench.receive(Register(0, 1, topic)) == [Regack(0, 1, NOT_SUPPORTED)]


def test_topic_ids_run_out() -> None:
    bench = Bench(topics_max=2).connect(verified=False)
    assert bench.receive(Register(0, 1, "a"), Register(0, 2, "b"), Register(0, 3, "c"), Register(0, 4, "a")) == [
        Regack(1, 1, ACCEPTED),
        Regack(2, 2, ACCEPTED),
        Regack(0, 3, CONGESTION),
        Regack(1, 4, ACCEPTED),
    ]
    assert bench.receive(Subscribe("d", 5), Subscribe("d/+", 6)) == [Suback(0, 0, 5, CONGESTION)]
    assert bench.upstream.taken() == [("subscribe", "d/+", 0, 6)]


def test_topic_names_have_a_limit_in_bytes() -> None:
    bench = Bench().connect(verified=False)
    codes = []
    for number in range(100):
        (regack,) = bench.receive(Register(0, 1, f"{number:04}" + "x" * 996))
        assert isinstance(regack, Regack)
        codes.append(regack.return_code)
    assert codes == [ACCEPTED] * 65 + [CONGESTION] * 35
    assert bench.device.topics.held_bytes == 65_000


PUBLISHED: dict[str, tuple[Publish, tuple[Any, ...] | None, list[Message]]] = {
    "QoS 0": (Publish(t(1), b"x"), ("publish", "a/b", b"x", 0, 0, False, False), []),
    "retained": (Publish(t(1), b"x", retain=True), ("publish", "a/b", b"x", 0, 0, True, False), []),
    "QoS 1": (Publish(t(1), b"x", 1, 9), ("publish", "a/b", b"x", 1, 9, False, False), []),
    "QoS 1, again": (Publish(t(1), b"x", 1, 9, dup=True), ("publish", "a/b", b"x", 1, 9, False, True), []),
    "QoS 2": (Publish(t(1), b"x", 2, 9), ("publish", "a/b", b"x", 2, 9, False, False), []),
    "predefined": (Publish(TopicId(PREDEFINED, 7), b"x"), ("publish", "pre/defined", b"x", 0, 0, False, False), []),
    "short": (Publish(TopicId(SHORT, 0x7431), b"x"), ("publish", "t1", b"x", 0, 0, False, False), []),
    "QoS -1": (Publish(TopicId(SHORT, 0x7431), b"x", -1), None, []),
    "unknown id, QoS 0": (Publish(t(2), b"x"), None, [Puback(2, 0, INVALID_TOPIC_ID)]),
    "unknown id, QoS 1": (Publish(t(2), b"x", 1, 9), None, [Puback(2, 9, INVALID_TOPIC_ID)]),
    "id 0": (Publish(t(0), b"x", 2, 9), None, [Puback(0, 9, INVALID_TOPIC_ID)]),
    "unknown predefined id": (Publish(TopicId(PREDEFINED, 8), b"x"), None, [Puback(8, 0, INVALID_TOPIC_ID)]),
    "short, with a wildcard": (Publish(TopicId(SHORT, 0x612B), b"x"), None, [Puback(0x612B, 0, INVALID_TOPIC_ID)]),
    "short, no UTF-8": (Publish(TopicId(SHORT, 0xFFFF), b"x"), None, [Puback(0xFFFF, 0, INVALID_TOPIC_ID)]),
    "QoS 1 without message id": (Publish(t(1), b"x", 1, 0), None, [Puback(1, 0, NOT_SUPPORTED)]),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_publish(name: str) -> None:
    message, call, answers = PUBLISHED[name]
    bench = Bench().connect(verified=False)
    bench.receive(Register(0, 1, "a/b"))
    assert bench.receive(message) == answers
    assert bench.upstream.taken() == ([] if call is None else [call])


@pytest.mark.parametrize(
    ("reason_code", "return_code"),
    [(0x00, ACCEPTED), (0x10, ACCEPTED), (0x87, NOT_SUPPORTED), (0x90, INVALID_TOPIC_ID), (0x97, CONGESTION)],
)
def test_what_the_broker_says_of_a_message(reason_code: int, return_code: int) -> None:
    bench = Bench().connect(verified=False)
    bench.receive(Register(0, 1, "a/b"), Publish(t(1), b"x", 1, 9), Publish(t(1), b"y", 2, 10))
    bench.device.published(9, reason_code)
    bench.device.received(10, reason_code)
    second: Message = Pubrec(10) if return_code == ACCEPTED else Puback(1, 10, return_code)
    assert bench.sent() == [Puback(1, 9, return_code), second]


def test_a_message_of_qos_1_that_is_sent_again_is_published_once() -> None:
    bench = Bench().connect(verified=False)
    bench.receive(Register(0, 1, "a/b"))
    first, again = Publish(t(1), b"x", 1, 9), Publish(t(1), b"x", 1, 9, dup=True)
    assert bench.receive(first, again) == []
    bench.device.published(9, 0)
    assert bench.sent() == [Puback(1, 9, ACCEPTED)]
    assert bench.receive(again) == [Puback(1, 9, ACCEPTED)]
    assert len(bench.upstream.taken()) == 1
    bench.receive(first)  # a new message: its identifier is free again
    assert len(bench.upstream.taken()) == 1


def test_qos_2_to_its_end() -> None:
    bench = Bench().connect(verified=False)
    first, again = Publish(t(1), b"x", 2, 9), Publish(t(1), b"x", 2, 9, dup=True)
    bench.receive(Register(0, 1, "a/b"), first, again)
    bench.device.received(9, 0)
    assert bench.sent() == [Pubrec(9)]
    assert bench.receive(Pubrel(9)) == []
    bench.device.completed(9)
    assert bench.sent() == [Pubcomp(9)]
    bench.receive(Pubrel(9))  # the PUBCOMP was lost
    bench.device.completed(9)
    assert bench.sent() == [Pubcomp(9)]
    # What is sent again is told apart by the session, which knows the identifier.
    assert [call[0] for call in bench.upstream.taken()] == ["publish", "publish", "release", "release"]


def test_a_device_that_does_not_wait_for_answers_is_told_to() -> None:
    bench = Bench().connect(verified=False)
    bench.receive(Register(0, 1, "a/b"))
    answers = bench.receive(*(Publish(t(1), b"x", 1, number) for number in range(1, 21)))
    assert answers == [Puback(1, number, CONGESTION) for number in range(17, 21)]
    assert bench.receive(Publish(t(1), b"x")) == []
    assert len(bench.upstream.taken()) == 17


def test_a_broker_that_is_busy_is_given_nothing_more() -> None:
    bench = Bench().connect(verified=False)
    bench.receive(Register(0, 1, "a/b"))
    bench.upstream.is_busy = True
    assert bench.receive(Publish(t(1), b"x"), Publish(t(1), b"x", 1, 9), Subscribe("a", 1), Unsubscribe("a", 2)) == [
        Puback(1, 9, CONGESTION),
        Suback(0, 0, 1, CONGESTION),
    ]
    assert bench.upstream.taken() == []


# --- subscribing ---------------------------------------------------------------------------

SUBSCRIBED: dict[str, tuple[Subscribe, str | None, int, Suback]] = {
    "name": (Subscribe("a/b", 5, 1), "a/b", 1, Suback(1, 1, 5, ACCEPTED)),
    "name, again": (Subscribe("a/b", 5, 1, dup=True), "a/b", 1, Suback(1, 1, 5, ACCEPTED)),
    "filter": (Subscribe("a/#", 5, 2), "a/#", 2, Suback(2, 0, 5, ACCEPTED)),
    "less than asked for": (Subscribe("a/#", 5, 2), "a/#", 0, Suback(0, 0, 5, ACCEPTED)),
    "share group": (Subscribe("$share/g/a/b", 5), "$share/g/a/b", 0, Suback(0, 1, 5, ACCEPTED)),
    "predefined": (Subscribe(TopicId(PREDEFINED, 7), 5), "pre/defined", 0, Suback(0, 7, 5, ACCEPTED)),
    "short": (Subscribe(TopicId(SHORT, 0x7431), 5), "t1", 0, Suback(0, 0, 5, ACCEPTED)),
    "refused by the broker": (Subscribe("a/b", 5), "a/b", 0x87, Suback(0, 0, 5, NOT_SUPPORTED)),
    "too many": (Subscribe("a/b", 5), "a/b", 0x97, Suback(0, 0, 5, CONGESTION)),
    "unknown predefined id": (Subscribe(TopicId(PREDEFINED, 8), 5), None, 0, Suback(0, 0, 5, INVALID_TOPIC_ID)),
    "no filter": (Subscribe("a/#/b", 5), None, 0, Suback(0, 0, 5, NOT_SUPPORTED)),
    "without message id": (Subscribe("a", 0), None, 0, Suback(0, 0, 0, NOT_SUPPORTED)),
}


@pytest.mark.parametrize("name", SUBSCRIBED)
def test_subscribe(name: str) -> None:
    message, topic_filter, reason_code, answer = SUBSCRIBED[name]
    bench = Bench().connect(verified=False)
    sent = bench.receive(message)
    if topic_filter is not None:
        assert sent == []
        assert bench.upstream.taken() == [("subscribe", topic_filter, message.qos, 5)]
        bench.device.subscribed(5, reason_code)
        sent = bench.sent()
    assert sent == [answer]
    assert bench.upstream.taken() == []


@pytest.mark.parametrize(
    ("topic", "topic_filter"),
    [("a/#", "a/#"), (TopicId(PREDEFINED, 7), "pre/defined"), (TopicId(SHORT, 0x7431), "t1")],
)
def test_unsubscribe(topic: str | TopicId, topic_filter: str) -> None:
    bench = Bench().connect()
    assert bench.receive(Unsubscribe(topic, 5)) == []
    assert bench.upstream.taken() == [("unsubscribe", topic_filter, 5)]
    bench.device.unsubscribed(5)
    assert bench.sent() == [Unsuback(5)]


@pytest.mark.parametrize("topic", ["a/#/b", TopicId(PREDEFINED, 8), TopicId(SHORT, 0xFFFF)])
def test_unsubscribe_what_cannot_be_subscribed_to(topic: str | TopicId) -> None:
    bench = Bench().connect()
    assert bench.receive(Unsubscribe(topic, 5)) == [Unsuback(5)]
    assert bench.upstream.taken() == []


# --- keep-alive and the end ----------------------------------------------------------------


@pytest.mark.parametrize(("duration_s", "expected_s"), [(10, 15), (60, 90), (61, 67.1), (3600, 3960)])
def test_patience(duration_s: int, expected_s: float) -> None:
    assert patience_s(duration_s) == pytest.approx(expected_s)


@pytest.mark.parametrize(("duration_s", "silence_s"), [(60, 90), (600, 660), (0, 86_400)])
def test_a_silent_device_is_lost(duration_s: int, silence_s: float) -> None:
    bench = Bench().connect(Connect("dev", duration_s))
    bench.advance(silence_s - 1)
    assert bench.receive(Pingreq()) == [Pingresp()]
    bench.advance(silence_s - 1)
    assert bench.state is DeviceState.ACTIVE
    assert bench.advance(2) == []
    assert bench.state is DeviceState.GONE
    assert bench.upstream.taken() == [("lose",)]
    assert bench.counts.devices_lost == 1


@pytest.mark.parametrize("message", [Disconnect(), Disconnect(0)])
def test_disconnect(message: Disconnect) -> None:
    bench = Bench().connect()
    assert bench.receive(message) == [Disconnect()]
    assert bench.upstream.taken() == [("disconnect",)]
    assert bench.state is DeviceState.GONE
    assert bench.counts.devices_lost == 0


def test_a_ping_in_the_name_of_another() -> None:
    bench = Bench().connect()
    assert bench.receive(Pingreq("another")) == [Disconnect()]
    assert bench.receive(Pingreq("dev")) == [Pingresp()]


@pytest.mark.parametrize(
    "message",
    [
        Connack(0),
        WillTopicRequest(),
        WillMessageRequest(),
        Suback(0, 1, 1, 0),
        Unsuback(1),
        Pingresp(),
        Pubcomp(1),
        Regack(1, 1, 0),
    ],
)
def test_what_a_gateway_says_is_not_answered(message: Message) -> None:
    bench = Bench().connect()
    assert bench.receive(message) == []
    assert bench.upstream.taken() == []


# --- sleep (6.14) --------------------------------------------------------------------------


def asleep(**settings: Any) -> Bench:
    bench = Bench(**settings).connect()
    bench.receive(Register(0, 1, "a/b"))
    assert bench.receive(Disconnect(3600)) == [Disconnect()]
    assert bench.state is DeviceState.ASLEEP
    return bench


def test_a_sleeping_device_gets_its_messages_when_it_wakes_up() -> None:
    bench = asleep()
    assert bench.deliver("a/b", b"1") + bench.deliver("a/b", b"2") == []
    topic = t(2)  # "verify" was the first
    assert bench.receive(Pingreq("dev")) == [Publish(topic, b"1"), Publish(topic, b"2")]
    assert bench.state is DeviceState.AWAKE
    bench.device.settled()
    assert bench.sent() == [Pingresp()]
    assert bench.state is DeviceState.ASLEEP
    assert bench.deliver("a/b", b"3") == []


def test_it_is_let_sleep_only_when_everything_is_answered() -> None:
    bench = asleep()
    bench.deliver("a/b", b"1", 1, 1)
    bench.deliver("a/b", b"2")
    assert bench.receive(Pingreq("dev")) == [Publish(t(2), b"1", 1, 1)]
    bench.device.settled()
    assert bench.sent() == []
    assert bench.receive(Puback(2, 1, 0)) == [Publish(t(2), b"2")]
    bench.device.settled()
    assert bench.sent() == [Pingresp()]
    assert bench.upstream.taken() == [("puback", 1, 0)]


def test_nothing_waits() -> None:
    bench = asleep()
    assert bench.receive(Pingreq("dev")) == []
    bench.device.settled()
    assert bench.sent() == [Pingresp()]


def test_a_ping_without_a_name_only_says_that_it_is_there() -> None:
    bench = asleep()
    bench.deliver("a/b", b"1")
    assert bench.receive(Pingreq()) == [Pingresp()]
    assert bench.state is DeviceState.ASLEEP


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"buffer_max_messages": 3}, [b"7", b"8", b"9"]),
        ({"buffer_max_bytes": 1_024}, [bytes((48 + number,)) for number in range(10)]),
    ],
)
def test_too_many_messages_for_a_sleeping_device(settings: dict[str, int], kept: list[bytes]) -> None:
    bench = asleep(**settings)
    for number in range(10):
        bench.deliver("a/b", b"%d" % number)
    sent = bench.receive(Pingreq("dev"))
    assert [message.payload for message in sent if isinstance(message, Publish)] == kept
    assert bench.counts.messages_dropped == 10 - len(kept)


def test_too_many_bytes_for_a_sleeping_device() -> None:
    bench = asleep(buffer_max_bytes=1_024)
    for number in range(10):
        bench.deliver("a/b", b"%d" % number * 300)
        assert bench.device.deliveries.queued_bytes <= 1_024
    sent = bench.receive(Pingreq("dev"))
    assert [message.payload[:1] for message in sent if isinstance(message, Publish)] == [b"7", b"8", b"9"]


def test_what_the_broker_keeps_is_not_dropped() -> None:
    bench = asleep(buffer_max_messages=2)
    bench.deliver("a/b", b"kept", 1, 1)
    for number in range(5):
        bench.deliver("a/b", b"%d" % number)
    (first,) = bench.receive(Pingreq("dev"))
    assert isinstance(first, Publish)
    assert first.payload == b"kept"


def test_a_device_that_wakes_up_and_does_not_answer() -> None:
    bench = asleep(retry_interval_s=10, retry_count=2)
    bench.deliver("a/b", b"1", 1, 1)
    assert bench.receive(Pingreq("dev")) == [Publish(t(2), b"1", 1, 1)]
    assert bench.advance(60) == [Publish(t(2), b"1", 1, 1, dup=True)] * 2
    assert bench.state is DeviceState.ASLEEP
    assert bench.receive(Pingreq("dev")) == [Publish(t(2), b"1", 1, 1, dup=True)]


def test_what_was_under_way_is_sent_again_after_sleep() -> None:
    bench = Bench().connect()
    bench.receive(Register(0, 1, "a/b"))
    assert bench.deliver("a/b", b"1", 1, 1) == [Publish(t(2), b"1", 1, 1)]
    bench.receive(Disconnect(3600))
    assert bench.advance(100) == []
    assert bench.receive(Pingreq("dev")) == [Publish(t(2), b"1", 1, 1)]


def test_a_sleep_that_is_too_long() -> None:
    bench = asleep()
    bench.advance(3600)
    assert bench.state is DeviceState.ASLEEP
    bench.receive(Disconnect(3600))  # and it sleeps on
    bench.advance(3959)
    assert bench.state is DeviceState.ASLEEP
    bench.advance(2)
    assert bench.state is DeviceState.GONE
    assert bench.upstream.taken() == [("lose",)]


def test_a_sleeping_device_becomes_active_and_keeps_its_connection() -> None:
    bench = asleep()
    bench.deliver("a/b", b"1")
    assert bench.receive(Connect("dev", 60, clean_session=False)) == [Connack(ACCEPTED), Publish(t(2), b"1")]
    assert bench.state is DeviceState.ACTIVE
    assert len(bench.upstreams) == 1
    assert bench.deliver("a/b", b"2") == [Publish(t(2), b"2")]
    bench.advance(91)
    assert bench.state is DeviceState.GONE  # by its keep-alive, not by its sleep


@pytest.mark.parametrize("connect", [Connect("dev", 60), Connect("dev", 60, clean_session=False, will=True)])
def test_a_sleeping_device_begins_anew(connect: Connect) -> None:
    bench = asleep()
    bench.deliver("a/b", b"1")
    bench.receive(connect)
    assert bench.upstreams[0].taken() == [("lose",)]


def test_a_sleeping_device_leaves() -> None:
    bench = asleep()
    assert bench.receive(Disconnect()) == [Disconnect()]
    assert bench.upstream.taken() == [("disconnect",)]


def test_a_sleeping_device_may_speak() -> None:
    bench = asleep()
    bench.receive(Publish(t(2), b"x", 1, 9))
    bench.device.published(9, 0)
    assert bench.sent() == [Puback(2, 9, ACCEPTED)]
    assert bench.state is DeviceState.ASLEEP


@pytest.mark.parametrize(
    "begin",
    [
        lambda bench: bench.receive(Connect("dev", 60)),
        lambda bench: bench.receive(Connect("dev", 60, will=True)),
        lambda bench: bench.connect(),
        lambda bench: bench.connect().receive(Disconnect(100)),
        lambda bench: bench.connect().receive(Disconnect()),
    ],
)
def test_every_state_ends(begin: Callable[[Bench], object]) -> None:
    bench = Bench()
    begin(bench)
    bench.advance(1_000)
    assert bench.state is DeviceState.GONE
    assert bench.device.deadline == float("inf")
