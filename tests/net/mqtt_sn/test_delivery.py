"""Messages on their way to a device: topic ids, lost datagrams, answers of every kind, addresses that may be forged."""

import pytest
from net.mqtt_sn.device_bench import NORMAL, PREDEFINED, SHORT, Bench
from noctule.config import limits
from noctule.net.mqtt_sn.device import DeviceState
from noctule.net.mqtt_sn.messages import (
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
)
from noctule.net.mqtt_sn.packets import encode

ACCEPTED, CONGESTION, INVALID_TOPIC_ID, NOT_SUPPORTED = range(4)


def t(number: int) -> TopicId:
    return TopicId(NORMAL, number)


def registering(bench: Bench, topic: str, qos: int = 0, packet_id: int = 0) -> Register:
    """A message of a topic that the device has no id for: the REGISTER for it."""
    (register,) = bench.deliver(topic, b"x", qos, packet_id)
    assert isinstance(register, Register)
    assert register.topic == topic
    return register


def known(topic: str = "a/b") -> Bench:
    """A device that knows a topic, as number 2."""
    bench = Bench(retry_interval_s=10, retry_count=3).connect()
    bench.receive(Register(0, 1, topic))
    return bench


# --- topic ids -----------------------------------------------------------------------------


def test_a_topic_is_registered_before_its_first_message() -> None:
    bench = Bench().connect()
    register = registering(bench, "wild/card")
    assert bench.receive(Regack(register.topic_id, register.message_id, ACCEPTED)) == [Publish(t(2), b"x")]
    assert bench.deliver("wild/card", b"y") == [Publish(t(2), b"y")]


def test_one_register_at_a_time_and_the_order_stays() -> None:
    bench = Bench().connect()
    register = registering(bench, "one/topic")
    assert bench.deliver("verify", b"2") == []
    assert bench.deliver("another", b"3") == []
    answers = bench.receive(Regack(2, register.message_id, ACCEPTED))
    assert answers[:2] == [Publish(t(2), b"x"), Publish(t(1), b"2")]
    assert [type(message) for message in answers[2:]] == [Register]


def test_a_subscription_by_name_gives_the_id() -> None:
    bench = Bench().connect()
    bench.receive(Subscribe("a/b", 5))
    bench.device.subscribed(5, 0)
    assert bench.sent() == [Suback(0, 2, 5, ACCEPTED)]
    assert bench.deliver("a/b") == [Publish(t(2), b"x")]


def test_a_short_name_needs_no_id() -> None:
    bench = Bench().connect()
    assert bench.deliver("t1") == [Publish(TopicId(SHORT, 0x7431), b"x")]


def test_a_predefined_id_is_for_who_has_used_it() -> None:
    bench = Bench().connect()
    register = registering(bench, "pre/defined")
    bench.receive(Regack(register.topic_id, register.message_id, ACCEPTED))
    bench.receive(Subscribe(TopicId(PREDEFINED, 7), 5))
    bench.device.subscribed(5, 0)
    bench.sent()
    assert bench.deliver("pre/defined") == [Publish(TopicId(PREDEFINED, 7), b"x")]


def test_a_predefined_number_says_nothing_of_the_id_of_that_number() -> None:
    bench = Bench(predefined_topics={"2": "pre/defined"}).connect()
    bench.receive(Register(0, 1, "a/b"), Puback(2, 0, INVALID_TOPIC_ID))
    bench.receive(Subscribe(TopicId(PREDEFINED, 2), 5))
    bench.device.subscribed(5, 0)
    bench.sent()
    assert registering(bench, "a/b").topic_id == 2


@pytest.mark.parametrize(("qos", "call"), [(0, None), (1, ("puback", 9, 0x83)), (2, ("pubrec", 9, 0x83))])
def test_topic_ids_run_out(qos: int, call: tuple[str, int, int] | None) -> None:
    bench = Bench(topics_max=1).connect()  # "verify" has the one
    assert bench.deliver("a/b", b"x", qos, 9 if qos else 0) == []
    assert bench.upstream.taken() == ([] if call is None else [call])
    assert bench.counts.messages_dropped == 1
    assert bench.deliver("verify") == [Publish(t(1), b"x")]


@pytest.mark.parametrize("code", [INVALID_TOPIC_ID, NOT_SUPPORTED])
def test_a_device_that_will_not_have_a_topic(code: int) -> None:
    bench = Bench().connect()
    register = registering(bench, "a/b", 1, 9)
    assert bench.receive(Regack(2, register.message_id, code)) == []
    assert bench.upstream.taken() == [("puback", 9, 0x83)]


def test_a_device_that_has_no_room_for_a_topic_yet() -> None:
    bench = Bench(retry_interval_s=10).connect()
    register = registering(bench, "a/b", 1, 9)
    assert bench.receive(Regack(0, register.message_id, CONGESTION)) == []
    assert bench.advance(10) == [register]
    assert bench.receive(Regack(2, register.message_id, ACCEPTED)) == [Publish(t(2), b"x", 1, 9)]


def test_an_id_that_the_device_does_not_know_any_more() -> None:
    bench = known()
    bench.deliver("a/b", b"x", 1, 9)
    (register,) = bench.receive(Puback(2, 9, INVALID_TOPIC_ID))
    assert isinstance(register, Register)
    assert bench.receive(Regack(2, register.message_id, ACCEPTED)) == [Publish(t(2), b"x", 1, 9)]


def test_an_id_of_a_message_of_qos_0_that_the_device_does_not_know() -> None:
    bench = known()
    assert bench.deliver("a/b") == [Publish(t(2), b"x")]
    assert bench.receive(Puback(2, 0, INVALID_TOPIC_ID)) == []
    registering(bench, "a/b")


def test_a_predefined_id_that_the_device_does_not_know() -> None:
    bench = Bench().connect()
    bench.receive(Publish(TopicId(PREDEFINED, 7), b""))
    assert bench.deliver("pre/defined", b"x", 1, 9) == [Publish(TopicId(PREDEFINED, 7), b"x", 1, 9)]
    (register,) = bench.receive(Puback(7, 9, INVALID_TOPIC_ID))
    assert isinstance(register, Register)
    assert bench.receive(Regack(2, register.message_id, ACCEPTED)) == [Publish(t(2), b"x", 1, 9)]


def test_a_device_that_never_knows_an_id_does_not_keep_us_busy() -> None:
    bench = known()
    sent: list[Message] = bench.deliver("a/b", b"x", 1, 9)
    answers = 0
    while sent:
        answers += 1
        (message,) = sent
        if isinstance(message, Register):
            sent = bench.receive(Regack(2, message.message_id, ACCEPTED))
        else:
            sent = bench.receive(Puback(2, 9, INVALID_TOPIC_ID))
    assert answers == 7  # three registrations, each with its PUBLISH
    assert bench.upstream.taken() == [("puback", 9, 0x83)]


# --- answers, and none -----------------------------------------------------------------------


def test_qos_1() -> None:
    bench = known()
    assert bench.deliver("a/b", b"1", 1, 9) == [Publish(t(2), b"1", 1, 9)]
    assert bench.deliver("a/b", b"2", 1, 10) == []
    assert bench.receive(Puback(2, 9, ACCEPTED)) == [Publish(t(2), b"2", 1, 10)]
    assert bench.upstream.taken() == [("puback", 9, 0)]


def test_qos_2() -> None:
    bench = known()
    assert bench.deliver("a/b", b"1", 2, 9) == [Publish(t(2), b"1", 2, 9)]
    assert bench.receive(Pubrec(9), Pubrec(9)) == []
    assert bench.upstream.taken() == [("pubrec", 9, 0)]
    bench.device.release(9, bench.now)
    assert bench.sent() == [Pubrel(9)]
    assert bench.receive(Pubrec(9)) == [Pubrel(9)]
    assert bench.receive(Pubcomp(9), Pubcomp(9)) == []
    assert bench.upstream.taken() == [("pubcomp", 9)]


def test_a_release_of_an_earlier_connection() -> None:
    bench = Bench(retry_interval_s=10).connect()
    bench.device.release(9, bench.now)
    assert bench.sent() == [Pubrel(9)]
    assert bench.advance(10) == [Pubrel(9)]
    assert bench.receive(Pubcomp(9)) == []
    assert bench.upstream.taken() == [("pubcomp", 9)]


def test_a_pubrec_of_what_is_done_with() -> None:
    bench = known()
    assert bench.receive(Pubrec(77)) == [Pubrel(77)]


@pytest.mark.parametrize(("qos", "call"), [(1, "puback"), (2, "pubrec")])
def test_a_device_that_will_not_have_a_message(qos: int, call: str) -> None:
    bench = known()
    bench.deliver("a/b", b"1", qos, 9)
    assert bench.receive(Puback(2, 9, NOT_SUPPORTED)) == []
    assert bench.upstream.taken() == [(call, 9, 0x83)]
    assert bench.deliver("a/b", b"2") == [Publish(t(2), b"2")]


def test_a_device_that_cannot_take_a_message_now() -> None:
    bench = known()
    bench.deliver("a/b", b"1", 1, 9)
    assert bench.receive(Puback(2, 9, CONGESTION)) == []
    assert bench.advance(10) == [Publish(t(2), b"1", 1, 9, dup=True)]
    bench.receive(Puback(2, 9, ACCEPTED))
    assert bench.upstream.taken() == [("puback", 9, 0)]


@pytest.mark.parametrize(
    "answer", [Puback(2, 8, 0), Pubrec(8), Pubcomp(9), Regack(2, 9, 0)], ids=["PUBACK", "PUBREC", "PUBCOMP", "REGACK"]
)
def test_an_answer_to_something_else(answer: Message) -> None:
    bench = known()
    bench.deliver("a/b", b"1", 1, 9)
    bench.receive(answer)
    assert bench.upstream.taken() == []
    assert not bench.device.deliveries.is_idle


LOST: dict[str, tuple[int, Message | None, Message]] = {
    # QoS; what was answered before the silence; what is sent again.
    "PUBLISH at QoS 1": (1, None, Publish(t(2), b"x", 1, 9, dup=True)),
    "PUBLISH at QoS 2": (2, None, Publish(t(2), b"x", 2, 9, dup=True)),
    "PUBREL": (2, Pubrec(9), Pubrel(9)),
}


@pytest.mark.parametrize("name", LOST)
def test_what_is_not_answered_is_sent_again_three_times(name: str) -> None:
    qos, before, again = LOST[name]
    bench = known()
    bench.deliver("a/b", b"x", qos, 9)
    if before is not None:
        bench.receive(before)
        bench.device.release(9, bench.now)
        bench.sent()
    assert [bench.advance(9.9), bench.advance(0.1)] == [[], [again]]
    assert bench.advance(10) + bench.advance(10) == [again] * 2
    assert bench.advance(20) == []
    # It waits until the device is heard of, and begins again.
    assert bench.receive(Pingreq()) == [Pingresp(), again]
    assert bench.advance(10) == [again]
    assert bench.counts.retransmissions == 4


def test_a_register_that_is_not_answered() -> None:
    bench = Bench(retry_interval_s=10, retry_count=1).connect()
    register = registering(bench, "a/b", 1, 9)
    assert bench.advance(10) == [register]
    assert bench.advance(50) == []
    assert bench.receive(Pingreq()) == [Pingresp(), register]
    assert bench.receive(Regack(2, register.message_id, ACCEPTED)) == [Publish(t(2), b"x", 1, 9)]


def test_the_broker_sends_a_message_again() -> None:
    bench = known()
    assert bench.deliver("a/b", b"x", 1, 9, dup=True) == [Publish(t(2), b"x", 1, 9, dup=True)]


# --- size ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "fits"), [(57, True), (58, False)])
def test_a_message_that_is_too_large(size: int, fits: bool) -> None:
    bench = Bench(message_max_bytes=64).connect()
    bench.receive(Register(0, 1, "a/b"))
    sent = bench.deliver("a/b", bytes(size), 1, 9)
    assert bench.upstream.taken() == ([] if fits else [("puback", 9, 0x83)])
    assert bool(sent) == fits


def test_a_topic_that_is_too_long_to_be_registered() -> None:
    bench = Bench(message_max_bytes=64).connect()
    assert bench.deliver("x" * 59, b"", 1, 9) == []
    assert bench.upstream.taken() == [("puback", 9, 0x83)]
    assert bench.deliver("x" * 58) != []


def test_very_many_messages_that_are_too_large() -> None:
    """Each is given up at once; nothing recurses over them."""
    bench = Bench(message_max_bytes=64, buffer_max_messages=20_000, buffer_max_bytes=10_000_000).connect()
    register = registering(bench, "a/b")
    for _ in range(5_000):
        bench.deliver("a/b", bytes(100))
    assert bench.receive(Regack(2, register.message_id, ACCEPTED)) == [Publish(t(2), b"x")]
    assert bench.device.deliveries.is_idle
    assert bench.counts.messages_dropped == 5_000


# --- addresses that may be forged --------------------------------------------------------------


def test_nothing_flows_until_the_address_is_proven() -> None:
    bench = Bench(retry_interval_s=10).connect(verified=False)
    bench.receive(Subscribe("a/b", 5))
    bench.device.subscribed(5, 0)
    assert bench.sent() == [Suback(0, 1, 5, ACCEPTED)]
    register = registering(bench, "a/b")
    assert bench.deliver("a/b", b"2") == []
    for guess in (0, 1, register.message_id - 1, register.message_id + 1):
        assert bench.receive(Regack(1, guess, ACCEPTED)) == []
    assert bench.receive(Regack(1, register.message_id, ACCEPTED)) == [Publish(t(1), b"x"), Publish(t(1), b"2")]
    assert bench.deliver("t1") == [Publish(TopicId(SHORT, 0x7431), b"x")]


def test_a_device_that_refuses_to_register_has_proven_its_address_all_the_same() -> None:
    bench = Bench().connect(verified=False)
    bench.receive(Subscribe(TopicId(PREDEFINED, 7), 5))
    bench.device.subscribed(5, 0)
    bench.sent()
    register = registering(bench, "pre/defined")
    assert bench.receive(Regack(0, register.message_id, NOT_SUPPORTED)) == [Publish(TopicId(PREDEFINED, 7), b"x")]


def test_where_addresses_cannot_be_forged_nothing_has_to_be_proven() -> None:
    bench = Bench(verify_addresses=False).connect(verified=False)
    assert bench.deliver("t1") == [Publish(TopicId(SHORT, 0x7431), b"x")]


@pytest.mark.parametrize("topic_bytes", [10, 200, 1_000])
def test_an_address_that_never_answers_is_sent_little(topic_bytes: int) -> None:
    bench = Bench(retry_interval_s=1, retry_count=100).connect(verified=False)
    sent = bench.deliver("x" * topic_bytes)
    for _ in range(80):
        bench.deliver("y" * topic_bytes)
        sent += bench.advance(1)
    assert sum(len(encode(message)) for message in sent) <= limits.MQTT_SN_UNVERIFIED_BYTES_MAX
    # With what it sends itself it may be sent three times as much.
    received = 0
    while not sent and received < 2 * topic_bytes:
        received += len(encode(Pingreq("dev")))
        sent += [message for message in bench.receive(Pingreq("dev")) if isinstance(message, Register)]
    assert sent
    assert bench.state is DeviceState.ACTIVE


def test_a_new_connection_has_to_prove_its_address_again() -> None:
    bench = Bench().connect()
    bench.receive(Pingreq())
    bench.connect(verified=False)
    registering(bench, "t1")
